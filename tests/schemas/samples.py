"""Random records for the tests of the codec: good ones, unusual ones, and broken ones, from a seed."""

from __future__ import annotations

import io
import json
from random import Random
from typing import Any

import fastavro

from schemas.batch import Record
from schemas.definitions import SCHEMA_OF_TOPIC, Schema, parsed
from schemas.known_schemas import StaticRegistry

NOW_MS = 1_719_748_800_000  # 2024-06-30T12:00:00Z
REGISTRY = StaticRegistry()

Fields = dict[str, Any]


def transaction(**changed: Any) -> Fields:
    """A good transaction."""
    return {
        "event_id": "t-1",
        "user_id": "ann",
        "transaction_state": "SUCCEEDED",
        "transaction_currency": "EUR",
        "user_balance": 1000.5,
        "transaction_amount": -12.25,
        "user_created": "2020-01-01",
        "user_category": "WEB",
        "transaction_date": "2024-06-30T11:59:00",
    } | changed


def loan(event: str = "issued", **changed: Any) -> Fields:
    """A good loan event."""
    more: dict[str, Fields] = {
        "issued": {
            "order_amount": 1000.0,
            "gross_margin": 100.0,
            "promo": 5.0,
            "currency": "EUR",
            "order_date": "2024-06-01",
            "due_date": "2024-09-01",
            "point": "P-7",
            "province": "Jaén",
        },
        "repaid": {"amount": 250.0, "paid_at": "2024-06-30T11:00:00Z"},
        "cancelled": {"cancelled_at": "2024-06-29"},
    }
    return {"event_id": f"l-{event}", "user_id": "ann", "event": event, "loan_id": "L/1"} | more[event] | changed


