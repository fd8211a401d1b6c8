"""What must be true of every story once it has come to rest, and of the store at any moment of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from schemas.row_keys import PROGRESS_KEY
from streams.log.progress import Progress
from streams.log.protocol import TopicPartition
from tests.simulation.simulation import Simulation


def judge(simulation: Simulation) -> None:
    """Raises AssertionError that says what is wrong."""
    assert not simulation.failures, f"a worker failed for no planted fault: {simulation.failures[0]}"
    for partition in range(simulation.partitions):
        marks = progress_records(simulation, partition)
        assert [mark.seq for mark in marks] == list(range(1, len(marks) + 1)), f"progress has a gap: {marks}"
        for earlier, later in pairwise(marks):
            assert all(later.next_offsets[topic] >= earlier.next_offsets[topic] for topic in INPUT_TOPICS)
            assert later.clock_ms >= earlier.clock_ms, "a clock went back"
        for topic in INPUT_TOPICS if marks else ():
            committed = simulation.broker.committed.get(TopicPartition(topic, partition))
            assert committed == marks[-1].next_offsets[topic], f"{topic}/{partition}: group and progress differ"
        store_holds_a_committed_state(simulation, partition)


def changelog(simulation: Simulation, partition: int) -> list[Record]:
    """Every committed record of the changelog, what was compacted away included."""
    where = TopicPartition("rescore-state", partition)
    broker = simulation.broker
    kept = {
        entry.record.offset: entry.record
        for entry in broker.entries[where]
        if entry.record is not None
        and (entry.transaction is None or entry.transaction.state.name in ("COMMITTED", "PREPARED"))
    }
    past = {offset: record for (place, offset), record in simulation.past.items() if place == where}
    return [record for _, record in sorted({**past, **kept}.items())]


def progress_records(simulation: Simulation, partition: int) -> list[Progress]:
    """All of them in order."""
    codec = simulation.meaning.wire.progress
    return [codec.decode(r.value or b"") for r in changelog(simulation, partition) if r.key == PROGRESS_KEY]


def folded(simulation: Simulation, partition: int, until: int) -> dict[bytes, bytes]:
    """The rows of the changelog up to an offset."""
    rows: dict[bytes, bytes] = {}
    for record in changelog(simulation, partition):
        if record.offset <= until and record.key is not None and record.key != PROGRESS_KEY:
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value
    return rows


def store_holds_a_committed_state(simulation: Simulation, partition: int) -> None:
    """Whatever position a ready store claims, its rows are those of the log at that position."""
    held = simulation.server.store._partitions.get(partition)
    if held is None or held.position is None or not held.position.ready:
        return
    seqs = {
        r.offset: simulation.meaning.wire.progress.decode(r.value or b"").seq
        for r in changelog(simulation, partition)
        if r.key == PROGRESS_KEY
    }
    assert seqs.get(held.position.state_offset, 0) == held.position.seq, f"{held.position} is in no log: {seqs}"
    rows = folded(simulation, partition, held.position.state_offset)
    assert not simulation.server.lost(partition), simulation.server.lost(partition)
    assert held.rows == rows, f"partition {partition} at {held.position}: {differing(held.rows, rows)}"


def differing(held: dict[bytes, bytes], wanted: dict[bytes, bytes]) -> str:
    """Users whose rows differ, in words."""
    users = sorted({user for user in {**held, **wanted} if held.get(user) != wanted.get(user)})
    return "; ".join(f"{u!r} is {held.get(u)!r}, not {wanted.get(u)!r}" for u in users[:3])


def twice(names: list[bytes]) -> list[bytes]:
    """What is there more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def said_in(records: Iterable[Record]) -> dict[bytes, list[bytes]]:
    """Values by key, in order."""
    said: dict[bytes, list[bytes]] = {}
    for record in records:
        said.setdefault(record.key or b"", []).append(record.value or b"")
    return said


def differing_lines(said: dict[bytes, list[bytes]], wanted: dict[bytes, list[bytes]]) -> str:
    """The first line that differs, user by user."""
    words = []
    for user in sorted({*said, *wanted}):
        ours, theirs = said.get(user, []), wanted.get(user, [])
        for i in range(max(len(ours), len(theirs))):
            a, b = ours[i] if i < len(ours) else None, theirs[i] if i < len(theirs) else None
            if a != b:
                words.append(f"{user!r}, line {i}: said {a!r}, the recount says {b!r}")
                break
    return "; ".join(words)
