"""A writer's schema as a short program for the compiled reader: which field of the wire goes to which slot.

A plan is made once for each schema seen, so that events written with an older or a newer version are read as fast as
our own. A schema with anything the program can not say has no plan, and its values are read one by one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.definitions import Schema


class Op(IntEnum):
    """What stands next on the wire."""

    WHOLE = 0  # int or long
    DOUBLE = 1
    TEXT = 2
    BOOLEAN = 3
    NULLABLE = 4  # a union of null and something: `argument` is null's branch, `jump` where null goes on
    PRESENT = 5  # takes no bytes: notes that the record in this slot is there
    COLLECTION = 6  # map or array: read one by one where it holds anything


class Slot(IntEnum):
    """Fields that have a meaning; NONE for those that are only stepped over."""

    NONE = -1
    EVENT_ID = 0
    USER_ID = 1
    STATE = 2
    CURRENCY = 3
    BALANCE = 4
    AMOUNT = 5
    CREATED = 6
    CATEGORY = 7
    EVENT_TIME = 8
    REVISION = 9
    PREVIOUS = 10
    PREVIOUS_AMOUNT = 11
    PREVIOUS_CURRENCY = 12
    PREVIOUS_TIME = 13
    PREVIOUS_STATE = 14
    EVENT = 15
    LOAN_ID = 16
    ORDER_AMOUNT = 17
    GROSS_MARGIN = 18
    PROMO = 19
    ORDER_DATE = 20
    DUE_DATE = 21
    POINT = 22
    PROVINCE = 23
    CANCELLED_AT = 24
    DESCRIPTION = 25
    MCC = 26
    PREVIOUS_MCC = 27


SLOTS = len(Slot) - 1

SLOT_OF_FIELD: dict[str, dict[str, Slot]] = {
    "Transaction": {
        "event_id": Slot.EVENT_ID,
        "user_id": Slot.USER_ID,
        "transaction_state": Slot.STATE,
        "transaction_currency": Slot.CURRENCY,
        "user_balance": Slot.BALANCE,
        "transaction_amount": Slot.AMOUNT,
        "user_created": Slot.CREATED,
        "user_category": Slot.CATEGORY,
        "transaction_date": Slot.EVENT_TIME,
        "description": Slot.DESCRIPTION,
        "mcc": Slot.MCC,
        "revision": Slot.REVISION,
        "previous": Slot.PREVIOUS,
        "previous.transaction_amount": Slot.PREVIOUS_AMOUNT,
        "previous.transaction_currency": Slot.PREVIOUS_CURRENCY,
        "previous.transaction_date": Slot.PREVIOUS_TIME,
        "previous.transaction_state": Slot.PREVIOUS_STATE,
        "previous.mcc": Slot.PREVIOUS_MCC,
    },
    "LoanEvent": {
        "event_id": Slot.EVENT_ID,
        "user_id": Slot.USER_ID,
        "event": Slot.EVENT,
        "loan_id": Slot.LOAN_ID,
        "order_amount": Slot.ORDER_AMOUNT,
        "gross_margin": Slot.GROSS_MARGIN,
        "promo": Slot.PROMO,
        "currency": Slot.CURRENCY,
        "order_date": Slot.ORDER_DATE,
        "due_date": Slot.DUE_DATE,
        "point": Slot.POINT,
        "province": Slot.PROVINCE,
        "amount": Slot.AMOUNT,
        "paid_at": Slot.EVENT_TIME,
        "cancelled_at": Slot.CANCELLED_AT,
        "revision": Slot.REVISION,
        "previous": Slot.PREVIOUS,
        "previous.amount": Slot.PREVIOUS_AMOUNT,
        "previous.paid_at": Slot.PREVIOUS_TIME,
    },
}
"""Where the fields of the two topics with nearly all events go; a field of a nested record is named with a dot."""

OP_OF_TYPE = {"int": Op.WHOLE, "long": Op.WHOLE, "double": Op.DOUBLE, "string": Op.TEXT}
READABLE_AS: dict[str, frozenset[str]] = {
    "int": frozenset({"int"}),
    "double": frozenset({"int", "long", "double"}),
    "string": frozenset({"string"}),
}
"""By type of our field: the writer's types that Avro's schema resolution reads as it."""

Row = list[int]  # op, slot, argument, jump
Plan = NDArray[np.int64]


class _Unplannable(Exception):
    """The schema says something that a program can not."""


def plan_of(written: Schema, read: Schema) -> Plan | None:
    """The program that reads values of schema `written` as our schema `read`; None where only one-by-one reading can.

    Both as `definitions.parse` gives them. The plan of a writer that lacks fields leaves their slots empty.
    """
    name = _name(read)
    if name not in SLOT_OF_FIELD or not _is_record(written) or _name(written) != name:
        return None
    rows: list[Row] = []
    try:
        _plan_record(written, read, SLOT_OF_FIELD[name], "", rows)
    except _Unplannable:
        return None
    return np.array(rows, np.int64).reshape(len(rows), 4)


def _name(record: Schema) -> str:
    """The name without its namespace: all that schema resolution looks at, so that a bank may use its own."""
    return str(record["name"]).rpartition(".")[2]


def _is_record(avro_type: Any) -> bool:
    return isinstance(avro_type, dict) and avro_type.get("type") == "record"


def _plan_record(written: Schema, read: Schema | None, slots: dict[str, Slot], prefix: str, rows: list[Row]) -> None:
    ours = {field["name"]: field["type"] for field in read["fields"]} if read else {}
    for field in written["fields"]:
        if field.get("aliases"):
            raise _Unplannable
        name = field["name"]
        _plan_field(field["type"], ours.get(name), slots, prefix + name, rows)


def _plan_field(written: Any, read: Any, slots: dict[str, Slot], path: str, rows: list[Row]) -> None:
    if not isinstance(written, list):
        _plan_value(written, read, slots, path, rows)
        return
    if len(written) != 2 or "null" not in written or (read is not None and not isinstance(read, list)):
        raise _Unplannable
    opening = len(rows)
    rows.append([Op.NULLABLE, Slot.NONE, written.index("null"), 0])
    _plan_value(written[1 - written.index("null")], read, slots, path, rows)
    rows[opening][3] = len(rows)


def _plan_value(written: Any, read: Any, slots: dict[str, Slot], path: str, rows: list[Row]) -> None:
    target = next((branch for branch in read if branch != "null"), None) if isinstance(read, list) else read
    slot = slots.get(path, Slot.NONE)
    if isinstance(written, dict) and written.get("type") in ("map", "array"):
        if target is not None and not (isinstance(target, dict) and target["type"] == written["type"]):
            raise _Unplannable
        rows.append([Op.COLLECTION, Slot.NONE, 0, 0])
    elif _is_record(written):
        if target is not None and (not _is_record(target) or _name(target) != _name(written)):
            raise _Unplannable
        if slot != Slot.NONE:
            rows.append([Op.PRESENT, slot, 0, 0])
        _plan_record(written, target, slots if target is not None else {}, f"{path}.", rows)
    elif isinstance(written, str) and written in (*OP_OF_TYPE, "boolean"):
        if target is not None and (not isinstance(target, str) or written not in READABLE_AS.get(target, ())):
            raise _Unplannable
        rows.append([OP_OF_TYPE.get(written, Op.BOOLEAN), slot, 0, 0])
    else:
        raise _Unplannable
