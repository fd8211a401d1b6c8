"""`rescore publish` with small transactions, killed by SIGKILL at a moment of one of them.

Called with: MOMENT NTH ARGUMENT... A moment is `sending` (in the middle), `committing` (all was sent) or `committed`.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

from streams.__main__ import app
from streams.commands import publish_files
from streams.kafka.publications import KafkaSender
from streams.kafka.publisher_protocol import Written
from streams.publish.exactly_once import Publisher

MOMENT, NTH, *ARGUMENTS = sys.argv[1:]
left = {MOMENT: int(NTH)}


def reached(moment: str) -> None:
    if moment in left:
        left[moment] -= 1
        if left[moment] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Victim(KafkaSender):
    """A sender that may die."""

    def send(self, record: Written) -> None:
        super().send(record)
        reached("sending")

    def commit(self) -> None:
        self._producer.flush(30)  # the records are in the topics when it dies, in an open transaction
        reached("committing")
        super().commit()
        reached("committed")


if __name__ == "__main__":
    import streams.kafka.publications as transactions

    transactions.KafkaSender = Victim  # type: ignore[misc]
    publish_files.Publisher = partial(Publisher, events_max=10)  # type: ignore[assignment, misc]
    app(ARGUMENTS, prog_name="rescore")
