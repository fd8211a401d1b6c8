"""A writer's schema as a short program for the compiled reader: which field of the wire goes to which slot.

A plan is made once for each schema seen, so that events written with an older or a newer version are read as fast as
our own. A schema with anything the program cannot say has no plan, and its values are read one by one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.definitions import Schema
from schemas.foreign import AvroType
from schemas.logical_types import MOMENT_FIELDS, UNITS_IN_MS, logical_of
from schemas.resolution import is_record, kind_of, plain_name


class Op(IntEnum):
    """What stands next on the wire."""

    WHOLE = 0  # int or long
    DOUBLE = 1
    TEXT = 2
    BOOLEAN = 3
    NULLABLE = 4  # a union of null and something: `argument` is null's branch, `jump` where null goes on
    PRESENT = 5  # takes no bytes: notes that the record in this slot is there
    COLLECTION = 6  # map or array: read one by one where it holds anything
    MOMENT = 7  # a long since 1970: `argument` of its units are a millisecond


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

OP_OF_TYPE = {"int": Op.WHOLE, "long": Op.WHOLE, "double": Op.DOUBLE, "string": Op.TEXT, "boolean": Op.BOOLEAN}
READABLE_AS: dict[str, frozenset[str]] = {
    "int": frozenset({"int"}),
    "double": frozenset({"int", "long", "double"}),
    "string": frozenset({"string"}),
}
"""By type of our field: the writer's types that Avro's schema resolution reads as it."""

Row = list[int]  # op, slot, argument, jump
Plan = NDArray[np.int64]


class _Unplannable(Exception):
    """The schema says something that a program cannot."""


def plan_of(written: AvroType, read: Schema) -> Plan | None:
    """The program that reads values of schema `written` as our schema `read`; None where only one-by-one reading can.

    The plan of a writer that lacks fields leaves their slots empty. Of annotated types it knows the two that are
    commonest, uuid and the timestamps; decimals, days and local times are read one by one.
    """
    if not is_record(written) or not isinstance(written, dict):
        return None
    name = plain_name(read)
    if name not in SLOT_OF_FIELD or plain_name(written) != name:
        return None
    rows: list[Row] = []
    try:
        _plan_record(written, read, SLOT_OF_FIELD[name], "", rows)
    except _Unplannable:
        return None
    return np.array(rows, np.int64).reshape(len(rows), 4)


def _plan_record(written: Schema, read: Schema | None, slots: dict[str, Slot], prefix: str, rows: list[Row]) -> None:
    ours = {field["name"]: field["type"] for field in read["fields"]} if read else {}
    needed = {field["name"] for field in read["fields"] if "default" not in field} if read else set()
    if not needed <= {field["name"] for field in written["fields"]}:
        raise _Unplannable  # every value that holds this record is refused, whatever the event means
    for field in written["fields"]:
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
    kind = kind_of(written)
    if kind in ("map", "array"):
        if target is not None and kind_of(target) != kind:
            raise _Unplannable
        rows.append([Op.COLLECTION, Slot.NONE, 0, 0])
    elif is_record(written):
        if target is not None and (not is_record(target) or plain_name(target) != plain_name(written)):
            raise _Unplannable
        if slot != Slot.NONE:
            rows.append([Op.PRESENT, slot, 0, 0])
        _plan_record(written, target, slots if target is not None else {}, f"{path}.", rows)
    elif kind in OP_OF_TYPE:
        rows.append(_plan_primitive(kind, logical_of(written), target, slot, path.rpartition(".")[2]))
    else:
        raise _Unplannable


def _plan_primitive(kind: str, logical: str, target: Any, slot: Slot, field: str) -> Row:
    if target is None:
        return [OP_OF_TYPE[kind], Slot.NONE, 0, 0]
    if logical.startswith("timestamp-") and target == "string" and field in MOMENT_FIELDS:
        return [Op.MOMENT, slot, UNITS_IN_MS[logical.rpartition("-")[2]], 0]
    if kind not in READABLE_AS.get(kind_of(target), ()) or logical not in ("", "uuid"):
        raise _Unplannable
    return [OP_OF_TYPE[kind], slot, 0, 0]
