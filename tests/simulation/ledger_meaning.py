"""The ledger put on the wire, and what a judge asks of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random

from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from streams.log.failures import Failure
from streams.log.memory import crc32_partition
from streams.log.message import Message
from streams.log.progress import Progress
from streams.processing.guard import GuardedProcessor
from streams.worker.options import Wire
from tests.simulation.bank import effective_times
from tests.simulation.faults import BEHIND_MS_MAX
from tests.simulation.judge import changelog, differing_lines, progress_records, said_in, twice
from tests.simulation.ledger import ORIGIN, LedgerProcessor, decode, due_ms_of, letter_of, parse, recount
from tests.simulation.setting import RATES
from tests.simulation.simulation import Simulation
from tests.simulation.workload import LedgerWorkload

PARTITIONS = 2


class JsonProgress:
    """Progress records as JSON."""

    def encode(self, progress: Progress) -> bytes:
        """See `ProgressCodec`."""
        return json.dumps(progress._asdict()).encode()

    def decode(self, value: bytes) -> Progress:
        """See `ProgressCodec`."""
        return Progress(**json.loads(value))


def advance_to(record: Record) -> int | None:
    """The clock that an advance asks for."""
    value = record.value or b""
    return int(value[8:]) if value.startswith(b"advance ") else None


class Ledger:
    """See `tests.simulation.simulation.Meaning`."""

    topics = {
        **dict.fromkeys(INPUT_TOPICS, PARTITIONS),
        **{topic + ".dlq": PARTITIONS for topic in INPUT_TOPICS},
        **dict.fromkeys(("score-changes", "rescore-state", "rescore-journal"), PARTITIONS),
        RATES: 1,
    }
    partitioner = staticmethod(crc32_partition)
    wire = Wire(
        progress=JsonProgress(),
        advance_to=advance_to,
        advance=lambda to_ms: Message(b"", b"advance %d" % to_ms),
        due_ms=due_ms_of,
    )

    gaps_ms = (400, 3_000, 70_000)
    tick_ms = 700
    patience_ms = 2 * 3_600_000

    def workload(self, random: Random, users: int) -> LedgerWorkload:
        """See `Meaning`."""
        return LedgerWorkload(random, users)

    def processor(
        self, rates: Callable[[], tuple[int, ...]], layout: int, tell: Callable[[Failure], None]
    ) -> GuardedProcessor:
        """See `Meaning`."""
        return GuardedProcessor(LedgerProcessor(rates, layout), letter_of, tell)

    def judge(self, simulation: Simulation) -> None:
        """Said, remembered and refused is what a recount of the log says; nothing twice, nothing early."""
        for partition in range(simulation.partitions):
            self._judge_partition(simulation, partition)

    def _judge_partition(self, simulation: Simulation, partition: int) -> None:
        broker = simulation.broker
        marks = progress_records(simulation, partition)
        clock_ms = marks[-1].clock_ms if marks else 0
        inputs = [r for topic in INPUT_TOPICS for r in broker.visible(topic, partition)]
        events = [r for r in inputs if advance_to(r) is None]
        letters = [r for topic in INPUT_TOPICS for r in broker.visible(topic + ".dlq", partition)]
        origins = [dict(r.headers or [])[ORIGIN].decode() for r in letters]
        rates = effective_times(broker.visible(RATES))
        journal = broker.visible("rescore-journal", partition)
        told = recount(events, journal, set(origins), rates, clock_ms)
        said = said_in(broker.visible("score-changes", partition))
        for record in broker.visible("score-changes", partition):
            what = (record.value or b"").split()
            if what[1] == b"timer" and simulation.setting.wall:
                assert record.timestamp_ms + BEHIND_MS_MAX >= int(what[2]), f"a timer was early: {record}"
        for user, lines in said.items():
            assert not twice([line.split()[0] for line in lines]), f"{user!r}: one change_id twice: {lines}"
        assert said == told.changes, differing_lines(said, told.changes)
        assert sorted(origins) == sorted(told.letters), (
            f"dead letters are {sorted(origins)}, not {sorted(told.letters)}"
        )
        rows = simulation.server.store._partitions[partition].rows
        plain = {user: replace(decode(row), by="") for user, row in rows.items()}
        assert plain == told.rows, f"rows are {plain}, not {told.rows}"
        for user, account in plain.items():
            due_ms = simulation.server.store._partitions[partition].due_ms.get(user)
            assert due_ms == account.next_due_ms(clock_ms), f"{user!r} is due at {due_ms}: {account}"
        self._count(simulation, partition, events, len(journal), len(letters), told.changes)

    def _count(
        self,
        simulation: Simulation,
        partition: int,
        events: list[Record],
        inversions: int,
        letters: int,
        changes: dict[bytes, list[bytes]],
    ) -> None:
        seen = simulation.seen
        lines = [line for own in changes.values() for line in own]
        values = [(r.key, r.value) for r in events if parse(r)]
        seen["inversion"] += inversions
        seen["dead letter"] += letters
        seen["duplicate"] += len(values) - len(set(values))
        seen["correction"] += sum(b" 1 " in (value or b"")[:9] for _, value in values)
        seen["erasure"] += sum(b" erase " in (value or b"") for _, value in values)
        seen["timer"] += sum(b" timer " in line for line in lines)
        seen["version adopted"] += sum(not line.endswith(b"v0") for line in lines)
        seen["row deleted"] += sum(r.value is None for r in changelog(simulation, partition))
        seen["silence broken"] += (
            sum(advance_to(r) is not None for r in simulation.broker.visible("commands", partition))
            * simulation.setting.wall
        )
