"""A store that has moved or lost rows: how it is said, and how long a partition that loses rows again waits.

A server evicts keys when `maxmemory-policy` was changed, and anybody may delete some. The store tells (`Position.lost`)
before anything is decided on a row that is missing; the way back is then a rebuild of the partition from the changelog.
"""

from __future__ import annotations

from streams.log.protocol import PauseAndRetry

REBUILD_SECONDS = 0.25
REBUILD_SECONDS_MAX = 30.0
"""A partition that loses rows again waits before its next rebuild, longer each time, up to this."""

WITHOUT_LOSS_SECONDS = 60.0
"""After so long without a loss, the next one is the first again."""


class StoreMoved(PauseAndRetry):
    """The store is not where we left it: what was just read from it is worth nothing."""


class StoreLostRows(StoreMoved):
    """The store is where we left it, and something is missing in it: only a rebuild brings it back."""

    def __init__(self, customers: int) -> None:
        who = "1 customer" if customers == 1 else f"{customers:,} customers"
        super().__init__(
            f"the store has lost rows or due times of at least {who}: keys were evicted or deleted. "
            f"The partition is rebuilt from the changelog"
        )
        self.customers = customers


class Losses:
    """How often in a row partitions were found to have lost rows.

    >>> losses = Losses()
    >>> [losses.wait_seconds(0, ran_seconds=1.0) for _ in range(4)], losses.wait_seconds(0, ran_seconds=3_600.0)
    ([0.0, 0.25, 0.5, 1.0], 0.0)
    """

    def __init__(self) -> None:
        self._times: dict[int, int] = {}

    def wait_seconds(self, partition: int, ran_seconds: float) -> float:
        """Count one more; how long its rebuild waits. `ran_seconds`: for how long the partition has run without one."""
        before = 0 if ran_seconds >= WITHOUT_LOSS_SECONDS else self._times.get(partition, 0)
        self._times[partition] = before + 1
        return min(REBUILD_SECONDS_MAX, REBUILD_SECONDS * float(1 << min(before - 1, 16))) if before else 0.0

    def forget(self, partition: int) -> None:
        """The partition has come to this worker: nothing is known of it."""
        self._times.pop(partition, None)
