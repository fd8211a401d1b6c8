"""Cases that wait: a request until its outcome is known, an outcome until its request is, and what has been learned.

A label may come long before or after its request, twice, contradict itself, or belong to nothing: each has one answer
below, is counted, and breaks nothing. What waits is bounded in number and age, and its bytes are counted. Everything is
decided by the times in the records, in one order, so that the same log gives the same cases. Pure.

| what comes | what is done |
|---|---|
| an outcome of a request that waits | it becomes an example, at the time of the later of the two |
| an outcome before its request | it waits for it |
| a second outcome that says the same | nothing (*repeated*) |
| a second outcome that says another thing | the first one stays (*contradicted*) |
| a request, or a grant, again | nothing (*repeated*); a corrected loan moves its end |
| a loan that reached its end without a default | an example with the label 0, at that moment |
| a loan that was cancelled | nothing is learned of it (*withdrawn*) |
| no outcome within `request_days` (a loan's end within `loan_days`) | it is dropped (*unanswered*) |
| no request within `request_days` of an outcome | it is dropped (*unknown*) |
| more than `requests_max` wait | the oldest are dropped (*evicted*) |
| a customer is erased, or a request that names none | everything of theirs is dropped (*erased*) |
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.batch import DAY_MS

LEFTOVERS_MAX = 1_000
KEY_BYTES = 230  # of a case in memory beside its body: key, places in the dictionary and in two heaps (measured)


class CaseExample(NamedTuple):
    """A record about a case: a request (also a grant), an outcome, a withdrawal, or a customer's erasure."""

    timestamp_ms: int
    user_hash: bytes
    model: str
    kind: str
    case: bytes
    inputs: Mapping[str, float | str] | None = None
    aside: Mapping[str, str] | None = None
    until_ms: int | None = None
    label: float | None = None
    earlier_hash: bytes = b""  # of a request that names no customer: what older releases knew it by


class Labelled(NamedTuple):
    """A case whose outcome is known: what a model learns from."""

    known_ms: int
    user_hash: bytes
    case: bytes
    inputs: Mapping[str, float | str]
    aside: Mapping[str, str]
    label: float
    asked_ms: int


@dataclass(slots=True)
class _Case:
    """What is kept of one case. `learned`: its label was; only that is remembered, to know a second one by."""

    at_ms: int
    user_hash: bytes
    inputs: Mapping[str, float | str] | None = None
    aside: Mapping[str, str] = field(default_factory=dict)
    until_ms: int | None = None
    label: float | None = None
    learned: bool = False

    def body(self) -> bytes:
        """As JSON; its length is what is counted."""
        said = [self.at_ms, self.user_hash.hex(), self.inputs, self.aside, self.until_ms, self.label, self.learned]
        return json.dumps(said, separators=(",", ":")).encode()

    @classmethod
    def of(cls, body: bytes) -> _Case:
        at_ms, user, *rest = json.loads(body)
        return cls(at_ms, bytes.fromhex(user), *rest)


