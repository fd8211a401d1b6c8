"""The records of tests/cases about broadcast bodies: as a publisher sends them, and what must be said of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from schemas.codec import Encoder, StaticRegistry, encode_value
from streams.versions.bodies import TABLES, body_of_policy, body_of_weights, first_policy, packaged_weights

CASES = Path(__file__).parent.parent / "cases"
ENCODER = Encoder(StaticRegistry())


class Case(NamedTuple):
    """A record, and words that its refusal has."""

    name: str
    topic: str
    key: bytes
    value: bytes
    words: str


def lines(folder: str) -> list[dict[str, Any]]:
    """The lines of a case."""
    text = (CASES / folder / "bodies.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def bodies_that_are_no_object() -> list[Case]:
    """Each line of config-body-is-no-object."""
    nothing = {"version": "v", "effective_ms": 0, "consistency_median": 0.0, **{name: [] for name in TABLES}}
    found = []
    for line in lines("config-body-is-no-object"):
        name = line.get("name") or line["model"]
        if line["topic"] == "rescore-config":
            fields = {"name": name, "version": "v", "effective_ms": 0, "body": line["body"]}
            value = encode_value("Config", fields, ENCODER)
        else:
            value = encode_value("Weights", {**nothing, "model": name, "body": line["body"]}, ENCODER)
        found.append(Case(f"{name} {line['body']}", line["topic"], name.encode(), value, "not an object"))
    return found


WORDS = {
    "rates-null": "cost_rates is null; it must be a list",
    "rates-one": "cost_rates has 1 items; it must have at least 5",
    "rates-text": 'cost_rates is "x"; it must be a list',
    "days-list": "fold_loan_after_days is [1]; it must be a whole number",
    "days-empty-text": 'fold_loan_after_days is ""; it must be a whole number',
    "days-text": 'fold_loan_after_days is "90"; it must be a whole number',
    "days-half": "fold_loan_after_days is 90.5; it must be a whole number",
    "step-nan": "NaN is not a JSON number",
    "weights-huge": "beta[0] is 1e+308; it must be at most 100",
}


def values_out_of_shape(effective_ms: int = 0) -> list[Case]:
    """Each line of policy-values-out-of-shape."""
    policy = json.loads(body_of_policy(first_policy("EUR", "UTC")))
    found = []
    for line in lines("policy-values-out-of-shape"):
        name = line["case"]
        if name == "weights-huge":
            weights = body_of_weights(packaged_weights())
            weights |= {"version": "w-x", "effective_ms": effective_ms, "beta": [1e308] * len(weights["beta"])}
            found.append(Case(name, "rescore-weights", b"w-x", encode_value("Weights", weights, ENCODER), WORDS[name]))
            continue
        change = {k: float("nan") if v == "NaN (the JSON literal)" else v for k, v in line["replace"].items()}
        fields = {"name": "policy", "version": name, "effective_ms": effective_ms, "body": json.dumps(policy | change)}
        found.append(Case(name, "rescore-config", b"policy", encode_value("Config", fields, ENCODER), WORDS[name]))
    return found


def every_case() -> list[Case]:
    """All of both."""
    return [*bodies_that_are_no_object(), *values_out_of_shape()]


def late_loan(user: str, year: int = 2026) -> list[dict[str, Any]]:
    """A loan of 100.00 with margin 10.00, due on 15 September, of which 60.00 are repaid on the 20th."""
    return [
        {"event_id": "i", "user_id": user, "event": "issued", "loan_id": "L-1", "order_amount": 100.0,
         "gross_margin": 10.0, "currency": "EUR", "order_date": f"{year}-08-15", "due_date": f"{year}-09-15"},
        {"event_id": "r", "user_id": user, "event": "repaid", "loan_id": "L-1", "amount": 60.0, "currency": "EUR",
         "paid_at": f"{year}-09-20"},
    ]  # fmt: skip


REVENUE = 0.63
"""Of that customer while the loan is 31 to 90 days past due, by the packaged cost rates."""
