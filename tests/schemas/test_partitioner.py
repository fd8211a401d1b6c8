from __future__ import annotations

import numpy as np
import pytest

from schemas.partitioner import Partitioner, murmur2, partition_of


@pytest.mark.parametrize(
    "key,expected",
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_known_answers_of_kafka(key: bytes, expected: int) -> None:
    found = int(murmur2(np.frombuffer(key, np.uint8), 0, len(key)))
    assert found == expected % 2**32
    assert partition_of(key, 7) == (found & 0x7FFFFFFF) % 7


def test_crc32_is_the_other_choice() -> None:
    assert partition_of(b"123456789", 2**31, Partitioner.CRC32) == 0xCBF43926 % 2**31
