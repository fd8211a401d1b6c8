"""What the fields of an event mean, in plain Python: the row of `schemas.batch.EVENT` they make, or why they make none.

The definition of an event's columns. `schemas.compiled_decode` does the same for transactions and loan events that
are plainly good. All that a record can tell by itself is checked here; what needs a customer's state is checked in
the fold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash

from schemas.batch import DAY_MS, DECLARED, EVENT, MISSING_TIME_MS, Columns, Record
from schemas.categories import Category, category_of_code, mcc_of, words_of_text
from schemas.kinds import GRANTS_TEACH, MODEL_NAME, SCORE_NAMES, Kind, Rank, RejectCode, TransactionState
from schemas.readable import INT_MAX, Fields, Refused
from schemas.row_keys import REQUEST_ID_MAX, request_key
from schemas.times import NO_TIMESTAMP_MS, time_fault, time_ms
from schemas.utf8 import is_blank
from schemas.zones import UTC, Zone

FUTURE_TOLERANCE_MS = 300_000
"""How far an event time may be ahead of its record's timestamp; it then counts as the timestamp."""

AMOUNT_MAX = 1e11
"""Largest amount in major units: 10^13 minor ones."""

ID_BYTES_MAX = 256
FIRST_EVENT_MS = -25_567 * DAY_MS
"""1900-01-01: an earlier event time is a default value, not a time."""
LAST_DATE_MS = 84_006 * DAY_MS
"""2200-01-01, where calendars end: a later date stands for "never" (9999-12-31)."""
ZERO_MS = 14 * 3_600_000
"""So near to 1970-01-01T00:00Z is midnight of that day in every time zone: the zero of many clocks."""

STATES: dict[str, TransactionState] = {
    "SUCCEEDED": TransactionState.SUCCEEDED,
    "COMPLETED": TransactionState.SUCCEEDED,
    "FAILED": TransactionState.FAILED,
    "DECLINED": TransactionState.FAILED,
    "REJECTED": TransactionState.FAILED,
    "CANCELLED": TransactionState.FAILED,
    "EXPIRED": TransactionState.FAILED,
    "REVERSED": TransactionState.FAILED,
    "PENDING": TransactionState.PENDING,
    "PROCESSING": TransactionState.PENDING,
}

TEXTS: tuple[str, ...] = ("event_id", "loan_id", "point", "province", "author")
"""Columns of text, in the order in which an event's texts are laid out."""


def _blank() -> Columns:
    row = np.zeros((), EVENT)
    for name in ("previous_time_ms", "created_ms", "due_ms", "until_ms", "event_time_ms"):
        row[name] = MISSING_TIME_MS
    row["balance"] = row["declared"] = np.nan
    return row


BLANK = _blank()
"""A row in which nothing is said: times missing, balance and declared data unknown, all else zero."""

_AT = {name: int(EVENT.fields[name][1]) for name in EVENT.fields} if EVENT.fields else {}
CONTENT_SLICES: tuple[tuple[int, int], ...] = (
    (_AT["kind"], _AT["offset"]),
    (_AT["event_time_ms"], _AT["event_hash"]),
    (_AT["revision"], _AT["event_id_at"]),
)
"""Bytes of a row that hold what was published, and nothing that differs when it is published again."""

CONTENT_FIELDS: dict[Rank, tuple[str, ...]] = {
    Rank.COMMANDS: ("reason",),
    Rank.APPLICANTS: ("request_id", "attributes"),
    Rank.OUTCOMES: ("request_id", "model"),
}
"""Fields that have no column and are content all the same, where nothing is read in bulk."""

SEED_OF_KIND: tuple[int, ...] = tuple(0 if kind == Kind.TRANSACTION else (kind + 1) << 32 for kind in Kind)
"""What a kind adds to the seed of an event's hash, above the 31 bits of the revision.

An id counts within its kind, and so within its topic, as each kind has one topic. Transactions add nothing, so that
their hashes are those of rows written when all kinds shared the ids: docs/decisions/0014-identity-of-events.md.
"""


class Event(NamedTuple):
    """A row, the texts it refers to by column, whose it is (None: nobody's, an `advance`), and what it was made of.

    `user` is the key of the row it changes (`schemas.row_keys`): a user_id, or that of a request without one.
    """

    row: Columns
    texts: dict[str, bytes]
    user: bytes | None
    fields: Fields


