"""What a fault has cost: everything that was committed, held against a recount of the input log, byte for byte."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.batch import Record
from schemas.codec import Decoder, Encoder, StaticRegistry, decode_value
from schemas.kinds import INPUT_TOPICS
from schemas.partitioner import Partitioner, partition_of
from schemas.readable import Refused
from schemas.row_keys import PROGRESS_KEY, record_key
from streams.audit.recount_reference import Recount, Terms, recount_partition, same_row
from streams.kafka.topics import BROADCAST_TOPICS, DEAD_LETTERS, JOURNAL_TOPIC, STATE_TOPIC
from streams.log.dead_letters import ERROR_PREFIX
from streams.scoring.reasons import REASON_TEXTS
from streams.versions.known import Known, first_policy, reader
from tests.integration.deployment import Deployment

NAMED_MAX = 5


@dataclass
class Verdict:
    """How many of what, and the first of each kind in words."""

    events: int = 0
    changes: int = 0
    letters: int = 0
    transactions: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    out_of_order: int = 0
    words: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing lost, doubled, wrong or out of order."""
        return not (self.lost or self.doubled or self.wrong or self.out_of_order)

    def say(self, kind: str, words: str) -> None:
        """One more of a kind."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.words) < NAMED_MAX:
            self.words.append(f"{kind}: {words}")


def judge(app: Deployment, compiled: bool = False) -> Verdict:
    """Hold changes, rows in the store, rows in the changelog, dead letters and sequences against the recount.

    The recount is that of plain Python, 1 ms a record, unless `compiled`.
    """
    verdict, registry = Verdict(), StaticRegistry()
    count = app.settings.partitions
    inputs = _by_partition(app, INPUT_TOPICS)
    journal = _by_partition(app, [JOURNAL_TOPIC])
    letters = [letter for topic in INPUT_TOPICS for letter in app.read(topic + DEAD_LETTERS)]
    states, changes, rows = _by_partition(app, [STATE_TOPIC]), _by_partition(app, ["score-changes"]), app.rows()
    terms = _terms(app)
    verdict.events = sum(len(inputs[p]) for p in range(count))
    verdict.letters = len(letters)
    letters_of(letters, inputs, verdict)
    for p in range(count):
        clock_ms, folded = _changelog(states[p], registry, verdict, p)
        recount = recount_partition(inputs[p], journal[p], letters, terms, clock_ms, compiled=compiled)
        for doubt in recount.doubts:
            verdict.say("lost", f"a dead letter of {doubt.record[:3]}: {doubt.reject.message}")
        for entry in recount.lost:
            verdict.say("wrong", f"the journal names a record that is not there: {entry}")
        verdict.changes += len(changes[p])
        changes_of(changes[p], recount, verdict)
        here = {
            user: row for user, row in rows.items() if partition_of(record_key(user), count, Partitioner.MURMUR2) == p
        }
        for where, held in (("the changelog", folded), ("the store", here)):
            rows_of(where, held, recount, terms, clock_ms, verdict)
    return verdict


def _by_partition(app: Deployment, topics: Iterable[str]) -> Mapping[int, list[Record]]:
    found: dict[int, list[Record]] = defaultdict(list)
    for topic in topics:
        for record in app.read(topic):
            found[record.partition].append(record)
    return found


def _terms(app: Deployment) -> Terms:
    chosen, registry = app.settings, StaticRegistry()
    known = Known.first(first_policy(chosen.policy.base_currency, chosen.policy.time_zone))
    for topic in BROADCAST_TOPICS:
        known = known.adopt(app.read(topic), reader(registry, chosen.topic_prefix))
    decoder = Decoder(
        registry,
        chosen.partitions,
        Partitioner.MURMUR2,
        chosen.topic_prefix,
        value_bytes_max=chosen.record_bytes_max,
    )
    return Terms(decoder, Encoder(registry, REASON_TEXTS, chosen.topic_prefix), known.versions)


def letters_of(letters: list[Record], inputs: Mapping[int, list[Record]], verdict: Verdict) -> None:
    """Each dead letter once, and its bytes those that were received."""
    received = {record[:3]: record for records in inputs.values() for record in records}
    places: Counter[tuple[str, int, int]] = Counter()
    for letter in letters:
        why = {name.removeprefix(ERROR_PREFIX): value.decode() for name, value in letter.headers or []}
        place = why["topic"], int(why["partition"]), int(why["offset"])
        places[place] += 1
        if place not in received or (letter.key, letter.value) != (received[place].key, received[place].value):
            verdict.say("wrong", f"the dead letter of {place} has other bytes")
    for place, times in places.items():
        if times > 1:
            verdict.say("doubled", f"{times} dead letters of {place}")


def _changelog(
    states: list[Record], registry: StaticRegistry, verdict: Verdict, partition: int
) -> tuple[int, dict[bytes, bytes]]:
    """The clock of the last progress record and the rows as the changelog has them; sequences have no gap."""
    clock_ms, expected, folded = 0, 1, {}
    for record in states:
        if record.key == PROGRESS_KEY:
            progress = decode_value("Progress", record.value or b"", registry)
            if progress["seq"] != expected:
                verdict.say("out_of_order", f"transaction {progress['seq']} of {partition} where {expected} was due")
            expected, clock_ms = progress["seq"] + 1, progress["clock_ms"]
        elif record.value is None:
            folded.pop(record.key, None)
        else:
            folded[record.key] = record.value
    verdict.transactions += expected - 1
    return clock_ms, folded


def changes_of(records: list[Record], recount: Recount, verdict: Verdict) -> None:
    """Each change once, with its bytes, in its place."""
    said: dict[bytes, list[bytes]] = defaultdict(list)
    for record in records:
        said[record.key or b""].append(record.value or b"")
    expected = recount.changes
    for user in said.keys() | expected.keys():
        _changes_of_user(user, said.get(user, []), expected.get(user, []), verdict)


def _changes_of_user(user: bytes, said: list[bytes], expected: list[bytes], verdict: Verdict) -> None:
    if said == expected:
        return
    registry = StaticRegistry()
    told = []
    for value in said:
        try:
            told.append((str(decode_value("ScoreChange", value, registry)["change_id"]), value))
        except Refused as refused:
            verdict.say("wrong", f"a change of {user.decode()}: {refused.detail}")
    due = {decode_value("ScoreChange", value, registry)["change_id"]: value for value in expected}
    for change_id, times in Counter(change_id for change_id, _ in told).items():
        for _ in range(times - 1):
            verdict.say("doubled", f"{change_id} came {times} times")
        if change_id not in due:
            verdict.say("wrong", f"{change_id} was said and should not have been")
    for change_id, value in due.items():
        mine = [told_value for told_id, told_value in told if told_id == change_id]
        if not mine:
            verdict.say("lost", f"{change_id}")
        elif any(one != value for one in mine):
            verdict.say("wrong", f"{change_id} has other bytes")
    once = list(dict.fromkeys(change_id for change_id, _ in told if change_id in due))
    if once != [change_id for change_id in due if change_id in set(once)]:
        verdict.say("out_of_order", f"the changes of {user.decode()}")


def rows_of(
    where: str, held: Mapping[bytes, bytes], recount: Recount, terms: Terms, clock_ms: int, verdict: Verdict
) -> None:
    expected = recount.rows
    for user in held.keys() | expected.keys():
        if not same_row(user, held.get(user), expected.get(user), terms.versions, clock_ms):
            verdict.say("wrong", f"the row of {user.decode()} in {where}")
