"""What librdkafka says, as lines of our log: each kind at most once a minute, with how many were held back.

Without this the client writes to standard error by itself, in a form of its own: some fifty lines a second while a
broker is away, in the middle of a log of JSON objects.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from streams.log.failures import OnceAMinute

NUMBERS = re.compile(r"\d+")
THREAD = re.compile(r"^\[thrd:[^\]]*\]: ")


class KafkaLines:
    """What the setting `logger` of a client takes instead of a `logging.Logger`. One for all clients of a process.

    Lines are of one kind if they differ in numbers alone: ports, durations, counts. Clients queue what they have to say
    until they are polled.
    """

    def __init__(self, logger: logging.Logger, now_seconds: Callable[[], float]) -> None:
        self._logger, self._often = logger, OnceAMinute(now_seconds)

    def log(self, level: int, _form: str, facility: str, _client: str, message: str) -> None:
        """One line, as a client calls it: the facility is librdkafka's word for the kind of the event."""
        text = THREAD.sub("", message)
        untold = self._often.untold((facility, NUMBERS.sub("", text)))
        if untold is not None:
            more = f" ({untold:,} more of this kind since the last such line)" if untold else ""
            self._logger.log(level, "Kafka client: %s: %s%s", facility, text, more)