@dataclass(slots=True)
class Cases:
    """The cases of one model. `changed` says what the last calls changed (None: gone), for whoever keeps them."""

    request_days: int = 180
    loan_days: int = 1_095
    held: dict[bytes, bytes] = field(default_factory=dict)  # case -> body
    counts: Counter[str] = field(default_factory=Counter)
    changed: dict[bytes, bytes | None] = field(default_factory=dict)
    size_bytes: int = 0
    _ends: list[tuple[int, bytes]] = field(default_factory=list)  # heap of (when something is to be done, case)
    _ages: list[tuple[int, bytes]] = field(default_factory=list)  # heap of (at_ms, case)

    def __len__(self) -> int:
        return len(self.held)

    def take(self, example: CaseExample) -> Labelled | None:
        """Take a record; the example that it completes, if it does."""
        body = self.held.get(example.case)
        case = None if body is None else _Case.of(body)
        owners = (example.user_hash, example.earlier_hash)
        if not example.case or (case is not None and case.user_hash not in owners):
            self.counts["unknown"] += 1  # an outcome of somebody else's request, or a number that was given twice
            return None
        if example.kind == "request":
            return self._request(example, case)
        if example.kind == "outcome":
            return self._outcome(example, case)
        if case is not None and not case.learned:
            self._drop(example.case)
            self.counts["withdrawn"] += 1
        return None

    def _request(self, example: CaseExample, case: _Case | None) -> Labelled | None:
        if case is not None and (case.learned or case.inputs is not None):
            if case.learned or example.inputs is not None or example.until_ms is None:
                self.counts["repeated"] += 1
                return None
            case.until_ms = example.until_ms
            self._keep(example.case, case)
            self.counts["moved"] += 1
            return None
        if example.inputs is None:
            return None  # the end of a loan whose grant taught nothing
        made = _Case(example.timestamp_ms, example.user_hash, dict(example.inputs), dict(example.aside or {}))
        made.until_ms = example.until_ms
        self.counts["requests"] += 1
        if case is not None and case.label is not None:
            made.label = case.label
            return self._learned(example.case, made, max(example.timestamp_ms, case.at_ms))
        self._keep(example.case, made)
        return None

    def _outcome(self, example: CaseExample, case: _Case | None) -> Labelled | None:
        if example.label is None or example.label not in (0.0, 1.0):
            self.counts["refused"] += 1
            return None
        if case is not None and case.label is not None:
            self.counts["repeated" if case.label == example.label else "contradicted"] += 1
            return None
        if case is None:
            told = _Case(example.timestamp_ms, example.user_hash, label=example.label)
            self._keep(example.case, told)
            return None
        case.label = example.label
        return self._learned(example.case, case, example.timestamp_ms)

    def _learned(self, key: bytes, case: _Case, known_ms: int) -> Labelled:
        """A case that is complete; what is remembered of it is that it was, and its label."""
        assert case.label is not None
        found = Labelled(known_ms, case.user_hash, key, case.inputs or {}, case.aside, case.label, case.at_ms)
        self._keep(key, _Case(known_ms, case.user_hash, label=case.label, learned=True))
        return found

    def pass_time(self, until_ms: int) -> list[Labelled]:
        """What time decides up to a moment: loans that were paid, cases that nobody will answer."""
        found = []
        while (end_ms := self.next_end_ms()) is not None and end_ms <= until_ms:
            _, key = heapq.heappop(self._ends)
            case = _Case.of(self.held[key])
            if case.inputs is not None and case.until_ms == end_ms:
                case.label = 0.0
                found.append(self._learned(key, case, end_ms))
                continue
            self._drop(key)
            if not case.learned:
                self.counts["unknown" if case.inputs is None else "unanswered"] += 1
        return found

    def next_end_ms(self) -> int | None:
        """When time next decides something; None where nothing waits for it."""
        while self._ends:
            end_ms, key = self._ends[0]
            body = self.held.get(key)
            if body is not None and self._end_of(_Case.of(body)) == end_ms:
                return end_ms
            heapq.heappop(self._ends)  # the case has gone, or its end has moved
        return None

    def forget(self, erased_ms: Mapping[bytes, int]) -> None:
        """Drop what was known of customers by the moment of their erasure."""
        for key in [key for key, body in self.held.items() if _owner_of(body) in erased_ms]:
            case = _Case.of(self.held[key])
            if case.at_ms <= erased_ms[case.user_hash]:
                self._drop(key)
                self.counts["erased"] += 1

    def shrink(self, size_max: int) -> None:
        """Drop the oldest where there are too many."""
        while len(self.held) > size_max:
            at_ms, key = heapq.heappop(self._ages)
            body = self.held.get(key)
            if body is not None and (case := _Case.of(body)).at_ms == at_ms:
                self._drop(key)
                self.counts["evicted"] += not case.learned

    def restore(self, held: Iterable[tuple[bytes, bytes]], counts: Mapping[str, int]) -> None:
        """Begin with these cases."""
        self.held, self.counts = dict(held), Counter(counts)
        self.size_bytes = sum(KEY_BYTES + len(body) for body in self.held.values())
        self._order()
        self.changed.clear()

    def wait_for(self, request_days: int, loan_days: int) -> None:
        """How long cases wait from now on, those too that wait already."""
        if (request_days, loan_days) != (self.request_days, self.loan_days):
            self.request_days, self.loan_days = request_days, loan_days
            self._order()

    def _order(self) -> None:
        cases = [(key, _Case.of(body)) for key, body in self.held.items()]
        self._ends = [(self._end_of(case), key) for key, case in cases]
        self._ages = [(case.at_ms, key) for key, case in cases]
        heapq.heapify(self._ends)
        heapq.heapify(self._ages)

    def _end_of(self, case: _Case) -> int:
        if case.inputs is not None and case.until_ms is not None:
            return min(case.until_ms, case.at_ms + self.loan_days * DAY_MS)
        return case.at_ms + self.request_days * DAY_MS

    def _keep(self, key: bytes, case: _Case) -> None:
        self._drop(key)
        body = case.body()
        self.held[key] = self.changed[key] = body
        self.size_bytes += KEY_BYTES + len(body)
        heapq.heappush(self._ends, (self._end_of(case), key))
        heapq.heappush(self._ages, (case.at_ms, key))
        if len(self._ages) + len(self._ends) > 4 * len(self.held) + LEFTOVERS_MAX:
            self._order()

    def _drop(self, key: bytes) -> None:
        body = self.held.pop(key, None)
        if body is not None:
            self.changed[key] = None
            self.size_bytes -= KEY_BYTES + len(body)


def _owner_of(body: bytes) -> bytes:
    return bytes.fromhex(body.split(b'"', 2)[1].decode())


def case_of(said: Mapping[str, Any]) -> CaseExample:
    """A record about a case from the fields of its record. Raises ValueError for what cannot be one."""
    if said["timestamp_ms"] is None or not said["user_hash"] or not said["model"]:
        raise ValueError(f"{said['kind']} without what it needs")
    label = said["label"]
    return CaseExample(
        int(said["timestamp_ms"]),
        bytes(said["user_hash"]),
        str(said["model"]),
        str(said["kind"]),
        bytes(said["case"] or b""),
        said["inputs"],
        said["aside"],
        said["until_ms"],
        None if label is None or not math.isfinite(label) else float(label),
        bytes(said.get("earlier_hash") or b""),
    )
