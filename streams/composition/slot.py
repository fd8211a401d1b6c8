"""Which worker am I? A number that stays free for the next one when this process dies, however it dies.

The slot is part of the transactional id and of the group's member id: two workers of one slot would fence each other,
and a worker that comes back under another name would wait for its own leftovers to time out.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import RescoreError

SLOTS_MAX = 1_000


class SlotTaken(RescoreError):
    """The wanted slot is in use on this machine: stop that worker, or choose another RESCORE_SLOT."""


@dataclass(slots=True)
class Slot:
    """A number that is ours until `release`, or until the process ends."""

    number: int
    _file: int

    def release(self) -> None:
        """Give the number back."""
        os.close(self._file)


def take_slot(folder: Path, app: str, wanted: int | None = None) -> Slot:
    """The wanted slot, else the lowest one that is free on this machine. Raises `SlotTaken`.

    The kernel lets go of the lock with the process, `kill -9` included, so a restarted worker gets its number back.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> first, second = take_slot(folder, "rescore"), take_slot(folder, "rescore")
    >>> first.number, second.number
    (0, 1)
    >>> first.release()
    >>> take_slot(folder, "rescore").number
    0
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(SLOTS_MAX) if wanted is None else [wanted]:
        file = os.open(folder / f"{app}.{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        return Slot(number, file)
    raise SlotTaken(f"slot {wanted} of {app!r} is in use on this machine; stop that worker or set another RESCORE_SLOT")
