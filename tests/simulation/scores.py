"""The real scores in the simulation: the worker's own processor, days instead of minutes, judged by the recount."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

from schemas.batch import BEGINNING_MS, Record
from schemas.codec import CloudEvents, Decoder, Encoder, Partitioner, StaticRegistry
from schemas.kinds import INPUT_TOPICS
from schemas.partitioner import partition_of
from schemas.row_keys import request_of
from schemas.times import iso_of
from schemas.topic_values import Values
from state.category_text import packaged_text_weights
from state.layout import due_ms_of
from state.versions import Policy, Rate, Versions, pack_currency
from streams.audit.recount_reference import Terms, letter_places, recount_partition, same_row
from streams.log.dead_letters import ERROR_PREFIX
from streams.log.failures import Failure
from streams.processing.guard import GuardedProcessor
from streams.processing.processor import ScoreProcessor, letter_of_failure
from streams.processing.wire import wire_of
from streams.scoring.reasons import REASON_TEXTS
from streams.versions.packaged_profiles import packaged_book
from streams.worker.output import Thought, answered
from tests.scoring.random_streams import weights
from tests.simulation.bank import effective_times
from tests.simulation.judge import differing_lines, progress_records, said_in, twice
from tests.simulation.ledger import fail_on
from tests.simulation.ledger_meaning import PARTITIONS
from tests.simulation.setting import RATES, START_MS
from tests.simulation.simulation import Simulation
from tests.simulation.workload import FAILS, Publication

DAY_MS = 86_400_000
REGISTRY = StaticRegistry()
DECODER = Decoder(REGISTRY, PARTITIONS, Partitioner.CRC32)
ENCODER = Encoder(REGISTRY, REASON_TEXTS)
KINDS = ("transaction",) * 8 + ("issued",) * 3 + ("repaid",) * 3 + ("cancelled", "applicant", "outcome")
NUMBERED = 2
"""So many of the users have a number for a user_id, which requests of nobody have too."""
COMMANDS = ("override", "lift", "override", "erase")
REASONS_TO_SEE = ("EVENT_ID_REUSED", "CORRECTION_OF_NOTHING")
RUBBISH = (b"", b"\x00\x00", FAILS, b'{"user_id": "nobody"}')


@lru_cache(maxsize=256)
def versions_of(rates: tuple[int, ...]) -> Versions:
    """Everything in force: one policy, weights that change in mid-story, a rate of the dollar for each time."""
    dollar = pack_currency("USD")
    first = Rate(dollar, BEGINNING_MS, 0.9)
    later = [Rate(dollar, effective_ms, 0.91 + i / 100) for i, effective_ms in enumerate(rates)]
    models = [weights(1), weights(2, START_MS + 20 * DAY_MS)]
    return Versions([Policy()], models, [first, *later], books=[packaged_book()], texts=[packaged_text_weights()])


@dataclass
class ScoreWorkload:
    """Events of a few customers with loans, as JSON."""

    random: Random
    users: int
    made: int = 0
    published: list[Publication] = field(default_factory=list)
    amounts: dict[str, tuple[str, float, str]] = field(default_factory=dict)  # (user, amount, date) by event id

    def event(self, now_ms: int) -> Publication:
        """The next event: mostly new, now and then one that was published before, a correction, or rubbish."""
        random = self.random
        fate = random.random()
        number = random.randrange(self.users)
        user = str(number) if number < NUMBERED else f"user-{number}"
        if fate < 0.07 and self.published:
            return random.choice(self.published)
        if fate < 0.12:
            return Publication(random.choice(INPUT_TOPICS), user.encode(), random.choice(RUBBISH))
        self.made += 1
        if number < NUMBERED and random.random() < 0.3:
            publication = self._strangers(number, now_ms)
        elif fate < 0.2 and self.amounts:
            publication = self._correction(random.choice(list(self.amounts)))
        elif fate < 0.26:
            return self._command(user, now_ms)
        else:
            publication = self._event(user, now_ms, random.choice(KINDS))
        self.published.append(publication)
        return publication

    def _event_id(self) -> str | None:
        """Mostly a new one, now and then one that another topic has as well, or none."""
        if self.random.random() < 0.85:
            return f"e-{self.made}"
        return self.random.choice(["7", "8", "", " ", None])

    def _event(self, user: str, now_ms: int, kind: str) -> Publication:
        random = self.random
        at = iso_of(now_ms - random.choice([0, 0, 0, 60_000, DAY_MS, 40 * DAY_MS]))
        said: dict[str, Any] = {"event_id": self._event_id(), "user_id": user}
        loan = {"loan_id": f"L-{random.randrange(4)}", "event": kind}
        if kind == "transaction":
            amount = round(random.gauss(0, 300), 2)
            self.amounts[str(said["event_id"])] = (user, amount, at)
            said |= {
                "transaction_amount": amount, "transaction_currency": random.choice(["EUR", "EUR", "USD", "XXX"]),
                "transaction_date": at, "user_balance": round(random.uniform(0, 3_000), 2),
                "mcc": random.choice([None, "5995", "5995", "7011", "5816", "6011"]), "description": "zooplus 12",
            }  # fmt: skip
        elif kind == "issued":
            due = iso_of(now_ms + random.randrange(-3, 40) * DAY_MS)[:10]
            said |= loan | {
                "order_amount": 500.0, "gross_margin": round(random.uniform(-20, 90), 2), "promo": 0.0,
                "currency": "EUR", "order_date": at, "due_date": due, "point": "p", "province": "north",
            }  # fmt: skip
        elif kind == "repaid":
            said |= loan | {"amount": round(random.uniform(50, 500), 2), "paid_at": at}
        elif kind == "cancelled":
            said |= loan | {"cancelled_at": at}
        elif kind == "applicant":
            said |= {"declared_at": at, "income": 1_000.0 + self.made}
        else:
            said |= {"model": "risk", "label": 1.0, "known_at": at, "loan_id": loan["loan_id"]}
        topic = {"transaction": "transactions", "applicant": "applicants", "outcome": "outcomes"}.get(kind, "loans")
        return Publication(topic, user.encode(), json.dumps(said).encode())

    def _strangers(self, number: int, now_ms: int) -> Publication:
        """A request that names no customer, its outcome or erasure, under the key of the customer of its number."""
        random = self.random
        at = iso_of(now_ms - random.choice([0, 0, 60_000, DAY_MS]))
        said: dict[str, Any] = {"event_id": f"e-{self.made}", "request_id": number}
        topic = random.choice(["applicants", "applicants", "outcomes", "commands"])
        said |= {
            "applicants": {"declared_at": at, "income": 500.0 + self.made, "moroso": 1.0},
            "outcomes": {"model": "risk", "label": True, "known_at": at},
            "commands": {"command": "erase", "author": "ann"},
        }[topic]
        return Publication(topic, str(number).encode(), json.dumps(said).encode())

    def _correction(self, event_id: str) -> Publication:
        user, amount, at = self.amounts[event_id]
        previous = {"transaction_amount": amount, "transaction_currency": "EUR", "transaction_date": at}
        said = {
            "event_id": event_id, "user_id": user, "revision": self.random.randrange(1, 3), "previous": previous,
            "transaction_amount": amount + 10, "transaction_currency": "EUR", "transaction_date": at,
        }  # fmt: skip
        return Publication("transactions", user.encode(), json.dumps(said).encode())

    def _command(self, user: str, now_ms: int) -> Publication:
        random = self.random
        command = random.choice(COMMANDS)
        said: dict[str, Any] = {"event_id": self._event_id(), "user_id": user, "command": command, "author": "ann"}
        if command != "erase":
            said["score"] = random.choice(["value", "status", "class"])
        if command == "override":
            until = iso_of(now_ms + random.choice([DAY_MS // 3, 5 * DAY_MS]))
            said |= {"value": float(random.randrange(1, 3)), "expires_at": until}
        return Publication("commands", user.encode(), json.dumps(said).encode())


class FailingProcessor(ScoreProcessor):
    """The real one, with a fault planted in it."""

    def process(self, partition: int, records: Sequence[Record], *rest: Any, **moments: int) -> Thought:
        """See `Processor`."""
        fail_on(records, asked=False)
        thought = super().process(partition, records, *rest, **moments)
        rows = yield next(thought)
        fail_on(records, asked=True)
        return answered(thought, rows)


class Scores:
    """See `tests.simulation.simulation.Meaning`."""

    topics = {
        **dict.fromkeys(INPUT_TOPICS, PARTITIONS),
        **{topic + ".dlq": PARTITIONS for topic in INPUT_TOPICS},
        **dict.fromkeys(
            ("score-changes", "scorecards", "rescore-state", "rescore-journal", "rescore-examples"), PARTITIONS
        ),
        RATES: 1,
    }
    wire = wire_of(Values(REGISTRY))
    gaps_ms = (400, 70_000, DAY_MS, 9 * DAY_MS)
    tick_ms = DAY_MS // 4
    patience_ms = 45 * DAY_MS

    @staticmethod
    def partitioner(key: bytes, partitions: int) -> int:
        """See `Meaning`."""
        return partition_of(key, partitions, Partitioner.CRC32)

    def workload(self, random: Random, users: int) -> ScoreWorkload:
        """See `Meaning`."""
        return ScoreWorkload(random, users)

    def processor(
        self, rates: Callable[[], tuple[int, ...]], layout: int, tell: Callable[[Failure], None]
    ) -> GuardedProcessor:
        """See `Meaning`; the real rows know one layout so far."""
        del layout
        events = CloudEvents("/rescore/simulated")
        return GuardedProcessor(
            FailingProcessor(DECODER, ENCODER, events, lambda: versions_of(rates()), b"key"), letter_of_failure, tell
        )

    def judge(self, simulation: Simulation) -> None:
        """Every change, row and dead letter is what the recount says, to the byte."""
        for partition in range(simulation.partitions):
            self._judge_partition(simulation, partition)

    def _judge_partition(self, simulation: Simulation, partition: int) -> None:
        broker = simulation.broker
        marks = progress_records(simulation, partition)
        clock_ms = marks[-1].clock_ms if marks else 0
        inputs = [record for topic in INPUT_TOPICS for record in broker.visible(topic, partition)]
        letters = [letter for topic in INPUT_TOPICS for letter in broker.visible(topic + ".dlq")]
        versions = versions_of(effective_times(broker.visible(RATES)))
        terms = Terms(DECODER, ENCODER, versions)
        journal = broker.visible("rescore-journal", partition)
        told = recount_partition(inputs, journal, letters, terms, clock_ms)
        said = said_in(broker.visible("score-changes", partition))
        ids = [dict(r.headers or [])["ce_id"] for r in broker.visible("score-changes", partition)]
        assert not twice(ids), f"one change_id twice: {twice(ids)}"
        assert said == told.changes, differing_lines(said, told.changes)
        for topic in ("score-changes", "scorecards"):
            of_requests = [r for r in broker.visible(topic, partition) if request_of(r.key or b"") is not None]
            assert not of_requests, f"a request has scores: {of_requests}"
        assert not told.doubts, f"refused without a dead letter: {told.doubts}"
        assert not told.lost, f"journaled, and not there: {told.lost}"
        held = simulation.server.store._partitions[partition]
        for user in held.rows.keys() | told.rows.keys():
            row, recounted = held.rows.get(user), told.rows.get(user)
            assert same_row(user, row, recounted, versions, clock_ms), f"{user!r} is {row!r}, not {recounted!r}"
            assert (row and due_ms_of(row)) is None or held.due_ms.get(user) is not None, (
                f"{user!r} is due and in no index"
            )
        self._judge_letters(simulation, partition, inputs)
        simulation.seen["change of a real score"] += sum(map(len, said.values()))
        simulation.seen["inversion"] += len(journal)
        simulation.seen["request without a customer"] += sum(request_of(user) is not None for user in held.rows)

    def _judge_letters(self, simulation: Simulation, partition: int, inputs: list[Record]) -> None:
        letters = [r for topic in INPUT_TOPICS for r in simulation.broker.visible(topic + ".dlq", partition)]
        places = letter_places(letters)
        assert len(places) == len(letters), "a dead letter is there twice"
        rubbish = {record[:3] for record in inputs if record.value in RUBBISH}
        assert rubbish <= places, f"no dead letter of {rubbish - places}"
        simulation.seen["dead letter"] += len(letters)
        for letter in letters:
            reason = dict(letter.headers or [])[f"{ERROR_PREFIX}exception"].decode()
            if reason in REASONS_TO_SEE:
                simulation.seen[f"dead letter {reason}"] += 1
