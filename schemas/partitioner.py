"""Which partition a key belongs to: as the Java client has it (murmur2), or librdkafka's `consistent` (crc32).

Inputs are co-partitioned by user_id. A record elsewhere is a dead letter: its user's state lives on another worker.
"""

from __future__ import annotations

import zlib
from enum import IntEnum
from typing import Any

import numpy as np

from schemas.compiled import compiled
from schemas.hashing import word_32

MASK_32 = np.uint64(0xFFFFFFFF)
MULTIPLIER = np.uint64(0x5BD1E995)
SEED = np.uint64(0x9747B28C)


class Partitioner(IntEnum):
    """A deployment has one for all its topics, fixed for the life of the state."""

    MURMUR2 = 0  # librdkafka: murmur2, murmur2_random; Java: the default
    CRC32 = 1  # librdkafka: consistent, consistent_random (its default)


def partition_of(key: bytes, partitions: int, partitioner: Partitioner = Partitioner.MURMUR2) -> int:
    """The partition of a key.

    >>> partition_of(b"user_123", 6), partition_of(b"user_123", 6, Partitioner.CRC32)
    (5, 5)
    """
    if partitioner == Partitioner.CRC32:
        return zlib.crc32(key) % partitions
    return int(murmur2_partition(np.frombuffer(key, np.uint8), 0, len(key), partitions))


@compiled
def murmur2(data: Any, at: int, length: int) -> Any:
    """Kafka's murmur2 of `data[at:at + length]` (uint8 array) as a uint64 below 2^32."""
    total = SEED ^ np.uint64(length)
    end = at + length
    while at + 4 <= end:
        word = word_32(data, at)
        word = word * MULTIPLIER & MASK_32
        word = (word ^ word >> np.uint64(24)) * MULTIPLIER & MASK_32
        total = (total * MULTIPLIER & MASK_32) ^ word
        at += 4
    left = end - at
    if left > 0:
        for i in range(left - 1, -1, -1):
            total ^= np.uint64(data[at + i]) << np.uint64(8 * i)
        total = total * MULTIPLIER & MASK_32
    total = (total ^ total >> np.uint64(13)) * MULTIPLIER & MASK_32
    return total ^ total >> np.uint64(15)


@compiled
def murmur2_partition(data: Any, at: int, length: int, partitions: int) -> int:
    """The partition of the key `data[at:at + length]`, about 10 ns."""
    return int(murmur2(data, at, length) & np.uint64(0x7FFFFFFF)) % partitions