def event_of(fields: Fields, rank: Rank, record: Record, zone: Zone = UTC) -> Event:
    """The event that a record's fields mean. Raises Refused. Positions of texts are set by the codec.

    `zone` is the policy's: times without a zone are read in it.
    """
    row = BLANK.copy()
    texts = {name: _id(fields, name) for name in TEXTS if _is_said(fields, name)}
    row["rank"], row["offset"], row["timestamp_ms"] = (rank, record.offset, record.timestamp_ms)
    row["revision"] = _revision(fields)
    MEANINGS[rank](fields, row, zone)
    if row["revision"] and "event_id" not in texts:
        how = "missing" if fields.get("event_id") is None else "blank"
        raise Refused(RejectCode.MISSING_FIELD, f"event_id is {how}, so that nothing says what is corrected")
    user = None if row["kind"] == Kind.ADVANCE else _row_key(fields, record, Kind(int(row["kind"])))
    if "event_id" in texts and row["kind"] != Kind.ERASE:  # an erasure is never taken for a duplicate
        row["event_hash"] = event_hash(Kind(int(row["kind"])), texts["event_id"], int(row["revision"]))
    row["content_hash"] = content_hash(row, texts, fields)  # before the clamp: a second time may be clamped to another
    _clamp(row, "event_time_ms", record.timestamp_ms)
    if row["has_previous"]:
        _clamp(row, "previous_time_ms", record.timestamp_ms)
    return Event(row, texts, user, fields)


def event_hash(kind: Kind, event_id: bytes, revision: int) -> int:
    """What an event is known by; never 0, which says that it has no identity.

    >>> one = event_hash(Kind.TRANSACTION, b"7", 0)
    >>> one == event_hash(Kind.TRANSACTION, b"7", 0), one == event_hash(Kind.LOAN_REPAID, b"7", 0)
    (True, False)
    """
    return xxhash.xxh64_intdigest(event_id, SEED_OF_KIND[kind] | revision) or 1


def content_hash(row: Columns, texts: dict[str, bytes], fields: Fields) -> int:
    """32 bits of all that has a meaning: of two events with one event_hash they tell a duplicate from another event."""
    packed, digest = row.tobytes(), 0
    for start, end in CONTENT_SLICES:
        digest = xxhash.xxh64_intdigest(packed[start:end], digest)
    for name in TEXTS[1:]:
        digest = xxhash.xxh64_intdigest(texts.get(name, b""), digest)
    if more := CONTENT_FIELDS.get(Rank(int(row["rank"]))):
        said = msgspec.json.encode([fields.get(name) for name in more], order="sorted")
        digest = xxhash.xxh64_intdigest(said, digest)
    return digest & 0xFFFFFFFF


OF_REQUESTS = (Kind.APPLICANT, Kind.OUTCOME, Kind.ERASE)
"""What may be a request's own, where no user_id is named."""


def _row_key(fields: Fields, record: Record, kind: Kind) -> bytes:
    """Whose event it is. The record's key has to be the user_id, or the request_id of a request without one."""
    if not record.key:
        raise Refused(RejectCode.NULL_KEY, "the record has no key")
    owner = fields.get("user_id")
    _request_id(fields)
    if kind in OF_REQUESTS and (request_id := request_without_user(fields)) is not None:
        _check_key(record.key, str(request_id), "request_id")
        return request_key(request_id)
    if owner is None:
        raise Refused(RejectCode.MISSING_FIELD, "user_id is missing")
    if is_blank(owner):
        raise Refused(RejectCode.MISSING_FIELD, "user_id is blank")
    _check_key(record.key, owner, "user_id")
    if record.key[0] == 0:
        raise Refused(RejectCode.WRONG_TYPE, "user_id begins with a zero byte, which is kept for records of our own")
    return _bounded(record.key, "user_id")


def request_without_user(fields: Fields) -> int | None:
    """The request that a record is about where it names no customer; None for a customer's."""
    return fields.get("request_id") if fields.get("user_id") is None else None


def _check_key(key: bytes, owner: str, name: str) -> None:
    if key != owner.encode():
        shown = key[:ID_BYTES_MAX].decode("utf-8", "backslashreplace")
        raise Refused(RejectCode.KEY_IS_NOT_USER, f"the key is {shown!r} and the {name} {owner[:ID_BYTES_MAX]!r}")


