"""Input records that are almost right: good events of every topic, each with something odd about it.

What comes of each is not foretold here. The recount judges that, as it judges every other record: taken as the readable
code takes it, or one dead letter with the bytes as received.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import fastavro

from schemas.definitions import SCHEMA_OF_TOPIC, parsed

CUSTOMERS = 150
ODD_NAMES = ("77", "78", " ", "a b", "c-\u202e17", "\x1b[31mred", "[red]x[/]", "é", "e\u0301", "x" * 256,
"x" * 257, "\u0001",
             "-", "/", "..", "{app.0}:m", "progress", "😀", "null", "None", "0")  # fmt: skip

Fields = dict[str, Any]


class Raw(str):
    """JSON that is written as it stands: numbers that Python does not write, names that come twice."""

    __slots__ = ()


class Sent(NamedTuple):
    """One record to publish. No partition: that of its key."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None


ODD_VALUES: tuple[Any, ...] = (
    None, "", " ", "\u3000", 0, -0.0, -1, 1, 2, 0.005, 12.3456, 1e11, 1.000001e11, 1e13, 1e308, -1e308, 2**31,
    2**53, 2**53 + 1,
    2**63 - 1, 2**63, -(2**63), 2**64, 10**40, True, False, [], {}, [1], {"a": 1}, "NaN", "Infinity", "1,5",
    "1.5", "12",
    Raw("NaN"), Raw("1e400"), Raw("-1e400"), Raw("1E5"), Raw("-0"), "eur", "EUR", "XTS", "KWD", "JPY", "EURO",
    "742", "0742", "5411",
    "54110", "x" * 300, "x" * 70_000, "\x00", "\x1b[2J", "\ud83d", "SUCCEEDED", "pending", "MAYBE", "issued",
    "REPAID", "cancelled",
    "erase", "override", "lift", "advance", "value", "status", "risk", "class", "2999-01-01", "1970-01-01",
    "1970-01-01T00:00:00Z",
    "0001-01-01", "9999-12-31", "1899-12-30", "1900-01-01", "2026-02-30", "2026-02-29", "20261120",
    "2026-W47-5", "2026-11-20T24:00:00",
    "2026-11-20T23:59:60Z", "2026-11-20T12:00", "2026-11-20 12:00:00", "2026-11-20T12:00:00.123456789+14:00",
    "2026-11-20T12:00:00-00:00",
    "20/11/2026", "1763640000", 1_763_640_000, 1_763_640_000_000,
)  # fmt: skip
"""What stands in for a field's value: wrong types, edges, default values, formats of other programs."""


def records(random: Random, registry_schema: Callable[[Random, str], tuple[int, Any]] | None = None) -> Iterator[Sent]:
    """Records for ever. `registry_schema` registers a random writer's schema for a topic: its id and itself."""
    while True:
        topic = random.choices(("transactions", "loans", "applicants", "outcomes", "commands"), (50, 25, 10, 7, 8))[0]
        fields = GOOD[topic](random)
        if random.random() < 0.6:
            fields = _odd(random, fields)
        yield from _sent(random, topic, fields)


def _customer(random: Random) -> str:
    return random.choice(ODD_NAMES) if random.random() < 0.05 else f"c{random.randrange(CUSTOMERS)}"


def _event_id(random: Random) -> Fields:
    """Ids of a small pool, so that they come again in other topics, with other content, or not at all."""
    kind = random.random()
    if kind < 0.2:
        return {}
    return {"event_id": random.choice(("", " ", "1", "2", "3")) if kind < 0.3 else str(random.randrange(5_000))}


def _moment(random: Random, days: float = 60.0) -> str:
    at = datetime.now(UTC) - timedelta(days=random.random() * days)
    shape = random.random()
    if shape < 0.2:
        return at.date().isoformat()
    if shape < 0.3:
        return at.replace(tzinfo=None).isoformat(timespec="seconds")
    return at.isoformat(timespec="milliseconds")


def _amount(random: Random) -> float:
    return round(random.choice((-1, 1)) * random.lognormvariate(3.0, 1.5), random.choice((0, 2, 2, 3)))


def _currency(random: Random) -> str:
    return random.choices(("EUR", "USD", "KWD", "XTS"), (90, 5, 3, 2))[0]


def _transaction(random: Random) -> Fields:
    fields = {
        "user_id": _customer(random), "transaction_amount": _amount(random), "transaction_currency": _currency(random),
        "transaction_date": _moment(random), **_event_id(random),
    }  # fmt: skip
    more = {
        "transaction_state": random.choice(("SUCCEEDED", "FAILED", "pending", "Completed")),
        "user_balance": _amount(random), "user_created": _moment(random, 900.0), "user_category": "WEB",
        "mcc": random.choice(("5411", "5812", "742", "9311")), "description": random.choice(("LIDL SAGT DANKE",
        "rent", "")),
    }  # fmt: skip
    fields |= {name: value for name, value in more.items() if random.random() < 0.4}
    return _corrected(random, fields, ("transaction_amount", "transaction_currency", "transaction_date"))


def _corrected(random: Random, fields: Fields, replaced: tuple[str, ...]) -> Fields:
    """Now and then a correction, of something that was perhaps never published."""
    if random.random() < 0.1:
        previous = {name: fields[name] for name in replaced if name in fields}
        if random.random() < 0.5:
            previous[replaced[0]] = abs(_amount(random))
        fields |= {"revision": random.randrange(1, 4), "previous": previous, "event_id": str(random.randrange(300))}
    return fields


