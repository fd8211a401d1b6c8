"""A real Kafka and a real Valkey for every test that asks, and topics of its own.

By default both are started here from wheels. `RESCORE_TEST_BOOTSTRAP_SERVERS` and `RESCORE_TEST_REDIS_URL` name servers
to use instead; `RESCORE_TEST_CONTAINERS=1` starts them with testcontainers. A server that cannot be had is a failure,
not a skip.
"""

from __future__ import annotations

import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from hypothesis import Verbosity, settings

from local.servers.kafka import Kafka
from local.servers.valkey import Valkey

# The same examples on every run: a failure seen once is seen again, and its seed is printed.
settings.register_profile("rescore", derandomize=True, print_blob=True, deadline=None, database=None)
settings.register_profile("explore", parent=settings.get_profile("rescore"), derandomize=False, max_examples=1_000)
settings.register_profile("loud", parent=settings.get_profile("rescore"), verbosity=Verbosity.verbose)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "rescore"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of whole folders of tests have to be known here."""
    parser.addoption("--simulate-seed", type=int, help="replay one seed of tests/simulation and tell its story")


WITH_CONTAINERS = os.environ.get("RESCORE_TEST_CONTAINERS") == "1"


@dataclass(frozen=True, slots=True)
class KafkaAt:
    """A Kafka that was there, or that a container runs."""

    bootstrap_servers: str


@dataclass(frozen=True, slots=True)
class ValkeyAt:
    """A Redis or Valkey that was there, or that a container runs."""

    url: str


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka | KafkaAt]:
    """A Kafka shared by the session: `.bootstrap_servers`. A test that kills brokers starts one of its own."""
    if named := os.environ.get("RESCORE_TEST_BOOTSTRAP_SERVERS"):
        yield KafkaAt(named)
    elif WITH_CONTAINERS:
        from testcontainers.kafka import KafkaContainer

        with KafkaContainer("confluentinc/cp-kafka:8.1.0").with_kraft() as container:
            yield KafkaAt(container.get_bootstrap_server())
    else:
        with Kafka.start() as started:
            yield started


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey | ValkeyAt]:
    """The server behind `valkey`."""
    if named := os.environ.get("RESCORE_TEST_REDIS_URL"):
        yield ValkeyAt(named)
    elif WITH_CONTAINERS:
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.waiting_utils import wait_for_logs

        server = DockerContainer("valkey/valkey:9").with_command("valkey-server --appendonly yes --save ''")
        with server.with_exposed_ports(6379) as container:
            wait_for_logs(container, "Ready to accept connections")
            yield ValkeyAt(f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0")
    else:
        with Valkey.start() as started:
            yield started


@pytest.fixture
def valkey(shared_valkey: Valkey | ValkeyAt) -> Valkey | ValkeyAt:
    """A Valkey shared by the session, with an append-only file: `.url`. Use keys of your own (`app` of the test)."""
    return shared_valkey


@dataclass(slots=True)
class Topics:
    """Topics of one test: names that no other test has, made when asked for."""

    bootstrap_servers: str
    prefix: str
    made: list[str] = field(default_factory=list)

    def name(self, name: str) -> str:
        """The full name of a topic of this test, which may not exist."""
        return self.prefix + name

    def make(
        self, *names: str, partitions: int = 1, config: Mapping[str, str] | None = None, timeout_seconds: float = 20.0
    ) -> list[str]:
        """Make topics, wait until the broker serves them, and return their full names."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        full = [self.name(name) for name in names]
        new = [
            NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {})) for name in full
        ]
        for future in admin.create_topics(new, operation_timeout=timeout_seconds).values():
            future.result(timeout_seconds)
        self.made.extend(full)
        return full

    def add_partitions(self, name: str, count: int) -> None:
        """Give a topic more partitions."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for future in admin.create_partitions([NewPartitions(self.name(name), count)]).values():
            future.result(20.0)
        deadline = time.monotonic() + 20.0
        while len(admin.list_topics(self.name(name), timeout=20.0).topics[self.name(name)].partitions) < count:
            assert time.monotonic() < deadline, f"{name} has not got {count} partitions"
            time.sleep(0.05)

    def create_again(self, name: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
        """Delete a topic and create it again: the same name, another topic."""
        admin, full = AdminClient({"bootstrap.servers": self.bootstrap_servers}), self.name(name)
        before = self.topic_id(name)
        for future in admin.delete_topics([full], operation_timeout=20.0).values():
            future.result(20.0)
        deadline = time.monotonic() + 20.0
        while True:
            with suppress(KafkaException):  # a broker hears of the end a moment after the controller
                new = NewTopic(full, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
                for future in admin.create_topics([new], operation_timeout=20.0).values():
                    future.result(20.0)
            if self.topic_id(name) not in (None, before):
                return
            assert time.monotonic() < deadline, f"{name} was not created again"
            time.sleep(0.05)

    def topic_id(self, name: str) -> str | None:
        """The id of a topic as Kafka's commands say it, None where it is not there."""
        admin, full = AdminClient({"bootstrap.servers": self.bootstrap_servers}), self.name(name)
        try:
            described = admin.describe_topics(TopicCollection([full]), request_timeout=20.0)[full].result(20.0)
        except KafkaException:
            return None
        return str(described.topic_id).translate(str.maketrans("+/", "-_"))

    def delete(self) -> None:
        """Delete what was made."""
        if self.made:
            admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
            for future in admin.delete_topics(self.made, operation_timeout=20.0).values():
                future.result(20.0)


_numbers = itertools.count(1)
_run = uuid.uuid4().hex[:6]


@pytest.fixture
def prefix() -> str:
    """Letters no other test's topics, groups, transactional ids or keys begin with."""
    return f"t{_run}-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{next(_numbers)}-"


@pytest.fixture
def topics(kafka: Kafka | KafkaAt, prefix: str) -> Iterator[Topics]:
    """Fresh topics for one test: `topics.make("transactions", "loans", partitions=4)`; deleted after it."""
    fresh = Topics(kafka.bootstrap_servers, prefix)
    yield fresh
    fresh.delete()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """`eventually(condition, "what", seconds=10)`: polls until it holds; fails with the words when it does not."""

    def wait(condition: Callable[[], object], what: str = "the condition", seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
            time.sleep(0.01)

    return wait
