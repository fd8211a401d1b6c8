"""A running worker or learner follows the clock of its topics: `rescore topics go-live` needs no restart."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from typing import Self

    from streams.settings import Settings

ASK_SECONDS = 5.0


class FollowedClock:
    """Whether the topics are live by now. A history goes live once; live topics stay live.

    As a context it asks the brokers every few seconds, in a thread of its own: a broker that does not answer must not
    delay a turn of the worker.
    """

    def __init__(self, chosen: Settings, logger: logging.Logger, ask_seconds: float = ASK_SECONDS) -> None:
        self._chosen, self._logger, self._ask_seconds = chosen, logger, ask_seconds
        self._live, self._ended = threading.Event(), threading.Event()
        if chosen.clock == "wall":
            self._live.set()

    def is_live(self) -> bool:
        """Whether the broker stamps the records."""
        return self._live.is_set()

    def __enter__(self) -> Self:
        if not self.is_live():
            threading.Thread(target=self._follow, name="clock of the topics", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()

    def _follow(self) -> None:
        from state.errors import RefusedSettings
        from streams.kafka.client import KafkaUnreachable
        from streams.kafka.topics_clock import clocks_of

        while not self._ended.wait(self._ask_seconds):
            try:
                clock = clocks_of(self._chosen.kafka, self._chosen.topic_prefix).clock
            except (KafkaUnreachable, RefusedSettings) as error:
                self._logger.debug("the clock of the topics is not known: %s", error)
                continue
            if clock == "wall":
                self._live.set()
                self._logger.info(
                    "the topics went live: the broker stamps records, and timers fire without records. Take "
                    "RESCORE_CLOCK=records out of the settings before the next start"
                )
                return