def _request_id(fields: Fields) -> int | None:
    request_id: int | None = fields.get("request_id")
    if request_id is not None and not 0 <= request_id <= REQUEST_ID_MAX:
        raise Refused(RejectCode.REQUEST_ID_OUT_OF_RANGE, f"request_id is {request_id}, not from 0 to {REQUEST_ID_MAX}")
    return request_id


def _clamp(row: Columns, name: str, timestamp_ms: int) -> None:
    """Event times: absent ones and those a little ahead are the record's timestamp, those far ahead are refused."""
    moment_ms = int(row[name])
    if moment_ms == MISSING_TIME_MS:
        row[name] = timestamp_ms
    elif moment_ms > timestamp_ms:
        if moment_ms - timestamp_ms > FUTURE_TOLERANCE_MS:
            if timestamp_ms == NO_TIMESTAMP_MS:
                detail = "the record has no timestamp (-1), so that nothing says when the event became known"
                raise Refused(RejectCode.EVENT_TIME_IN_FUTURE, detail)
            ahead_seconds = (moment_ms - timestamp_ms) / 1_000
            detail = f"the event time is {ahead_seconds:,.0f} s ahead of the record's timestamp"
            raise Refused(RejectCode.EVENT_TIME_IN_FUTURE, detail)
        row[name] = timestamp_ms
    elif moment_ms < FIRST_EVENT_MS:
        raise Refused(RejectCode.BEFORE_FIRST_DAY, "the event time is before 1900-01-01T00:00:00Z")


def _transaction(fields: Fields, row: Columns, zone: Zone) -> None:
    row["kind"] = Kind.TRANSACTION
    row["state"] = _state(fields)
    row["currency"] = _currency(fields, "transaction_currency")
    row["amount"] = _amount(fields, "transaction_amount")
    if fields.get("user_balance") is not None:
        row["balance"] = _amount(fields, "user_balance")
    row["created_ms"] = _created(fields, zone)
    row["web"] = _is_web(fields)
    row["event_time_ms"] = _moment(fields, "transaction_date", zone)
    _spending(fields, row)
    previous = _previous(fields, row)
    if previous is not None:
        row["previous_state"] = _state(previous)
        row["previous_category"] = _category(previous, "previous.mcc")
        row["previous_currency"] = _currency(previous, "transaction_currency")
        row["previous_amount"] = _amount(previous, "transaction_amount")
        row["previous_time_ms"] = _moment(previous, "transaction_date", zone)


def _spending(fields: Fields, row: Columns) -> None:
    """What it was for: by the merchant's code, else the words to guess it from."""
    row["category"] = _category(fields, "mcc")
    if row["category"] == Category.UNKNOWN and fields.get("description"):
        words = words_of_text(fields["description"])
        row["words"][: len(words)] = words


def _category(fields: Fields, name: str) -> Category:
    """The category of the merchant's code, where there is one. What is no code is refused: it is not what was meant."""
    given = fields.get("mcc") or ""
    if mcc_of(given) is None:
        raise Refused(RejectCode.UNKNOWN_MCC, f"{name} is {given[:40]!r}")
    return category_of_code(given)


def _loan(fields: Fields, row: Columns, zone: Zone) -> None:
    if is_blank(fields["loan_id"]):
        raise Refused(RejectCode.MISSING_FIELD, "loan_id is blank")
    meaning = {"issued": _issued, "repaid": _repaid, "cancelled": _cancelled}.get(fields["event"])
    if meaning is None:
        raise Refused(RejectCode.WRONG_TYPE, f"event is {fields['event'][:40]!r}, not issued, repaid or cancelled")
    meaning(fields, row, zone)


def _issued(fields: Fields, row: Columns, zone: Zone) -> None:
    row["kind"] = Kind.LOAN_ISSUED
    row["order_amount"] = _amount(fields, "order_amount")
    if row["order_amount"] <= 0:
        raise Refused(RejectCode.NON_POSITIVE_ORDER, f"order_amount is {fields['order_amount']}")
    for name in ("gross_margin", "promo"):
        row[name] = 0.0 if fields.get(name) is None else _amount(fields, name)
    row["currency"] = _currency(fields, "currency")
    row["event_time_ms"] = _loan_date(fields, "order_date", zone)
    row["due_ms"] = _loan_date(fields, "due_date", zone)
    if row["due_ms"] >= LAST_DATE_MS:
        raise Refused(
            RejectCode.IMPLAUSIBLE_DATE, f"due_date is {fields['due_date'][:60]!r}, not before 2200-01-01T00:00:00Z"
        )


