"""Errors of the memory, named by what has to be done about them."""

from __future__ import annotations


class RefusedSettings(Exception):
    """Settings that would lose or leak something: says what is wrong and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what} {remedy}")
        self.what = what
        self.remedy = remedy


class StoreUnavailable(Exception):
    """The store did not answer; whether a write arrived is unknown: read the position, then decide."""


class StoreAhead(Exception):
    """The store holds a later state than the log can explain: a person must look."""
