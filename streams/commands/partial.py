"""Commands that show what is committed where an open transaction keeps them from the rest, and then say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from schemas.errors import fail
from streams.log.open_transactions import BehindOpenTransaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

One = TypeVar("One")


def as_far_as_committed(records: Iterable[One], missing: list[str]) -> Iterator[One]:
    """Records up to an open transaction; `missing` then says what is not among them."""
    from streams.log.open_transactions import BehindOpenTransaction

    try:
        yield from records
    except BehindOpenTransaction as behind:
        missing.append(str(behind))


def tell_missing(missing: list[str]) -> None:
    """End the command with what was not shown, if anything was not."""
    if missing:
        fail(missing[0], BehindOpenTransaction.remedy)