def _repaid(fields: Fields, row: Columns, zone: Zone) -> None:
    row["kind"] = Kind.LOAN_REPAID
    row["amount"] = _amount(fields, "amount")
    if row["amount"] < 0 or (row["amount"] == 0 and not row["revision"]):
        raise Refused(RejectCode.NON_POSITIVE_PAYMENT, f"amount is {fields['amount']}")
    if fields.get("currency") is not None:
        row["currency"] = _currency(fields, "currency")
    row["event_time_ms"] = _loan_date(fields, "paid_at", zone)
    previous = _previous(fields, row)
    if previous is not None:
        row["previous_amount"] = _amount(previous, "amount")
        if row["previous_amount"] < 0:
            raise Refused(RejectCode.NON_POSITIVE_PAYMENT, f"previous.amount is {previous['amount']}")
        row["previous_time_ms"] = _loan_date(previous, "paid_at", zone, "previous.")


def _cancelled(fields: Fields, row: Columns, zone: Zone) -> None:
    row["kind"] = Kind.LOAN_CANCELLED
    if fields.get("cancelled_at") is not None:
        row["event_time_ms"] = _loan_date(fields, "cancelled_at", zone)


def _applicant(fields: Fields, row: Columns, zone: Zone) -> None:
    row["kind"] = Kind.APPLICANT
    row["event_time_ms"] = _moment(fields, "declared_at", zone, required=False)
    for i, name in enumerate(DECLARED):
        if fields.get(name) is not None:
            row["declared"][i] = _amount(fields, name)


def _outcome(fields: Fields, row: Columns, zone: Zone) -> None:
    row["kind"] = Kind.OUTCOME
    row["value"] = _finite(fields, "label")
    row["event_time_ms"] = _moment(fields, "known_at", zone, required=False)
    _check_case(fields)


def _check_case(fields: Fields) -> None:
    """An outcome has to name a case that can exist: of a request, or of a loan, by a model that learns from it."""
    model, of_request = fields["model"], _request_id(fields) is not None
    if not MODEL_NAME.fullmatch(model):
        raise Refused(RejectCode.OUTCOME_OF_NOTHING, f"no model that learns can be called {model[:40]!r}")
    if not of_request and not fields.get("loan_id"):
        raise Refused(RejectCode.OUTCOME_OF_NOTHING, "the outcome has neither a request_id nor a loan_id")
    if not of_request and model != GRANTS_TEACH:
        detail = f"a loan is a case of the model {GRANTS_TEACH} alone, and the model is {model!r}"
        raise Refused(RejectCode.OUTCOME_OF_NOTHING, detail)


def _command(fields: Fields, row: Columns, zone: Zone) -> None:
    kind = {"erase": Kind.ERASE, "override": Kind.OVERRIDE, "lift": Kind.LIFT, "advance": Kind.ADVANCE}.get(
        fields["command"]
    )
    if kind is None:
        said = fields["command"][:40]
        raise Refused(RejectCode.WRONG_TYPE, f"command is {said!r}, not erase, override, lift or advance")
    row["kind"] = kind
    if kind == Kind.ERASE and fields.get("user_id") is not None and fields.get("request_id") is not None:
        raise Refused(RejectCode.WRONG_TYPE, "erase has a user_id and a request_id, which are two to forget, not one")
    if kind in (Kind.OVERRIDE, Kind.LIFT):
        row["score"] = _score(fields)
    if kind == Kind.OVERRIDE:
        row["value"] = _finite(fields, "value")
        row["until_ms"] = _moment(fields, "expires_at", zone)
    if kind == Kind.ADVANCE:
        if fields.get("to") is None:
            raise Refused(RejectCode.MISSING_FIELD, "to is missing")
        row["until_ms"] = fields["to"]


MEANINGS: dict[Rank, Callable[[Fields, Columns, Zone], None]] = {
    Rank.COMMANDS: _command,
    Rank.APPLICANTS: _applicant,
    Rank.LOANS: _loan,
    Rank.TRANSACTIONS: _transaction,
    Rank.OUTCOMES: _outcome,
}


def _required(fields: Fields, name: str) -> Any:
    if fields.get(name) is None:
        raise Refused(RejectCode.MISSING_FIELD, f"{name} is missing")
    return fields[name]


def _bounded(text: bytes, name: str) -> bytes:
    if len(text) > ID_BYTES_MAX:
        raise Refused(RejectCode.TOO_LARGE, f"{name} has {len(text)} bytes, more than {ID_BYTES_MAX}")
    return text


