"""The demo's worker and learner, first on the records' clock, then live."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from local.servers.children import Background
from streams.composition.topics import options_of
from streams.kafka.client import KafkaUnreachable, admin_of
from streams.kafka.groups import group_of
from streams.kafka.topics import apply
from streams.settings import Settings, load


class Deployment:
    """Settings, and the processes that run by them."""

    def __init__(self, environment: Mapping[str, str], parts: tuple[str, ...], logs: Path) -> None:
        self.environment = dict(environment)
        self.settings: Settings = load(self.environment).settings
        self._parts, self._logs = parts, logs
        self._children: list[Background] = []

    def make_topics(self) -> None:
        """Make the topics, or set them as the settings want them."""
        apply(admin_of(self.settings.kafka), options_of(self.settings))

    def start(self) -> None:
        """Start every part."""
        for part in self._parts:
            self._children.append(Background([part], self.environment, self._logs / f"{part}.log"))

    def stop(self) -> None:
        """Stop every part in order."""
        children, self._children = self._children, []  # those that are stopped on purpose have not failed
        for child in children:
            child.stop()

    def check(self) -> None:
        """Raise DemoFailed where a part has ended by itself."""
        for child in list(self._children):
            child.check()

    def go_live(self) -> None:
        """End the history: from now on the broker stamps records and the clock on the wall drives time.

        Everything that was published has been taken by now. The same topics, group and rows go on.
        """
        self.stop()
        self.environment["RESCORE_CLOCK"] = "wall"
        self.settings = load(self.environment).settings
        self.make_topics()
        self.start()

    def takes_part(self, counts: Mapping[str, int]) -> bool:
        """Whether a worker has its partitions. `counts`: the number of partitions of each input topic."""
        try:
            group = group_of(self.settings.kafka, self.settings.app, counts)
        except KafkaUnreachable:
            return False
        return group.workers > 0 and group.state == "STABLE"
