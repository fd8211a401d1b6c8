r"""Whose a row is: a customer's, a request's that names no customer, or ours. The one place for keys of our own.

A row of a customer has the user_id as its key. Two kinds of things never share a row, whatever their numbers are: the
row of request 77 is `\0request/77`, next to customer 77. User ids never begin with a zero byte (`schemas.meaning`
refuses them), so that no customer can have such a key. Records of a request keep their Kafka key, "77", and with it
their partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROGRESS_KEY = b"\x00progress"
"""Key of progress records in the changelog."""

REQUEST_PREFIX = b"\x00request/"
"""What the key of a request's row begins with; the number follows, in decimal."""

REQUEST_ID_MAX = 2**53 - 1
"""Largest request_id: the last whole number that every reader of JSON keeps as it is."""


def request_key(request_id: int) -> bytes:
    r"""The key of the row of a request that names no customer.

    >>> request_key(77)
    b'\x00request/77'
    """
    return REQUEST_PREFIX + b"%d" % request_id


def request_of(row_key: bytes) -> int | None:
    r"""The request whose row has this key; None for a customer's.

    >>> request_of(b"\x00request/77"), request_of(b"77")
    (77, None)
    """
    return int(row_key[len(REQUEST_PREFIX) :]) if row_key.startswith(REQUEST_PREFIX) else None


def record_key(row_key: bytes) -> bytes:
    r"""The Kafka key of the records that a row is made of.

    >>> record_key(b"\x00request/77"), record_key(b"ann")
    (b'77', b'ann')
    """
    return row_key.removeprefix(REQUEST_PREFIX)


def name_of(row_key: bytes) -> str:
    r"""Whose a row is, in words for people; no byte of our own is in it.

    >>> name_of(b"\x00request/77"), name_of(b"ann")
    ('request 77', 'ann')
    """
    number = request_of(row_key)
    return row_key.decode("utf-8", "backslashreplace") if number is None else f"request {number}"


def number_in(text: str) -> int | None:
    """The request_id that a text is, as it stands in a Kafka key; None where no request has such a key.

    >>> number_in("77"), number_in("077"), number_in("ann"), number_in(str(2**53))
    (77, None, None, None)
    """
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(REQUEST_ID_MAX)) else -1
    return number if 0 <= number <= REQUEST_ID_MAX and str(number) == text else None


def kafka_key_of(fields: Mapping[str, Any]) -> str | None:
    """The key that a record of an input has to have: its user_id, or the request_id in decimal where it has none.

    None for what names neither. Raises ValueError for a request_id that no request can have.

    >>> kafka_key_of({"user_id": "ann", "request_id": 5}), kafka_key_of({"request_id": 0}), kafka_key_of({})
    ('ann', '0', None)
    """
    user_id, request_id = fields.get("user_id"), fields.get("request_id")
    if request_id is not None and not 0 <= request_id <= REQUEST_ID_MAX:
        raise ValueError(f"request_id: {request_id} is not from 0 to {REQUEST_ID_MAX} (2^53 - 1)")
    return user_id or (None if request_id is None else str(request_id))


def rows_under(key: bytes) -> list[bytes]:
    r"""The rows that records under this Kafka key can change: a customer's, and a request's if it is a number.

    >>> rows_under(b"ann"), rows_under(b"77")
    ([b'ann'], [b'77', b'\x00request/77'])
    """
    number = number_in(key.decode("utf-8", "replace"))
    return [key] if number is None else [key, request_key(number)]