def avro(fields: Fields, name: str, written: Schema | None = None, prefix: bytes | None = None) -> bytes:
    """A value as a producer writes it."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, written or parsed(name), fields)
    return (REGISTRY.prefix_of(name) if prefix is None else prefix) + stream.getvalue()


def record(
    fields: Fields, topic: str = "transactions", as_json: bool = False, offset: int = 0, **changed: Any
) -> Record:
    """A record with these fields, its key the user_id; `changed` are attributes of the record itself."""
    value = json.dumps(fields).encode() if as_json else avro(fields, SCHEMA_OF_TOPIC[topic])
    key = str(fields.get("user_id") or fields.get("request_id")).encode()
    return Record(topic, 0, offset, NOW_MS, key, value)._replace(**changed)


TIMES = [
    "2024-06-30T11:59:00", "2024-06-30", "2024-06-30T11:59:00.123456Z", "2024-06-30T13:00:00+02:00", "2023-02-29",
    "2024-06-30 10:00", "2024-06-30T12:04:59", "2024-06-30T12:05:00", "2024-06-30T12:05:01", "1899-12-31", "1900-01-01",
    "0001-01-01", "2999-01-01", "soon", "", "2024-06-30T12:00:00.5", "2024-06-30T10:00Z", "2024-06-30T11:59:00-00:30",
]  # fmt: skip
AMOUNTS = [0.0, -0.0, 1.0, -12.25, 1e11, -1e11, 1.000001e11, float("nan"), float("inf"), -float("inf"), 0.1, 5e-324]
BLANKS = ["", " ", "\t\n", "\u3000 \u2009", "\x85\xa0\u1680\u2028", " " * 300]
TEXTS = [
    *BLANKS,
    " 7 ",
    "\u200b",
    "x",
    "é",
    "日本語",
    "😀",
    "P-7",
    "a" * 256,
    "a" * 257,
    "é" * 128,
    "é" * 129,
    "\u07ff\u0800\uffff",
]
STATES = [
    "SUCCEEDED",
    "completed",
    "Failed",
    "PENDING",
    "processing",
    "DONE",
    "",
    "\u017fUCCEEDED",
    "SUCCEEDEDX",
    "EXPIRED",
]
CURRENCIES = ["EUR", "USD", "eur", "EU", "EURO", "ÉUR", "E R", ""]


def _some(random: Random, usual: Any, choices: list[Any]) -> Any:
    return usual if random.random() < 0.85 else random.choice([*choices, None])


def random_transaction(random: Random) -> Fields:
    """Mostly good; each field now and then something else."""
    revision = _some(random, None, [0, 1, 7, -1, 2**31 - 1])
    previous = {
        "transaction_amount": _some(random, 3.0, AMOUNTS) or 0.0,
        "transaction_currency": _some(random, "EUR", CURRENCIES) or "EUR",
        "transaction_date": _some(random, "2024-06-29", TIMES) or "2024-06-01",
        "transaction_state": _some(random, "SUCCEEDED", STATES),
        "mcc": _some(random, None, ["5995", "742", "5411.0", "x"]),
    }
    return transaction(
        event_id=_some(random, f"t-{random.randrange(50)}", TEXTS),
        user_id=_some(random, f"user-{random.randrange(9)}", TEXTS) or "ann",
        transaction_state=_some(random, "SUCCEEDED", STATES),
        transaction_currency=_some(random, "EUR", CURRENCIES) or "EUR",
        user_balance=_some(random, 10.0, AMOUNTS),
        transaction_amount=_some(random, random.uniform(-100, 100), AMOUNTS) or 0.0,
        user_created=_some(random, "2020-01-01", TIMES),
        user_category=_some(random, "WEB", ["API", "web", "Api", "BRANCH", "", "WEBB"]),
        transaction_date=_some(random, "2024-06-30T11:59:00", TIMES) or "2024-06-01",
        description=_some(
            random, "groceries", [*TEXTS, "LIDL 4711 Žižkov", "ab abc ABC-d12efg a b c one two three four"]
        ),
        mcc=_some(
            random,
            "5411",
            ["7995", "", " ", "54", "541x", "54111", "0000", "0", "é411", "742", "742.0", "5411.", "\u0665411"],
        ),
        revision=revision,
        previous=_some(random, previous if revision else None, [previous]),
    )


def random_loan(random: Random) -> Fields:
    """Mostly good; each field now and then something else."""
    revision = _some(random, None, [0, 1, 2])
    previous = {
        "amount": _some(random, 3.0, AMOUNTS) or 0.0,
        "paid_at": _some(random, "2024-06-29", TIMES) or "2024-06-01",
    }
    changed: Fields = {
        "event_id": _some(random, f"l-{random.randrange(50)}", TEXTS),
        "user_id": _some(random, f"user-{random.randrange(9)}", TEXTS) or "ann",
        "event": random.choice(["issued", "repaid", "cancelled", "issued", "repaid", "Issued", "sold"]),
        "loan_id": _some(random, "L/1", TEXTS) or "",
        "order_amount": _some(random, 100.0, AMOUNTS),
        "gross_margin": _some(random, 10.0, AMOUNTS),
        "promo": _some(random, 1.0, AMOUNTS),
        "currency": _some(random, "EUR", CURRENCIES),
        "order_date": _some(random, "2024-06-01", TIMES),
        "due_date": _some(random, "2024-09-01", TIMES),
        "point": _some(random, "P-7", TEXTS),
        "province": _some(random, "Jaén", TEXTS),
        "amount": _some(random, 5.0, AMOUNTS),
        "paid_at": _some(random, "2024-06-30T11:00:00", TIMES),
        "cancelled_at": _some(random, "2024-06-30", TIMES),
        "revision": revision,
        "previous": _some(random, previous if revision else None, [previous]),
        "attributes": _some(random, None, [{}, {"a": 1.5, "b": True, "c": "x", "d": None}]),
    }
    return loan() | changed


def random_record(random: Random, offset: int) -> Record:
    """A record of one of the two topics with much traffic, its bytes or key now and then spoiled."""
    topic = random.choice(["transactions", "transactions", "loans"])
    fields = random_transaction(random) if topic == "transactions" else random_loan(random)
    whole = record(fields, topic, as_json=random.random() < 0.05, offset=offset)
    assert whole.value is not None
    if random.random() < 0.75:
        return whole
    spoiled = bytearray(whole.value)
    for _ in range(random.randrange(1, 4)):
        spoiled[random.randrange(len(spoiled))] = random.randrange(256)
    value: bytes | None = random.choice(
        [bytes(spoiled), whole.value[: random.randrange(len(whole.value))], whole.value + b"\0", None, b"", whole.value]
    )
    key = random.choice([whole.key, whole.key, None, b"", b"someone", b"\xff\xfe"])
    return whole._replace(value=value, key=key)
