"""Two workers and a learner started as the docs say: each finds a port, says when it is ready, and logs JSON alone."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from local.servers.kafka import Kafka
from schemas.errors import Exit
from tests.integration.deployment import LEARNER, Deployment

UNSET = ("RESCORE_METRICS__PORT", "0")


class AsInTheDocs(Deployment):
    """No port is set."""

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment.items() if (name, value) != UNSET}

    def lines(self, slot: int) -> list[dict[str, object]]:
        """What a process has logged; every line must be a JSON object."""
        path = self.folder / f"{self.name}-{slot}.log"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def url(self, slot: int) -> str:
        """Where a process says that it serves its probes."""
        started = [str(line["message"]) for line in self.lines(slot) if "metrics at http" in str(line["message"])]
        return started[0].partition("metrics at ")[2].removesuffix("/metrics") if started else ""

    def readiness(self, slot: int) -> tuple[int, str]:
        try:
            with urlopen(f"{self.url(slot)}/readyz", timeout=10) as answer:
                return answer.status, answer.read().decode().strip()
        except HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode().strip()


@pytest.mark.timeout(600)
def test_each_process_finds_a_port_and_is_ready_only_while_kafka_answers(shared_valkey, tmp_path: Path) -> None:
    with Kafka.start() as kafka:
        where = AsInTheDocs(kafka.bootstrap_servers, shared_valkey.url, "probes", tmp_path, {"RESCORE_PARTITIONS": "1"})
        where.rescore("topics", "apply")
        try:
            where.start_worker(0)
            where.wait(lambda: bool(where.url(0)), "the first worker has started")
            where.start_worker(1)
            where.start_learner()
            for slot in (1, LEARNER):
                where.wait(lambda slot=slot: bool(where.url(slot)), "it has started too")
            assert len({where.url(slot) for slot in (0, 1, LEARNER)}) == 3
            assert any("is taken: metrics and probes are at" in str(line["message"]) for line in where.lines(1))
            for slot in (0, 1, LEARNER):
                where.wait(lambda slot=slot: where.readiness(slot)[0] == 200, "it is ready", 60)
            said = sorted(where.readiness(slot)[1] for slot in (0, 1))
            assert said == ["every partition takes records", "standby: other workers have all partitions"]

            port = where.more["RESCORE_METRICS__PORT"] = where.url(0).rpartition(":")[2]
            refused = where.rescore("worker", check=False)
            assert refused.returncode == Exit.REFUSED_SETTINGS
            assert f"port {port} of 127.0.0.1 is taken" in refused.stderr
            assert "Traceback" not in refused.stderr

            kafka.kill()
            for slot in (0, 1, LEARNER):
                where.wait(lambda slot=slot: where.readiness(slot)[0] == 503, "it is not ready any more", 60)
            assert "the brokers do not answer" in where.readiness(1)[1]
            for slot in (0, 1, LEARNER):
                of_client = [line for line in where.lines(slot) if str(line["message"]).startswith("Kafka client: ")]
                assert 0 < len(of_client) < 50
                assert len(where.lines(slot)) < 150, [line["message"] for line in where.lines(slot)]
        finally:
            for worker in where.workers.values():
                worker.kill()
                worker.wait()
