"""Customers with a past, for benchmarks: millions of rows as a worker would have left them, made in seconds.

Taking a past of 100 transactions and two loans through a worker costs a core 10 minutes a million customers. So some
thousand *patterns* take theirs through the same decoder and the same pure step the worker runs, in this process, and
every customer gets the row of a pattern. That is the row it would have got itself: nothing in a row depends on the
user_id but the day of its examples, and a customer is given a pattern with the same one (a test holds this to the
byte). What is not real is variety: a million customers share a few thousand pasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from schemas.batch import DAY_MS, FOREVER_MS, Record
from schemas.codec import Decoder, Encoder, StaticRegistry, decode, encode_value
from schemas.compiled import digest_of
from schemas.kinds import Rank
from schemas.times import iso_of
from state.table import Table
from state.versions import Versions
from streams.scoring.step import Clocks, step
from streams.versions.known import first_policy, packaged_weights

PATTERNS = 3_000
PATTERNS_A_STEP = 250
TRANSACTIONS = 100
DEPOSITS_SHARE = 0.12
RECORD_OFFSETS = 1_000_000  # of the pasts: what a topic of such a bank would have reached


@dataclass(frozen=True, slots=True)
class Population:
    """Patterns of customers at `clock_ms`: packed rows, when time next looks at each, and the phase of its examples."""

    clock_ms: int
    phases_count: int
    packed: NDArray[np.uint8]
    starts: NDArray[np.int64]
    due_ms: NDArray[np.int64]
    phases: NDArray[np.int64]

    def row(self, pattern: int) -> bytes:
        """The packed row of a pattern."""
        return self.packed[self.starts[pattern] : self.starts[pattern + 1]].tobytes()

    def rows(self) -> list[bytes]:
        """The packed rows of all patterns."""
        whole, cuts = self.packed.tobytes(), self.starts.tolist()
        return [whole[start:end] for start, end in pairwise(cuts)]

    def patterns_of(self, users: list[bytes], due_until_ms: int = FOREVER_MS) -> NDArray[np.int64]:
        """The pattern of each customer; where a time is given, only patterns that time looks at by then.

        >>> bare = np.zeros(0, np.uint8), np.zeros(5, np.int64), np.array([5, 9, 5, 9]), np.array([0, 0, 1, 1])
        >>> found = Population(0, 2, *bare).patterns_of([b"ann", b"bob", b"cem"], due_until_ms=5)
        >>> sorted(set(found.tolist()) - {0, 2})
        []
        """
        hashes = np.fromiter(map(xxhash.xxh64_intdigest, users), np.uint64, len(users))
        phase = (hashes % np.uint64(self.phases_count)).astype(np.int64)
        chosen = np.empty(len(users), np.int64)
        for one in range(self.phases_count):
            fitting = np.flatnonzero((self.phases == one) & (self.due_ms <= due_until_ms))
            here = np.flatnonzero(phase == one)
            if len(here) and not len(fitting):
                raise ValueError(f"no pattern of phase {one} is looked at by {due_until_ms}: grow more patterns")
            if len(here):
                chosen[here] = fitting[(hashes[here] >> np.uint64(8)) % np.uint64(len(fitting))]
        return chosen


def user_name(number: int) -> bytes:
    """The user_id of a customer by number.

    >>> user_name(42)
    b'c-0000042'
    """
    return b"c-%07d" % number


def past_of(pattern: int, clock_ms: int, seed: int = 1) -> list[tuple[int, str, dict[str, Any]]]:
    """The past of a pattern without its user_id: (time, topic, fields) in order of time.

    100 transactions at random moments of a year, some 87 days; a loan that was repaid in the last months, in three
    payments and not always in time; a loan that runs.
    """
    random = np.random.default_rng([seed, pattern])
    created = iso_of(clock_ms - int(random.integers(400, 1_200)) * DAY_MS)[:10]
    times = np.sort(clock_ms - random.integers(60_000, 365 * DAY_MS, TRANSACTIONS))
    deposits = random.random(TRANSACTIONS) < DEPOSITS_SHARE
    spent = -np.maximum(np.round(np.exp(random.normal(3.3, 0.8, TRANSACTIONS)) * 100), 50)
    cents = np.where(deposits, np.round(random.gamma(2.0, 12_500, TRANSACTIONS)) + 100, spent).astype(np.int64)
    balances = 100_000 + np.cumsum(cents)
    events = [
        (
            time,
            "transactions",
            {
                "event_id": f"p{pattern}-{i}",
                "transaction_state": "SUCCEEDED",
                "transaction_currency": "EUR",
                "user_balance": balance / 100,
                "transaction_amount": amount / 100,
                "user_created": created,
                "user_category": "WEB",
                "transaction_date": iso_of(time),
            },
        )
        for i, (time, amount, balance) in enumerate(zip(times.tolist(), cents.tolist(), balances.tolist(), strict=True))
    ]
    return sorted([*events, *_loans(pattern, clock_ms, random)], key=lambda event: (event[0], event[1] != "loans"))


def _loans(pattern: int, clock_ms: int, random: np.random.Generator) -> Iterator[tuple[int, str, dict[str, Any]]]:
    point = f"p-{pattern % 50:02d}"
    days = random.integers(0, 30, 4)
    # Settled less than 90 days ago, or it would have been folded into sums.
    for name, ordered, due, paid in (
        ("a", 130 + days[0], 40 + days[1], (100, 70, 25 + days[2])),
        ("b", 20 + days[3], -60, (10,) if random.random() < 0.5 else ()),
    ):
        loan, amount = f"L-{pattern}-{name}", float(random.integers(5, 30) * 100)
        at = clock_ms - int(ordered) * DAY_MS - int(random.integers(DAY_MS))
        issued = {
            "event": "issued",
            "order_amount": amount,
            "gross_margin": amount * 0.12,
            "currency": "EUR",
            "order_date": iso_of(at),
            "due_date": iso_of(clock_ms - int(due) * DAY_MS)[:10],
            "point": point,
            "province": f"north-{pattern % 7}",
        }
        yield at, "loans", {"event_id": f"{loan}-0", "loan_id": loan, **issued}
        for i, day in enumerate(paid, 1):
            at = clock_ms - int(day) * DAY_MS - 1_000
            repaid = {"event": "repaid", "amount": round(amount / 3, 2) + 0.01, "paid_at": iso_of(at)}
            yield at, "loans", {"event_id": f"{loan}-{i}", "loan_id": loan, **repaid}


def take_past(users: list[bytes], patterns: list[int], clock_ms: int, versions: Versions, seed: int = 1) -> Table:
    """Rows of these users at `clock_ms`, each with the past of its pattern, by the decoder and the step of a worker."""
    encoder, names = Encoder(StaticRegistry()), {"transactions": "Transaction", "loans": "LoanEvent"}
    ranks = {"transactions": Rank.TRANSACTIONS, "loans": Rank.LOANS}
    records = [
        Record(topic, 0, RECORD_OFFSETS + pattern, time_ms, user, encode_value(names[topic], event, encoder))
        for user, pattern in zip(users, patterns, strict=True)
        for time_ms, topic, fields in past_of(pattern, clock_ms, seed)
        for event in [{"user_id": user.decode(), **fields}]
    ]
    records.sort(key=lambda record: (record.timestamp_ms, ranks[record.topic]))
    batch = decode(records, 0, Decoder(StaticRegistry(), partitions=1))
    if batch.rejects:
        raise RuntimeError(f"a past made here is refused: {batch.rejects[0]}")
    done = step(Table.of(batch.users, [None] * len(batch.users)), batch, versions, Clocks(clock_ms))
    if done.journal.rejects:
        raise RuntimeError(f"a past made here is refused: {done.journal.rejects[0]}")
    return done.table


def first_versions() -> Versions:
    """The versions a new deployment begins with."""
    return Versions([first_policy("EUR", "UTC")], [packaged_weights()])


def grow(clock_ms: int, patterns: int = PATTERNS, seed: int = 1) -> Population:
    """Patterns at `clock_ms`, the same for the same arguments. Cost: 1.5 ms each."""
    versions = first_versions()
    users = [b"pattern-%d" % pattern for pattern in range(patterns)]
    rows: dict[bytes, tuple[bytes, int]] = {}
    for start in range(0, patterns, PATTERNS_A_STEP):
        numbers = list(range(start, min(start + PATTERNS_A_STEP, patterns)))
        table = take_past([users[number] for number in numbers], numbers, clock_ms, versions, seed)
        rows |= {
            user: (table.row(i) or b"", due)
            for i, (user, due) in enumerate(zip(table.users, table.due_ms.tolist(), strict=True))
        }
    packed = b"".join(rows[user][0] for user in users)
    starts = np.cumsum([0, *(len(rows[user][0]) for user in users)])
    due_ms = np.array([rows[user][1] for user in users], np.int64)
    count = versions.policies[0].label_days
    phases = np.array([xxhash.xxh64_intdigest(user) % count for user in users], np.int64)
    return Population(clock_ms, count, np.frombuffer(packed, np.uint8), starts, due_ms, phases)


def grown(clock_ms: int, folder: Path, patterns: int = PATTERNS, seed: int = 1) -> Population:
    """The same, kept in `folder` for the next time. Other sources, that is another layout or formula, another file."""
    file = folder / f"population-{digest_of(Path(__file__))}-{clock_ms}-{patterns}-{seed}.npz"
    if file.exists():
        kept = np.load(file)
        return Population(clock_ms, int(kept["count"]), kept["packed"], kept["starts"], kept["due_ms"], kept["phases"])
    made = grow(clock_ms, patterns, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for former in folder.glob("population-*.npz"):
        if digest_of(Path(__file__)) not in former.name:
            former.unlink(missing_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez(
        part, count=made.phases_count, packed=made.packed, starts=made.starts, due_ms=made.due_ms, phases=made.phases
    )
    part.replace(file)
    return made
