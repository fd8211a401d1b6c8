"""A bank that lends: people who declare, are granted loans, pay or do not; requests, and answers as they like."""

from __future__ import annotations

import functools
import json
import random
from typing import Any

from schemas.batch import DAY_MS
from schemas.time_text import text_of_ms

FIRST_MS = 20_089 * DAY_MS
"""2025-01-01"""
DAYS = 135
PEOPLE = 24
HOUR_MS = 3_600_000

Told = tuple[str, bytes, bytes, int]


class Teller:
    """Writes events down as a publisher would."""

    def __init__(self) -> None:
        self.events: list[Told] = []
        self._number = 0

    def tell(self, topic: str, key: str, at_ms: int, **fields: Any) -> None:
        self._number += 1
        said = {"event_id": f"e{self._number}", **fields}
        self.events.append((topic, key.encode(), json.dumps(said).encode(), at_ms))

    def declare(self, who: str, at_ms: int, request_id: int | None = None, **declared: Any) -> None:
        self.tell("applicants", who, at_ms, user_id=who, request_id=request_id, **declared)

    def ask(self, request_id: int, at_ms: int, **attributes: Any) -> None:
        self.tell("applicants", str(request_id), at_ms, request_id=request_id, attributes=attributes)

    def answer(self, request_id: int, at_ms: int, label: bool, model: str = "acceptance") -> None:
        self.tell("outcomes", str(request_id), at_ms, request_id=request_id, model=model, label=label)

    def lend(self, who: str, loan: str, at_ms: int, due_days: int, **more: Any) -> None:
        terms = {"order_amount": 500.0, "gross_margin": 50.0, "currency": "EUR"}
        days = {"order_date": text_of_ms(at_ms), "due_date": text_of_ms(at_ms + due_days * DAY_MS)}
        self.tell("loans", who, at_ms, user_id=who, event="issued", loan_id=loan, **terms, **days, **more)

    def repay(self, who: str, loan: str, at_ms: int) -> None:
        paid = {"amount": 500.0, "paid_at": text_of_ms(at_ms)}
        self.tell("loans", who, at_ms, user_id=who, event="repaid", loan_id=loan, **paid)

    def pay(self, who: str, at_ms: int, amount: float) -> None:
        self.tell("transactions", who, at_ms, user_id=who, transaction_currency="EUR", transaction_amount=amount,
                  transaction_date=text_of_ms(at_ms), user_balance=100.0)  # fmt: skip


@functools.cache
def lending(seed: int = 5) -> tuple[Told, ...]:
    """Events in order of time."""
    chance, teller = random.Random(seed), Teller()
    for i in range(PEOPLE):
        who, careless = f"p{i}", i % 3 == 0
        start_ms = FIRST_MS + i * HOUR_MS
        teller.declare(who, start_ms, income=900.0 if careless else 3_000.0, debt=500.0, moroso=float(careless))
        for day in range(1, 21, 3):
            loan, at_ms = f"{who}-{day}", start_ms + day * DAY_MS
            teller.lend(who, loan, at_ms, 10)
            if not (careless and chance.random() < 0.8):
                teller.repay(who, loan, at_ms + 8 * DAY_MS)
            if chance.random() < 0.1:
                teller.tell("loans", who, at_ms + 60_000, user_id=who, event="cancelled", loan_id=loan)
        for day in range(0, DAYS, 7):
            teller.pay(who, start_ms + day * DAY_MS + 7, 100.0 + 50 * (day % 3))
    for number in range(1, 400):
        requests(teller, chance, number)
    return tuple(sorted((e for e in teller.events if e[3] < FIRST_MS + DAYS * DAY_MS), key=lambda event: event[3]))


def requests(teller: Teller, chance: random.Random, number: int) -> None:
    """One request for a mortgage, and whatever is said of it."""
    at_ms = FIRST_MS + number * 6 * HOUR_MS + chance.randrange(HOUR_MS)
    ltv = chance.uniform(0.3, 1.3)
    said = {"model": "acceptance", "credit.loan": 1e5 * ltv, "credit.value": 1e5, "credit.time": 30.0,
            "credit.tin": 3.0, "client1.income": 3_000.0, "gender": chance.choice(["female", "male"])}  # fmt: skip
    label, later_ms = ltv < 0.8, at_ms + chance.randrange(1, 10) * DAY_MS
    way = chance.random()
    if way < 0.1:  # the answer is there before the question
        teller.answer(number, at_ms - chance.randrange(1, 3) * DAY_MS, label)
        teller.ask(number, at_ms, **said)
    elif way < 0.2:  # answered twice, and another way
        teller.ask(number, at_ms, **said)
        teller.answer(number, later_ms, label)
        teller.answer(number, later_ms + HOUR_MS, not label)
    elif way < 0.25:  # nobody ever asked
        teller.answer(number, later_ms, label)
    elif way < 0.3:  # nobody ever answers
        teller.ask(number, at_ms, **said)
    else:
        teller.ask(number, at_ms, **said)
        teller.answer(number, later_ms, label)
