"""What a learner remembers between its lives: records of the compacted topic `rescore-learner`, by key.

Models, samples, cases and recent rows have a record each, so that a step forward writes what it changed and no more;
everything is plain JSON. Which of it belongs together is one transaction's (`streams.learner.loop`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from schemas.batch import Record
from state.category_text import body_of_counts, counts_of
from streams.learning.bayesian import BayesianLogisticRegression
from streams.learning.credit_learner import CreditLearner
from streams.learning.epochs import LearningPolicy
from streams.learning.population_sample import member_body, member_of
from streams.learning.rounds import VALUE, Round, Rounds
from streams.learning.text_learner import TEXT, TextLearner
from streams.learning.tree_challenger import TreeChallenger
from streams.learning.value_learner import LEARNERS, ValueLearner
from streams.log.protocol import HaltPartition
from streams.scoring.models.specs import Challenger

CHECKPOINT, MODEL, CREDIT = b"checkpoint", b"model/value", b"credit/"
SAMPLE, BORROWERS = b"sample/", b"borrower/"
TEXT_MODEL = b"model/categories"
WORD, WAITING, TEXT_VERSION = b"text/word/", b"text/waiting/", b"text/version/"

Said = tuple[bytes, bytes | None]
"""Key and value; None: a tombstone."""


UNSOUND = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)
"""What reading a record of another shape raises."""


class Memory(Mapping[bytes, Any]):
    """The last record of each key, read when it is asked for; what no learner wrote is never looked at.

    >>> memory = Memory("rescore-learner")
    >>> memory.take(Record("rescore-learner", 0, 7, 0, b"checkpoint", b"[1"))
    >>> with memory.told():
    ...     memory[b"checkpoint"]
    Traceback (most recent call last):
        ...
    streams.log.protocol.HaltPartition: rescore-learner, offset 7: the record of checkpoint cannot be read ...
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._held: dict[bytes, Record] = {}
        self._asked: bytes = b""

    def take(self, record: Record) -> None:
        """The next record of the topic; without a value it ends its key."""
        if record.value is None:
            self._held.pop(record.key or b"", None)
        else:
            self._held[record.key or b""] = record

    def __getitem__(self, key: bytes) -> Any:
        self._asked = key
        return json.loads(self._held[key].value or b"")

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def told(self) -> Iterator[None]:
        """While records are read: one of another shape halts the learner, and the record is named."""
        try:
            yield
        except UNSOUND as error:
            held = self._held.get(self._asked)
            key = self._asked.decode("utf-8", "backslashreplace")
            where = self._topic if held is None else f"{self._topic}, offset {held.offset}"
            what = "is missing" if held is None else f"cannot be read ({error})"
            raise HaltPartition(
                f"{where}: the record of {key} {what}. A newer release or another program wrote it: upgrade this "
                f"learner, or delete the records of {self._topic} (kafka-delete-records). Then learning begins again, "
                f"and the versions that were published stay in force."
            ) from error


