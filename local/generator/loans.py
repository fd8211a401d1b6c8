"""Agricultural loans sold at points, and how they are repaid: correlated with the life of the customer, by quantile.

Each loan draws how late it leans: its persona, its customer, a lost job, luck. The loans are ranked by that and cut at
the portfolio's proportions, so that the proportions hold exactly while who is late remains a matter of circumstances.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local.generator.population import STORY_CUSTOMERS, LoanTable, People, Population, Stream, iso
from local.generator.tables import (
    COMMODITIES,
    PERSONAS,
    POINTS,
    PROVINCES,
    STATE_COUNTS,
    TENOR_SHARES,
    TENORS_DAYS,
)
from schemas.batch import DAY_MS

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

PAYMENTS_MAX = 3
JOB_LOST_LEANING = 2.0
CANCELLED_SHARE = 0.01
INSTALMENT_SHARE = 0.12
NEVER_PAID_SHARE = 0.6  # of the loans written off; the others are settled after day 180
FIRST_LOAN_NUMBER = 100  # numbers below are those of the story


def draw_loans(seed: int, people: People, first_day: int, days: int) -> LoanTable:
    """All loans ordered in the period, with their payments, also those after its end. Cost: 2 microseconds a loan."""
    random = np.random.default_rng([seed, Stream.LOANS])
    user, order_day = _orders(random, people, first_day, days)
    n = user.size
    commodity = random.choice(len(COMMODITIES), n, p=[one.share for one in COMMODITIES])
    median = np.array([one.order_amount for one in COMMODITIES])[commodity]
    order_cents = np.round(median * np.exp(random.normal(0, 0.5, n)) / 5).astype(np.int64) * 500 + 5_000
    margin = np.array([one.margin for one in COMMODITIES])[commodity] * random.uniform(0.7, 1.3, n)
    promo = np.where(random.random(n) < 0.25, random.uniform(0.005, 0.02, n), 0.0)
    away = random.random(n) < 0.1
    order_ms = order_day * DAY_MS + random.integers(7 * 3_600_000, 18 * 3_600_000, n)
    whole = _Orders(
        user,
        np.arange(n) + FIRST_LOAN_NUMBER,
        order_ms,
        order_cents,
        np.round(order_cents * margin).astype(np.int64),
        np.round(order_cents * promo).astype(np.int64),
        np.where(away, random.integers(0, len(POINTS), n), people.point[user]),
        commodity,
        random.choice(np.array(TENORS_DAYS), n, p=TENOR_SHARES),
        np.where(random.random(n) < CANCELLED_SHARE, order_ms + random.integers(1, 48, n) * 3_600_000, 0),
    )
    instalments = np.where(
        (random.random(n) < INSTALMENT_SHARE) & (whole.tenor_days >= 30), random.integers(2, 5, n), 1
    )
    return _repaid(random, people, *whole.split(instalments))


class _Orders:
    """Loans as they are sold, before they are divided into instalments."""

    def __init__(self, *columns: Integers) -> None:
        self.columns = columns
        self.tenor_days = columns[8]

    def split(self, instalments: Integers) -> tuple[Integers, ...]:
        """(user, number, instalment, order_ms, due_day, three amounts, point, commodity, tenor_days, cancelled_ms)."""
        repeats = np.repeat(np.arange(instalments.size), instalments)
        first = np.concatenate([[0], np.cumsum(instalments)[:-1]])
        place = np.arange(repeats.size) - first[repeats]  # 0, 1, ... within its loan
        count = instalments[repeats]
        user, number, order_ms, *amounts, point, commodity, tenor, cancelled = (
            column[repeats] for column in self.columns
        )
        # Of a sum that does not divide, the last instalment takes the rest.
        shares = [np.where(place == count - 1, a - a // count * (count - 1), a // count) for a in amounts]
        tenor = tenor * (place + 1) // count
        due_day = order_ms // DAY_MS + tenor
        return (
            user,
            number,
            np.where(count > 1, place + 1, 0),
            order_ms,
            due_day,
            *shares,
            point,
            commodity,
            tenor,
            cancelled,
        )


def _orders(random: np.random.Generator, people: People, first_day: int, days: int) -> tuple[Integers, Integers]:
    """(user, day) of every order, sorted by day. Customers differ: many order once or never, a few fifty times."""
    per_year = np.array([persona.loans_per_year for persona in PERSONAS])[people.persona]
    begin = np.maximum(people.first_day, first_day)
    end = np.minimum(people.last_day, first_day + days)
    length = np.maximum(end - begin, 0)
    length[:STORY_CUSTOMERS] = 0
    count = random.poisson(per_year * random.gamma(0.5, 2.0, per_year.size) * length / 365)
    user = np.repeat(np.arange(per_year.size), count)
    day = begin[user] + (random.random(user.size) * length[user]).astype(np.int64)
    order = np.lexsort((user, day))
    return user[order], day[order]


def _repaid(random: np.random.Generator, people: People, *columns: Integers) -> LoanTable:
    user, number, instalment, order_ms, due_day, order_cents, margin, promo, point, commodity, tenor, cancelled = (
        columns
    )
    fate = _fates(_leaning(random, people, user, due_day))
    settled_day = due_day + _days_past_due(random, fate, due_day - order_ms // DAY_MS)
    never = (fate == len(STATE_COUNTS) - 1) & (random.random(fate.size) < NEVER_PAID_SHARE)
    paid_ms, paid_cents = _payments(random, order_ms, settled_day, order_cents, never)
    paid_ms[cancelled > 0] = 0
    return LoanTable(
        *(user, number, instalment, order_ms, due_day, order_cents, margin, promo, point, commodity, tenor, cancelled),
        fate=fate,
        paid_ms=paid_ms,
        paid_cents=np.where(paid_ms > 0, paid_cents, 0),
    )


def _leaning(random: np.random.Generator, people: People, user: Integers, due_day: Integers) -> Floats:
    """How far each loan leans to late: persona, customer, a job lost around its due day, luck."""
    persona = np.array([persona.late for persona in PERSONAS])[people.persona[user]]
    customer = random.normal(0, 0.8, people.persona.size)[user]
    jobless = (people.job_lost_day[user] < due_day) & (due_day < people.job_found_day[user] + 30)
    leaning: Floats = persona + customer + JOB_LOST_LEANING * jobless + random.normal(0, 1, user.size)
    return leaning


def _fates(leaning: Floats) -> Integers:
    """The final state of each loan: ranks cut at the proportions of the portfolio."""
    rank = np.empty(leaning.size)
    rank[np.argsort(leaning, kind="stable")] = np.arange(leaning.size) + 0.5
    cuts = np.cumsum(STATE_COUNTS) / np.sum(STATE_COUNTS)
    fates: Integers = np.searchsorted(cuts[:-1], rank / max(leaning.size, 1), side="right").astype(np.int64)
    return fates


def _days_past_due(random: np.random.Generator, fate: Integers, tenor_days: Integers) -> Integers:
    """Days from the due day to the last payment, within the bounds of each state."""
    n = fate.size
    early = -np.minimum(random.geometric(0.35, n) - 1, np.maximum(tenor_days - 1, 0))
    days = np.stack(
        [
            early,
            np.minimum(random.geometric(0.11, n), 30),  # reminded at maturity, most pay within days
            random.integers(31, 91, n),
            random.integers(91, 181, n),
            random.integers(181, 300, n),
        ]
    )
    result: Integers = days[fate, np.arange(n)]
    return result


def _payments(
    random: np.random.Generator,
    order_ms: Integers,
    settled_day: Integers,
    order_cents: Integers,
    never: NDArray[np.bool_],
) -> tuple[Integers, Integers]:
    """Times and cents of up to three payments, in order; the last one settles, unless the loan is never settled."""
    n = order_ms.size
    parts = np.where(random.random(n) < 0.2, random.integers(2, PAYMENTS_MAX + 1, n), 1)
    last_ms = np.maximum(settled_day * DAY_MS + random.integers(8 * 3_600_000, 20 * 3_600_000, n), order_ms + 600_000)
    fractions = np.sort(random.random((n, PAYMENTS_MAX - 1)), axis=1)
    since = (last_ms - order_ms)[:, None]
    times = np.concatenate(
        [order_ms[:, None] + 60_000 + (fractions * (since - 120_000)).astype(np.int64), last_ms[:, None]], 1
    )
    used = np.arange(PAYMENTS_MAX) >= PAYMENTS_MAX - parts[:, None]
    weights = np.where(used, random.uniform(0.5, 1.5, (n, PAYMENTS_MAX)), 0.0)
    cents = np.floor(order_cents[:, None] * weights / weights.sum(axis=1, keepdims=True)).astype(np.int64)
    cents[:, -1] += order_cents - cents.sum(axis=1)
    used[never, -1] = False
    return np.where(used, times, 0), np.where(used, cents, 0)


def loan_name(number: int, instalment: int) -> str:
    """The id of a loan, or of an instalment of one.

    >>> loan_name(88, 0), loan_name(88, 2)
    ('L-88', 'L-88/2')
    """
    return f"L-{number}/{instalment}" if instalment else f"L-{number}"


LoanStep = tuple[int, str, dict[str, Any]]
"""(time in milliseconds, user_id, LoanEvent)."""


def loan_steps(population: Population) -> list[LoanStep]:
    """Every loan event within the period, in order of time. Cost: 4 microseconds each."""
    loans, end_ms = population.loans, population.end_ms
    steps = list(_issued(population))
    for loan, part in np.argwhere(loans.paid_ms > 0).tolist():
        paid_ms = int(loans.paid_ms[loan, part])
        if paid_ms < end_ms:
            value = _head(population, loan, "repaid", f"r{part}") | {
                "amount": int(loans.paid_cents[loan, part]) / 100,
                "paid_at": iso(paid_ms),
            }
            steps.append((paid_ms, value["user_id"], value))
    for loan in np.flatnonzero((loans.cancelled_ms > 0) & (loans.cancelled_ms < end_ms)).tolist():
        cancelled_ms = int(loans.cancelled_ms[loan])
        value = _head(population, loan, "cancelled", "c") | {"cancelled_at": iso(cancelled_ms)}
        steps.append((cancelled_ms, value["user_id"], value))
    return sorted(steps, key=lambda step: step[0])


def _issued(population: Population) -> Iterator[LoanStep]:
    loans = population.loans
    for loan in np.flatnonzero(loans.order_ms < population.end_ms).tolist():
        point, province = POINTS[loans.point[loan]]
        value = _head(population, loan, "issued", "i") | {
            "order_amount": int(loans.order_cents[loan]) / 100,
            "gross_margin": int(loans.margin_cents[loan]) / 100,
            "promo": int(loans.promo_cents[loan]) / 100,
            "currency": "EUR",
            "order_date": iso(int(loans.order_ms[loan])),
            "due_date": iso(int(loans.due_day[loan]) * DAY_MS)[:10],
            "point": point,
            "province": PROVINCES[province],
            "commodity": COMMODITIES[loans.commodity[loan]].name,
            "tenor_days": int(loans.tenor_days[loan]),
        }
        yield int(loans.order_ms[loan]), value["user_id"], value


def _head(population: Population, loan: int, event: str, suffix: str) -> dict[str, Any]:
    loans = population.loans
    name = loan_name(int(loans.number[loan]), int(loans.instalment[loan]))
    user_id = population.user_ids[loans.user[loan]]
    return {"event_id": f"{name}-{suffix}", "user_id": user_id, "event": event, "loan_id": name}
