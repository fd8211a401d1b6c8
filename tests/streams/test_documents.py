"""`inspect --json` and `explain --json`: what programs get, by the rules that docs/customer-json.md gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.batch import DECLARED
from schemas.decode import Decoder, decode
from schemas.kinds import SEGMENT_NAMES
from schemas.known_schemas import StaticRegistry
from schemas.writing import Encoder, change_to_dict
from state.row import Row
from streams.customers.counterfactuals import data_used, ways
from streams.customers.document import customer_document, request_document
from streams.customers.row_view import packaged_names
from streams.customers.story import Beside, stories
from streams.customers.story_documents import change_document, explanation
from streams.scoring.reasons import REASON_TEXTS
from streams.scoring.version_names import names_of
from tests.scoring.customers import Customers, at_ms, iso

PAGE = Path(__file__).parents[2] / "docs/customer-json.md"
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIMES = {"clock", "balance_at", "ordered_at", "until", "valid_until", "first_event_at", "last_event_at", "erased_at",
         "event_at", "decided_at", "since", "asked_at"}  # fmt: skip
DATES = {"date", "customer_since", "last_transaction", "due", "settled", "weighed_on", "closed_forgotten_up_to"}
MONEY = {"in", "out", "balance", "amount", "gross_margin", "promo", "spent"}
WIDE = {"sequence", "transaction", "events", "transactions", "failed_attempts", "taken", "duplicates", "out_of_order",
        "ids_forgotten_early", "offset", "missing_changes"}  # fmt: skip


class Spelled(Customers):
    """Customers whose changes are kept as subscribers decode them."""

    def _spell(self, done: Any, change: Any) -> dict[str, Any]:
        self.said = getattr(self, "said", [])
        encoder = Encoder(StaticRegistry(), REASON_TEXTS)
        batch = decode(self.records[-1:], 0, Decoder(StaticRegistry(), 1))
        i = [bytes(row.tobytes()) for row in done.changes.rows].index(bytes(change.tobytes()))
        self.said.append(change_to_dict(i, done.changes, batch, done.table.users, names_of(self.versions), encoder))
        return super()._spell(done, change)


@cache
def world() -> Spelled:
    """A customer with everything: two currencies, loans open, settled and late, purchases, an override."""
    ann = Spelled()
    ann.transaction(0, 1_400.0)
    for i in range(4):
        ann.transaction(0.1 + i / 10, -30.0, mcc="5995")
    ann.declared(1, income=1_500.0, debt=900.0, renta=700.0, debt_total=40_000.0, loan_amount=20_000.0)
    ann.issued(2, "L-1", due=5)
    ann.repaid(4, "L-1")
    ann.issued(10, "L-2", due=20)
    ann.advance(30)
    ann.command(31, "override", score="value", value=4.5, expires_at=iso(90), author="kim", reason="r")
    return ann


def inspected(row: Row | None = None) -> dict[str, Any]:
    ann = world()
    document = customer_document("ann", row or ann.row(), 3, 2**53 + 1, ann.versions, packaged_names())
    return json.loads(json.dumps(document, allow_nan=False))


def explained(adverse: bool = True) -> dict[str, Any]:
    ann = world()
    told = stories("ann", ann.said)
    near = ways(ann.row(), ann.versions)
    beside = {
        story.score: Beside(data_used(ann.row(), story.score), [way for way in near if way.score == story.score])
        for story in told
    }
    return json.loads(json.dumps(explanation("ann", told, beside if adverse else None), allow_nan=False))


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not an object or a list, with the name it stands under."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, name)
    else:
        yield name, value


@pytest.mark.parametrize("document", [inspected, explained], ids=["inspect", "explain"])
def test_times_are_rfc_3339_money_and_wide_numbers_are_text_and_nothing_is_a_code(document) -> None:
    seen = set()
    for name, value in leaves(document()):
        seen.add(name)
        if value is None:
            continue
        if name in TIMES:
            assert RFC_3339.fullmatch(value), (name, value)
            datetime.fromisoformat(value)
        if name in DATES:
            assert DATE.fullmatch(value), (name, value)
        if name in WIDE and not (name in ("transactions", "failed_attempts") and isinstance(value, int)):
            assert re.fullmatch(r"\d+", value), (name, value)
        if isinstance(value, int) and not isinstance(value, bool):
            assert abs(value) < 2**31, (name, value)
        assert not name.endswith(("_ms", "_minor", "hash", "_day")), name
    assert seen & TIMES
    assert seen & WIDE


def test_a_row_is_told_with_names_and_exact_money() -> None:
    told = inspected()
    assert told["as_of"] == {"clock": "2026-02-01T00:00:00.000Z", "partition": 3, "transaction": str(2**53 + 1)}
    scores = {one["score"]: one for one in told["scores"]}
    assert scores["value"]["override"] == {"value": 4.5, "until": "2026-04-01T00:00:00.000Z", "author": "kim"}
    assert (scores["value"]["value"], scores["value"]["band"]) == (4.5, "top")
    assert scores["profiles"]["value"] == ["pet_owner"]
    assert scores["segment"]["value"] in SEGMENT_NAMES
    assert isinstance(scores["class"]["value"], int)
    assert re.fullmatch("[1-5]{3}", scores["rfm"]["value"])
    assert scores["risk"]["band"] in ("low", "medium", "high")
    assert told["lifetime"] == {"in": "1400.00", "out": "120.00", "transactions": "5", "failed_attempts": "0"}
    assert {one["category"]: one["spent"] for one in told["spending"]} == {"all": "120.00", "pets": "120.00"}
    late = next(loan for loan in told["loans"] if loan["loan_id"] == "L-2")
    assert (late["days_past_due"], late["currency"], late["amount"], late["due"]) == (
        11,
        "EUR",
        "100000.00",
        "2026-01-21",
    )
    assert late["point"] == "p-1"
    assert set(late["paid"]) == {"non_default", "bdr_30", "bdr_30_plus", "npl", "wo"}
    assert told["declared"]["income"] == 1_500.0
    assert "seen" not in told


def test_of_an_erased_customer_only_when_is_told() -> None:
    ann = Customers()
    ann.transaction(0, 5.0)
    ann.command(1, "erase")
    told = customer_document("ann", ann.row(), 0, 1, ann.versions, {})
    assert (told["erased_at"], told["scores"]) == ("2026-01-02T00:00:00.000Z", [])
    assert "lifetime" not in told


def test_a_request_is_told_by_what_it_declares() -> None:
    row = Row(incarnation_offset=0, declared=[1.5] * len(DECLARED), clock_ms=at_ms(1))
    told = request_document(2**53 - 1, row, 0, 9)
    assert told["request_id"] == 2**53 - 1
    assert told["declared"]["income"] == 1.5


def test_a_change_is_told_with_text_for_what_javascript_would_round() -> None:
    change = dict(world().said[0]) | {"sequence": 2**60, "events": 2**60, "valid_until_ms": None}
    change["cause"] = dict(change["cause"]) | {"offset": 2**60}
    told = change_document(change)
    assert (told["sequence"], told["coverage"]["events"], told["cause"]["offset"]) == (str(2**60),) * 3
    assert told["valid_until"] is None
    gone = change_document(change | {"events": 0, "first_event_ms": 0, "last_event_ms": 0})
    assert gone["coverage"] == {"events": "0", "first_event_at": None, "last_event_at": None}


def test_reasons_add_up_and_ways_are_objects() -> None:
    by_score = {one["score"]: one for one in explained()["scores"]}
    now = by_score["risk"]["now"]
    assert now["base"] + sum(reason["level"] for reason in now["reasons"]) == pytest.approx(now["new"], abs=1e-6)
    (way, *_) = by_score["risk"]["adverse"]["enough"]
    assert set(way) == {"name", "text", "now", "needed", "score_then", "band_then"}
    assert by_score["value"]["adverse"] is None
    assert all(one["adverse"] is None for one in explained(adverse=False)["scores"])
    assert [change["sequence"] for change in by_score["value"]["changes"]] == [
        str(n + 1) for n in range(len(by_score["value"]["changes"]))
    ]


def shape(value: Any) -> Any:
    """The names in a document, of lists those of the first object; what is null or a value is no shape."""
    if isinstance(value, dict):
        return {key: inner for key, item in value.items() if (inner := shape(item)) is not None} | dict.fromkeys(
            key for key, item in value.items() if shape(item) is None
        )
    if isinstance(value, list):
        shapes = [shape(item) for item in value if shape(item) is not None]
        return shapes[0] if shapes else None
    return None


@pytest.mark.parametrize("document, title", [(inspected, "rescore inspect"), (explained, "rescore explain")])
def test_the_page_shows_an_example_and_names_every_field(document, title: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    examples = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    example = examples[0 if title == "rescore inspect" else 1]
    made = document()
    if title == "rescore explain":
        made["scores"] = [score for score in made["scores"] if score["score"] == "risk"]
    assert set(example) == set(made)
    for key, value in made.items():
        if (made_shape := shape(value)) is not None:
            assert shape(example[key]) == made_shape or key == "declared", key
    names = {name for name, _ in leaves(made)} - {""}
    assert not {name for name in names if f"`{name}`" not in page}