def checked_checkpoint(checkpoint: Any) -> Mapping[str, Any]:
    """The learner's checkpoint, if it has its shape. Raises ValueError."""

    def is_whole(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    def may_be(value: object) -> bool:
        return value is None or is_whole(value)

    if not isinstance(checkpoint, Mapping):
        raise ValueError("a checkpoint is an object")  # noqa: TRY004 - a record of another shape, not a mistake of ours
    partitions, until = checkpoint.get("partitions", {}), checkpoint["open_until"]
    sound = isinstance(partitions, dict) and isinstance(until, dict) and all(map(is_whole, until.values()))
    sound = sound and all(
        isinstance(one, list) and len(one) == 2 and is_whole(one[0]) and may_be(one[1]) for one in partitions.values()
    )
    sound = sound and is_whole(checkpoint["unknown"]) and may_be(checkpoint["done_ms"])
    if not sound or not may_be(checkpoint.get("told_limit_ms")):
        raise ValueError("a field of the checkpoint has another type")
    return checkpoint


class LearnerMemory:
    """Knows what is written already, so that only changes are."""

    def __init__(self) -> None:
        self._good: dict[str, object] = {}  # by model: its good state as it was written last
        self._versions: dict[str, set[str]] = {}
        self._trees: dict[str, dict[str, TreeChallenger]] = {}
        self._first = True

    # Reading.

    def recall_value(self, model: ValueLearner, memory: Mapping[bytes, Any]) -> None:
        """The value model as it was left."""
        model.restore(memory[MODEL])
        for name in LEARNERS:
            good = memory[_good_key(name)]
            model.learners[name].restore(good)  # it will be gone back to: its shape is found out now
            model.good[name] = good
            model.learners[name].restore(memory[_learner_key(name)])
        for prefix, sample in ((SAMPLE, model.sample), (BORROWERS, model.borrowers)):
            sample.restore((hashed, member_of(body)) for hashed, body in _below(memory, prefix))
        self._good[VALUE] = model.good
        self._first = False

    def recall_credit(
        self, memory: Mapping[bytes, Any], begin: Callable[[str], CreditLearner]
    ) -> dict[str, CreditLearner]:
        """Every other model as it was left; `begin` makes one before its first example."""
        names = sorted(key[len(CREDIT) :].decode() for key in memory if key.startswith(CREDIT) and key.count(b"/") == 1)
        found = {}
        for name in names:
            learner, at = begin(name), _credit_key(name)
            body = memory[at]
            learner.follow(learner.spec._replace(challengers=_challengers_of(body["challengers"])))
            learner.restore(body, partial(_version_body, memory, at))
            for challenger in learner.learners:
                good = memory[at + b"/good/" + challenger.encode()]
                BayesianLogisticRegression.from_body(good)  # it will be gone back to: its shape is found out now
                learner.good[challenger] = good
                kept = memory[at + b"/learner/" + challenger.encode()]
                learner.learners[challenger] = BayesianLogisticRegression.from_body(kept)
            for challenger, tree in learner.trees.items():
                seen = ((int.from_bytes(n, "big"), row) for n, row in _below(memory, _seen_prefix(at, challenger)))
                tree.restore(memory[at + b"/learner/" + challenger.encode()], seen)
            self._trees[name] = dict(learner.trees)
            cases = ((case, _json(said)) for case, said in _below(memory, at + b"/case/"))
            learner.cases.restore(cases, body["counts"])
            rows = ((int.from_bytes(place, "big"), row) for place, row in _below(memory, at + b"/row/"))
            learner.people.restore(rows, body["next_row"])
            self._good[name], self._versions[name] = learner.good, {one.version for one in learner.approved}
            found[name] = learner
        return found

    def recall_text(self, memory: Mapping[bytes, Any], policy: LearningPolicy) -> TextLearner | None:
        """The model that reads descriptions as it was left; None where none has learned yet."""
        if TEXT_MODEL not in memory:
            return None
        learner = TextLearner(policy)
        words, waiting = (
            [(int.from_bytes(word, "big"), body) for word, body in _below(memory, prefix)] for prefix in (WORD, WAITING)
        )
        learner.restore(memory[TEXT_MODEL], words, waiting, lambda one: counts_of(memory[TEXT_VERSION + one.encode()]))
        self._versions[TEXT] = {one.version for one in learner.approved}
        return learner

    # Writing.

    def changes(self, rounds: Rounds, done: Round) -> Iterator[Said]:
        """What a step forward has changed, without the checkpoint."""
        yield from self._value(rounds.model, done)
        for name in sorted(done.touched - {VALUE, TEXT}):
            yield from self._credit(rounds.credit[name])
        if rounds.text is not None and TEXT in done.touched:
            yield from self._text(rounds.text)
        self._first = False

    def _value(self, model: ValueLearner, done: Round) -> Iterator[Said]:
        for prefix, sample in ((SAMPLE, model.sample), (BORROWERS, model.borrowers)):
            for hashed, member in sorted(sample.changed.items()):
                yield prefix + hashed.hex().encode(), None if member is None else _json(member_body(member))
            sample.changed.clear()
        adopted, self._good[VALUE] = self._good.get(VALUE) is not model.good, model.good
        for name, learner in model.learners.items():
            if VALUE in done.touched or self._first:
                yield _learner_key(name), _json(learner.body())
            if adopted:
                yield _good_key(name), _json(model.good[name])
        yield MODEL, _json(model.body())

    def _credit(self, model: CreditLearner) -> Iterator[Said]:
        at = _credit_key(model.name)
        for case, body in sorted(model.cases.changed.items()):
            yield at + b"/case/" + case.hex().encode(), body
        model.cases.changed.clear()
        for place, row in sorted(model.people.changed.items()):
            yield at + b"/row/" + place.to_bytes(4, "big").hex().encode(), None if row is None else _json(list(row))
        model.people.changed.clear()
        for challenger, learner in model.learners.items():
            yield at + b"/learner/" + challenger.encode(), _json(learner.body())
        yield from self._grown(model, at)
        if self._good.get(model.name) is not model.good:
            self._good[model.name] = model.good
            for challenger, good in model.good.items():
                yield at + b"/good/" + challenger.encode(), _json(good)
        yield from self._approved(model, at)
        challengers = {name: _challenger_body(one) for name, one in model.spec.challengers.items()}
        yield at, _json(model.body() | {"next_row": model.people.next_place, "challengers": challengers})

    def _text(self, model: TextLearner) -> Iterator[Said]:
        for prefix, changed, body_of in (
            (WORD, model.changed, model.word_body), (WAITING, model.changed_waiting, model.waiting_body),
        ):  # fmt: skip
            for word in sorted(changed):
                body = body_of(word)
                yield prefix + word.to_bytes(4, "big").hex().encode(), None if body is None else _json(body)
            changed.clear()
        now, before = {one.version: one.counts for one in model.approved}, self._versions.get(TEXT, set())
        for version in sorted(set(now) - before):
            yield TEXT_VERSION + version.encode(), _json(body_of_counts(now[version]))
        for version in sorted(before - set(now)):
            yield TEXT_VERSION + version.encode(), None
        self._versions[TEXT] = set(now)
        yield TEXT_MODEL, _json(model.body())

    def _grown(self, model: CreditLearner, at: bytes) -> Iterator[Said]:
        """Examples that trees learned from; those of a tree that was withdrawn, or is another one now, go."""
        for challenger, before in self._trees.get(model.name, {}).items():
            if model.trees.get(challenger) is not before:
                for number in before.rows.keys() | before.changed.keys():
                    yield _seen_key(at, challenger, number), None
        self._trees[model.name] = dict(model.trees)
        for challenger, tree in model.trees.items():
            for number, row in sorted(tree.changed.items()):
                yield _seen_key(at, challenger, number), row
            tree.changed.clear()
            yield at + b"/learner/" + challenger.encode(), _json(tree.body())

    def _approved(self, model: CreditLearner, at: bytes) -> Iterator[Said]:
        now, before = {one.version: one.body for one in model.approved}, self._versions.get(model.name, set())
        for version in sorted(set(now) - before):
            yield at + b"/version/" + version.encode(), _json(now[version])
        for version in sorted(before - set(now)):
            yield at + b"/version/" + version.encode(), None
        self._versions[model.name] = set(now)


def _challenger_body(challenger: Challenger) -> list[Any]:
    half_life, features, *more = challenger
    return [None if math.isinf(half_life) else half_life, list(features), *more]


def _challengers_of(body: Mapping[str, Any]) -> dict[str, Challenger]:
    return {
        name: Challenger(math.inf if half_life is None else half_life, tuple(features), *more)
        for name, (half_life, features, *more) in body.items()
    }


def _json(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _version_body(memory: Mapping[bytes, Any], at: bytes, version: str) -> Mapping[str, Any]:
    body: Mapping[str, Any] = memory[at + b"/version/" + version.encode()]
    return body


def _below(memory: Mapping[bytes, Any], prefix: bytes) -> Iterator[tuple[bytes, Any]]:
    return ((bytes.fromhex(k[len(prefix) :].decode()), memory[k]) for k in memory if k.startswith(prefix))


def _learner_key(name: str) -> bytes:
    return MODEL + b"/" + name.encode()


def _good_key(name: str) -> bytes:
    return _learner_key(name) + b"/good"


def _seen_prefix(at: bytes, challenger: str) -> bytes:
    return at + b"/seen/" + challenger.encode() + b"/"


def _seen_key(at: bytes, challenger: str, number: int) -> bytes:
    return _seen_prefix(at, challenger) + number.to_bytes(6, "big").hex().encode()


def _credit_key(name: str) -> bytes:
    return CREDIT + name.encode()
