from __future__ import annotations

import numpy as np
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from schemas.hashing import xxh64


@given(st.binary(max_size=200), st.integers(0, 2**31 - 1), st.integers(0, 5))
def test_the_compiled_hash_is_xxh64(data: bytes, seed: int, before: int) -> None:
    buffer = np.frombuffer(b"?" * before + data + b"?", np.uint8)
    assert int(xxh64(buffer, before, len(data), seed)) == xxhash.xxh64_intdigest(data, seed)
