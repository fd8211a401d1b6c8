"""Errors of the memory, named by what has to be done about them."""

from __future__ import annotations

from schemas.errors import Exit, RescoreError


class RefusedSettings(RescoreError):
    """Settings that would lose or leak something: says what is wrong and what to do."""

    code = Exit.REFUSED_SETTINGS
    in_lines = True

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}"

    @property
    def what(self) -> str:
        """What is wrong."""
        return str(self.args[0])


class StoreUnavailable(RescoreError):
    """The store did not answer; whether a write arrived is unknown: read the position, then decide."""

    remedy = "check RESCORE_REDIS__URL; `rescore demo` starts a Valkey of its own"
    code = Exit.UNREACHABLE


class StoreAhead(RescoreError):
    """The store holds a later state than the log can explain: a person must look."""

    remedy = 'see docs/operations.md, "A worker halted"'
    code = Exit.HALTED