def _is_said(fields: Fields, name: str) -> bool:
    """Whether a field of text says anything; a blank event_id is none."""
    return fields.get(name) is not None and not (name == "event_id" and is_blank(fields[name]))


def _id(fields: Fields, name: str) -> bytes:
    return _bounded(fields[name].encode(), name)


def _finite(fields: Fields, name: str) -> float:
    number = float(_required(fields, name))
    if not math.isfinite(number):
        raise Refused(RejectCode.NOT_A_NUMBER, f"{name} is {number}")
    return number


def _amount(fields: Fields, name: str) -> float:
    number = _finite(fields, name)
    if abs(number) > AMOUNT_MAX:
        raise Refused(RejectCode.AMOUNT_OUT_OF_RANGE, f"{name} is {number}")
    return number


def _moment(fields: Fields, name: str, zone: Zone, required: bool = True) -> int:
    if not required and fields.get(name) is None:
        return MISSING_TIME_MS
    moment_ms = time_ms(_required(fields, name), zone)
    if moment_ms is None:
        raise Refused(RejectCode.WRONG_TYPE, f"{name} is {fields[name][:60]!r}, {time_fault(fields[name])}")
    return moment_ms


def _loan_date(fields: Fields, name: str, zone: Zone, within: str = "") -> int:
    """A date of a loan. What the policy and the loan itself say of it is looked at in the fold."""
    moment_ms = _moment(fields, name, zone)
    if moment_ms < FIRST_EVENT_MS:
        detail = f"{within}{name} is {fields[name][:60]!r}, before 1900-01-01T00:00:00Z"
        raise Refused(RejectCode.IMPLAUSIBLE_DATE, detail)
    return moment_ms


def _created(fields: Fields, zone: Zone) -> int:
    """When the account was opened. It may lie long before anything else, but not on a day on which clocks are zero."""
    moment_ms = _moment(fields, "user_created", zone, required=False)
    is_default = moment_ms < FIRST_EVENT_MS + DAY_MS or abs(moment_ms) <= ZERO_MS or moment_ms >= LAST_DATE_MS
    if moment_ms != MISSING_TIME_MS and is_default:
        detail = f"user_created is {fields['user_created'][:60]!r}, a default value"
        raise Refused(RejectCode.IMPLAUSIBLE_DATE, detail)
    return moment_ms


def _currency(fields: Fields, name: str) -> int:
    code = _required(fields, name)
    if len(code) != 3 or not all("A" <= letter <= "Z" for letter in code):
        raise Refused(RejectCode.UNKNOWN_CURRENCY, f"{name} is {code[:40]!r}")
    return int.from_bytes(code.encode("ascii"), "big")


def _state(fields: Fields) -> TransactionState:
    said = fields.get("transaction_state")
    if said is None:
        return TransactionState.ABSENT
    if said.upper() not in STATES:
        raise Refused(RejectCode.UNKNOWN_STATE, f"transaction_state is {said[:40]!r}")
    return STATES[said.upper()]


def _is_web(fields: Fields) -> bool:
    category = fields.get("user_category")
    if category is not None and category.upper() not in ("WEB", "API"):
        raise Refused(RejectCode.UNKNOWN_CATEGORY, f"user_category is {category[:40]!r}")
    return category is not None and category.upper() == "WEB"


def _score(fields: Fields) -> int:
    name = _required(fields, "score")
    if name not in SCORE_NAMES:
        raise Refused(RejectCode.UNKNOWN_SCORE, f"score is {name[:40]!r}")
    return SCORE_NAMES.index(name)


def _revision(fields: Fields) -> int:
    revision: int = fields.get("revision") or 0
    if not 0 <= revision <= INT_MAX:
        raise Refused(RejectCode.WRONG_TYPE, f"revision is {revision}, not a whole number from 0 to {INT_MAX}")
    return revision


def _previous(fields: Fields, row: Columns) -> Fields | None:
    """The fields that a correction replaces; None for what corrects nothing."""
    previous: Fields | None = fields.get("previous")
    if previous is None and row["revision"]:
        raise Refused(RejectCode.CORRECTION_WITHOUT_PREVIOUS, f"revision {row['revision']} has no previous")
    if previous is not None and not row["revision"]:
        raise Refused(RejectCode.MISSING_FIELD, "revision is missing, though there is a previous")
    row["has_previous"] = previous is not None
    return previous
