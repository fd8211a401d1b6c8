"""What is worth a word about an event before it is sent: it can be published, and will not be what its writer meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.categories import mcc_of


def remark_on(topic: str, value: Mapping[str, Any]) -> str | None:
    """The remark on the fields of an event, if there is one.

    >>> remark_on("transactions", {"mcc": "742"})
    "mcc '742' is read as 0742"
    >>> remark_on("transactions", {"mcc": "5411"}), remark_on("loans", {})
    (None, None)
    """
    if topic != "transactions":
        return None
    previous = value.get("previous") or {}
    return _on_code("mcc", value.get("mcc")) or _on_code("previous.mcc", previous.get("mcc"))


def _on_code(name: str, given: str | None) -> str | None:
    if not given:
        return None
    code = mcc_of(given)
    if code is None:  # workers refuse it: a bad line, found by their own decoder
        return None
    if code == given:
        return None
    return f"{name} {given!r} is read as {code or 'no code'}"
