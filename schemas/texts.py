"""Many short byte strings as two arrays: how keys, rows and values travel between the rim and the compiled maths.

A Python object for each would cost more than all that is done with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from schemas.hashing import xxh64

T = TypeVar("T")


class AsSequence(Sequence[T]):
    """What lies in columns, to whoever wants it one by one: equal to any sequence of the same. For few, and tests."""

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


class Texts(NamedTuple):
    """Text i is `packed[starts[i]:starts[i + 1]]`; `starts` has one entry more than there are texts."""

    packed: NDArray[np.uint8]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[bytes]) -> Texts:
        """The same bytes, end to end; about 0.06 us each.

        >>> Texts.of([b"ann", b"", b"bob"]).starts.tolist()
        [0, 3, 3, 6]
        """
        starts = np.zeros(len(parts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=starts[1:])
        return cls(np.frombuffer(b"".join(parts), np.uint8), starts)

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each."""
        return self.starts[1:] - self.starts[:-1]

    def of_those(self, chosen: NDArray[np.int64] | NDArray[np.int32]) -> Texts:
        """Some of them, by their places.

        >>> Texts.of([b"ann", b"", b"bob"]).of_those(np.array([2, 0])).cut()
        [b'bob', b'ann']
        """
        starts = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(self.lengths[chosen], out=starts[1:])
        packed = np.empty(starts[-1], np.uint8)
        _gather(self.packed, self.starts, chosen, packed)
        return Texts(packed, starts)

    def woven_with(self, others: Texts) -> Texts:
        """One of these, one of those, in turns.

        >>> Texts.of([b"ann", b"bob"]).woven_with(Texts.of([b"1", b"2"])).cut()
        [b'ann', b'1', b'bob', b'2']
        """
        starts = np.zeros(2 * len(self.starts) - 1, np.int64)
        starts[1::2], starts[2::2] = self.lengths, others.lengths
        np.cumsum(starts, out=starts)
        packed = np.empty(starts[-1], np.uint8)
        _weave(self.packed, self.starts, others.packed, others.starts, packed)
        return Texts(packed, starts)

    def cut(self) -> list[bytes]:
        """The texts as Python holds them, about 0.1 us each.

        >>> Texts.of([b"ann", b"", b"bob"]).cut()
        [b'ann', b'', b'bob']
        """
        return list(self.cuts())

    def cuts(self) -> Iterator[bytes]:
        """The same, one after the other."""
        whole = self.packed[self.starts[0] : self.starts[-1]].tobytes()
        return (whole[start:end] for start, end in pairwise((self.starts - self.starts[0]).tolist()))

    def hashes(self) -> NDArray[np.uint64]:
        """xxh64 of each, about 0.02 us.

        >>> import xxhash
        >>> Texts.of([b"ann"]).hashes()[0] == xxhash.xxh64_intdigest(b"ann")
        np.True_
        """
        found = np.empty(self.size, np.uint64)
        _hash_all(self.packed, self.starts, found)
        return found


@compiled
def _hash_all(packed: NDArray[np.uint8], starts: NDArray[np.int64], found: NDArray[np.uint64]) -> None:
    for i in range(len(found)):
        found[i] = xxh64(packed, starts[i], starts[i + 1] - starts[i], 0)


@compiled
def copy_bytes(source: Any, at: int, length: int, into: Any, end: int) -> int:
    """Copy a slice of one buffer to a place in another; answers where the copy ends."""
    # Unsigned positions cannot count from the end: the compiler sees that, and copies words instead of bytes.
    first, to = np.uint64(at), np.uint64(end)
    for i in range(np.uint64(length)):
        into[to + i] = source[first + i]
    return end + length


@compiled
def _gather(packed: Any, starts: Any, chosen: Any, into: Any) -> None:
    end = 0
    for i in chosen:
        end = copy_bytes(packed, starts[i], starts[i + 1] - starts[i], into, end)


@compiled
def _weave(these: Any, these_starts: Any, those: Any, those_starts: Any, into: Any) -> None:
    end = 0
    for i in range(len(these_starts) - 1):
        end = copy_bytes(these, these_starts[i], these_starts[i + 1] - these_starts[i], into, end)
        end = copy_bytes(those, those_starts[i], those_starts[i + 1] - those_starts[i], into, end)


def warm() -> None:
    """Compile what texts need, or load it from the cache: for Python's bytes, and for arrays that can be written."""
    read_only = Texts.of([b"a"])
    writable = Texts(np.zeros(1, np.uint8), read_only.starts)
    for texts in (read_only, writable):
        texts.of_those(np.zeros(1, np.int64))
        texts.of_those(np.zeros(1, np.int32))
        texts.of_those(np.zeros((2, 2), np.int32)[:, 0])  # a column of records
        read_only.woven_with(texts)
    read_only.hashes()