def _loan(random: Random) -> Fields:
    fields = {"user_id": _customer(random), "loan_id": f"L{random.randrange(4)}", **_event_id(random)}
    kind = random.random()
    if kind < 0.45:
        return fields | {
            "event": "issued", "order_amount": abs(_amount(random)) + 1, "gross_margin": _amount(random),
            "currency": _currency(random), "order_date": _moment(random, 500.0), "due_date": _moment(random, 300.0),
        }  # fmt: skip
    if kind < 0.9:
        fields |= {"event": "repaid", "amount": abs(_amount(random)), "paid_at": _moment(random, 300.0)}
        return _corrected(random, fields, ("amount", "paid_at"))
    return fields | {"event": "cancelled"}


def _applicant(random: Random) -> Fields:
    fields: Fields = {
        "income": abs(_amount(random)),
        "debt": abs(_amount(random)),
        "attributes": {"model": "risk", "x": 1},
    }
    if random.random() < 0.5:
        fields["request_id"] = random.choice((77, 78, random.randrange(1_000)))
    if "request_id" not in fields or random.random() < 0.5:
        fields["user_id"] = _customer(random)
    return fields | _event_id(random)


def _outcome(random: Random) -> Fields:
    fields: Fields = {"model": random.choice(("risk", "acceptance", "nobody")), "label": random.choice((0, 1, 0.5))}
    kind = random.random()
    if kind < 0.5:
        fields["request_id"] = random.choice((77, 78, random.randrange(1_000)))
    if kind > 0.3:
        fields |= {"user_id": _customer(random), "loan_id": f"L{random.randrange(4)}"}
    return fields | _event_id(random)


def _command(random: Random) -> Fields:
    fields = {"user_id": _customer(random), "author": "fuzz", **_event_id(random)}
    kind = random.random()
    if kind < 0.15:
        return fields | {"command": "erase"}
    score = random.choice(("value", "status", "revenue", "risk", "class", "profiles"))
    if kind < 0.3:
        return fields | {"command": "lift", "score": score}
    until = datetime.now(UTC) + timedelta(seconds=random.choice((-60, 2, 30)))
    return fields | {
        "command": "override", "score": score, "value": random.choice((0, 1, 1.5, 9)), "expires_at": until.isoformat()
    }  # fmt: skip


GOOD: dict[str, Callable[[Random], Fields]] = {
    "transactions": _transaction,
    "loans": _loan,
    "applicants": _applicant,
    "outcomes": _outcome,
    "commands": _command,
}


def _odd(random: Random, fields: Fields) -> Fields:
    """The same with one or two fields changed, dropped, renamed or added."""
    fields = dict(fields)
    for _ in range(random.choice((1, 1, 1, 2))):
        name, how = random.choice(sorted(fields) or ["user_id"]), random.random()
        if how < 0.65:
            fields[name] = random.choice(ODD_VALUES)
        elif how < 0.8:
            fields.pop(name, None)
        elif how < 0.9:
            fields[random.choice((name.upper(), name + " ", "x"))] = fields.pop(name, None)
        else:
            fields[random.choice(("revision", "previous", "request_id", "attributes", "currency"))] = random.choice(
                ODD_VALUES
            )
    return fields


def _sent(random: Random, topic: str, fields: Fields) -> Iterator[Sent]:
    owner = fields.get("user_id", fields.get("request_id"))
    key: bytes | None = str(owner).encode("utf-8", "surrogatepass") if owner is not None else None
    value: bytes | None = _json(fields) if random.random() < 0.5 else _avro(topic, fields) or _json(fields)
    odd = random.random()
    if odd < 0.01:
        key = random.choice((None, b"", b"\x00request/77", b"\x00progress", b"\xff\xfe", key))
    elif odd < 0.03:
        value = random.choice(
            (
                None,
                b"",
                value[:-1] if value else None,
                (value or b"") + b"}",
                b"[" + (value or b"") + b"]",
                b"null",
                b"\x00",
            )
        )
    elif odd < 0.04:
        value = random.randbytes(random.randrange(1, 200))
    partition = random.randrange(2) if random.random() < 0.01 else None
    again = 2 if random.random() < 0.05 else 1
    for _ in range(again):
        yield Sent(topic, key, value, partition)


def as_json(fields: Fields) -> str:
    """JSON in which `Raw` stands as it is and lone surrogates are escaped."""
    parts = (f"{json.dumps(k)}: {v if isinstance(v, Raw) else json.dumps(v)}" for k, v in fields.items())
    return "{" + ", ".join(parts) + "}"


def _json(fields: Fields) -> bytes:
    return as_json(fields).encode()


def _avro(topic: str, fields: Fields) -> bytes | None:
    """Our own schema, single-object encoding; None where the fields do not fit it."""
    schema = parsed(SCHEMA_OF_TOPIC[topic])
    body = io.BytesIO()
    known = {field["name"] for field in schema["fields"]}
    try:
        fastavro.schemaless_writer(body, schema, {k: v for k, v in fields.items() if k in known})
    except Exception:  # noqa: BLE001 - whatever the writer refuses goes as JSON
        return None
    mark = fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return b"\xc3\x01" + bytes.fromhex(mark) + body.getvalue()
