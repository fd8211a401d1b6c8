"""The model that reads descriptions as it learns: from purchases whose merchant's code says what they were for.

Every version that is approved and the learner itself guess a purchase before anyone learns from it. What a model is
worth is the share of purchases it guesses right less the share it guesses wrong: no guess is better than a wrong one.
A word counts once `CUSTOMERS_MIN` customers have used it: until then it may be somebody's name, waits beside the model
under keyed hashes, and goes with whoever is erased. Pure: examples in, counts and happenings out; sums of whole
numbers, so that their order makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.batch import BEGINNING_MS, DAY_MS
from schemas.categories import CATEGORY_NAMES, WORDS_MAX, Category
from state.category_text import CONFIDENCE_MIN, Counts, OnlineGuesser, TextWeights, body_of_counts, packaged_counts
from streams.learning.decisions import TIMELINE_MAX, Happening, Order
from streams.learning.epochs import LearningPolicy
from streams.scoring.models.model import ModelWeights

TEXT = "categories"
LEARNER = "online"
"""The one that learns: what `rescore models promote` calls it."""

CUSTOMERS_MIN = 5
"""A word that fewer customers have used is no word of the model yet."""
WORDS_KNOWN_MAX = 5_000
"""Words learned beside the packaged ones; the rarest go."""
WORDS_WAITING_MAX = 20_000
"""Words that wait for more customers; those unused for longest go."""
CELLS_PUBLISHED_MAX = 15_000
"""Of a version: about 400 KB."""
APPROVED_MAX = 4
BETTER = 0.01
"""What is adopted by itself is worth so much more, what is gone back to as well."""


class TextExample(NamedTuple):
    """A purchase by its code and in hashed words."""

    timestamp_ms: int
    user_hash: bytes
    words: tuple[int, ...]
    category: Category


@dataclass(slots=True)
class RunningGuesses:
    """How good guesses are lately; a purchase counts half after `half_life` further ones.

    >>> lately = RunningGuesses()
    >>> for guessed, right in [(True, True), (True, False), (False, False), (True, True)]:
    ...     lately.take(guessed, right, math.inf)
    >>> lately.examples, lately.worth
    (4, 0.25)
    """

    examples: int = 0
    weight: float = 0.0
    guessed: float = 0.0
    right: float = 0.0

    def take(self, guessed: bool, right: bool, half_life: float) -> None:
        """One more purchase."""
        kept = 0.5 ** (1.0 / half_life)
        self.examples += 1
        self.weight = kept * self.weight + 1.0
        self.guessed = kept * self.guessed + guessed
        self.right = kept * self.right + right

    @property
    def worth(self) -> float:
        """Share guessed right less the share guessed wrong; below every other before the first purchase."""
        return (2.0 * self.right - self.guessed) / self.weight if self.weight > 0 else -math.inf

    def body(self) -> list[float]:
        """Its numbers."""
        return [self.examples, self.weight, self.guessed, self.right]


@dataclass(slots=True)
class ApprovedText:
    """A version that is, or may again be, in force."""

    version: str
    counts: Counts
    adopted_ms: int
    lately: RunningGuesses = field(default_factory=RunningGuesses)
    model: OnlineGuesser = field(init=False)

    def __post_init__(self) -> None:
        self.model = OnlineGuesser(self.counts)


class WaitingWord(NamedTuple):
    """A word that too few customers have used: when last, and by customer how often for which category."""

    last_ms: int
    told: dict[bytes, dict[int, int]]


class TextLearner:
    """See the module. `changed` and `changed_waiting` are the words whose records have to be written again."""

    def __init__(self, policy: LearningPolicy) -> None:
        self.policy = policy
        self.model = OnlineGuesser(packaged_counts())
        self.lately = RunningGuesses()
        self.approved = [ApprovedText("categories-1", packaged_counts(), BEGINNING_MS)]
        self.followed = ["categories-1"]
        """Versions that were in force, so that each is approved once."""
        self.waiting: dict[int, WaitingWord] = {}
        self.changed = set(self.model.words)
        self.changed_waiting: set[int] = set()
        self.frozen = False
        self.wanted: Order | None = None
        self.timeline: list[Happening] = []

    @property
    def champion(self) -> ApprovedText:
        """The version in force, or about to be."""
        return self.approved[-1]

    # Learning.

    def follow(self, texts: Sequence[TextWeights], boundary_ms: int) -> None:
        """Versions that somebody else published and that are in force by now are approved, the latest champion."""
        for text in texts:
            if text.effective_ms <= boundary_ms and text.version not in self.followed:
                self.followed.append(text.version)
                self._approve(ApprovedText(text.version, dict(text.counts), boundary_ms))
                self._note(boundary_ms, "followed", text.version, "learner", "somebody published it")

    def learn(self, examples: Sequence[TextExample], erased_ms: Mapping[bytes, int]) -> int:
        """Take an epoch's examples in their order, each guessed before it is learned from; how many there were."""
        self.forget(erased_ms)
        half_life = float(self.policy.error_half_life_examples)
        live = [one for one in examples if one.timestamp_ms > erased_ms.get(one.user_hash, BEGINNING_MS)]
        for one in live:
            for version in self.approved:
                _guess(version.model, one, version.lately, half_life)
            _guess(self.model, one, self.lately, half_life)
            self._learn(one)
        self._shrink()
        return len(live)

    def forget(self, erased_ms: Mapping[bytes, int]) -> None:
        """Take out what erased customers said of words that wait."""
        for word, waiting in list(self.waiting.items()) if erased_ms else ():
            gone = [user for user in waiting.told if user in erased_ms]
            for user in gone:
                del waiting.told[user]
            if gone:
                self.changed_waiting.add(word)
                if not waiting.told:
                    del self.waiting[word]

    def _learn(self, one: TextExample) -> None:
        for word in one.words:
            if word in self.model.words:
                self.model.learn([word], one.category)
                self.changed.add(word)
                continue
            held = self.waiting.get(word, WaitingWord(one.timestamp_ms, {}))
            by_category = held.told.setdefault(one.user_hash, {})
            by_category[int(one.category)] = by_category.get(int(one.category), 0) + 1
            self.waiting[word] = WaitingWord(max(held.last_ms, one.timestamp_ms), held.told)
            self.changed_waiting.add(word)
            if len(held.told) >= CUSTOMERS_MIN:
                self._admit(word)

    def _admit(self, word: int) -> None:
        """A word that enough customers have used belongs to nobody: all that was said with it is learned."""
        for told in self.waiting.pop(word).told.values():
            for category, times in told.items():
                for _ in range(times):
                    self.model.learn([word], Category(category))
        self.changed.add(word)

    def _shrink(self) -> None:
        """Drop the rarest words that were learned, and those that have waited in vain for longest."""
        packaged = {word for word, _ in packaged_counts()}
        own = [word for word in self.model.words if word not in packaged]
        if len(own) > WORDS_KNOWN_MAX:
            own.sort(key=lambda word: (self.model.total(word), word))
            for word in own[: len(own) - WORDS_KNOWN_MAX * 9 // 10]:
                self.model.drop(word)
                self.changed.add(word)
        if len(self.waiting) > WORDS_WAITING_MAX:
            oldest = sorted(self.waiting, key=lambda word: (self.waiting[word].last_ms, word))
            for word in oldest[: len(oldest) - WORDS_WAITING_MAX * 9 // 10]:
                del self.waiting[word]
                self.changed_waiting.add(word)

    # Decisions.

    def obey(self, order: Order, boundary_ms: int) -> None:
        """Take a person's decision: at once where it only brakes, else at the next closing boundary."""
        if order.what in ("freeze", "thaw"):
            self.frozen = order.what == "freeze"
            what = "frozen" if self.frozen else "thawed"
            self._note(boundary_ms, what, self.champion.version, order.who, order.why)
        elif refusal := self._refusal(order):
            self._note(boundary_ms, "refused", order.version or "-", order.who, refusal)
        else:
            self.wanted = order

    def _refusal(self, order: Order) -> str:
        """Why a decision cannot be obeyed; empty where it can."""
        if order.what not in ("promote", "rollback"):
            return f"{order.what} is for credit and insurance models"
        if order.what == "rollback" and order.version in ("", LEARNER):
            possible = not order.version and len(self.approved) > 1
            return "" if possible else "there is no approved version to go back to"
        if order.version in ("", LEARNER):
            enough = self.lately.examples >= self.policy.examples_min
            learned = f"it has learned from {self.lately.examples:,} purchases, {self.policy.examples_min:,} are needed"
            return "" if enough else learned
        known = [LEARNER, *(one.version for one in self.approved)]
        return "" if order.version in known else f"there is no such version; there are {', '.join(known)}"

    def close(self, boundary_ms: int, name: str) -> ModelWeights | None:
        """Decide at a closing boundary; the version to publish under this name, None: everything stays as it is."""
        if self.wanted is not None:
            order, self.wanted = self.wanted, None
            if order.what == "promote" and order.version in ("", LEARNER):
                return self._adopt(boundary_ms, name, "promoted", order.who, order.why)
            found = [one for one in self.approved if one.version == order.version] or self.approved[-2:-1]
            return self._go_back(found[0], boundary_ms, name, order.who, order.why) if found else None
        if self.frozen:
            return None
        if (better := self._better_approved()) is not None:
            return self._go_back(better, boundary_ms, name, "learner", self._words_against(better.lately))
        if self._has_earned_it(boundary_ms):
            return self._adopt(boundary_ms, name, "adopted", "learner", self._words_against(self.lately))
        return None

    def _has_earned_it(self, boundary_ms: int) -> bool:
        waited = boundary_ms - self.champion.adopted_ms >= self.policy.text_days * DAY_MS
        better = self.lately.worth >= self.champion.lately.worth + BETTER
        return waited and better and self.lately.examples >= self.policy.examples_min

    def _better_approved(self) -> ApprovedText | None:
        """An approved version that is worth clearly more than the champion on the same purchases."""
        enough = [one for one in self.approved[:-1] if one.lately.examples >= self.policy.examples_min]
        best = max(enough, key=lambda one: one.lately.worth, default=None)
        return best if best is not None and best.lately.worth >= self.champion.lately.worth + BETTER else None

    def _words_against(self, other: RunningGuesses) -> str:
        champion = self.champion
        return (
            f"on the same purchases {_words(other)}, {champion.version} {_words(champion.lately)}"
            if champion.lately.examples
            else _words(other)
        )

    def _adopt(self, boundary_ms: int, name: str, what: str, who: str, why: str) -> ModelWeights:
        made = ApprovedText(name, self.model.counts(CELLS_PUBLISHED_MAX), boundary_ms)
        made.lately = RunningGuesses(*self.lately.body())  # type: ignore[arg-type]
        return self._publish(made, boundary_ms, what, who, f"{LEARNER}: {why}")

    def _go_back(self, to: ApprovedText, boundary_ms: int, name: str, who: str, why: str) -> ModelWeights:
        """The approved version again, under a new name; learning begins again from it."""
        again = ApprovedText(name, to.counts, boundary_ms, RunningGuesses(*to.lately.body()))  # type: ignore[arg-type]
        if self.approved[-1] is not to:
            self.approved.pop()
        before = set(self.model.words)
        self.model, self.lately = OnlineGuesser(to.counts), RunningGuesses(*to.lately.body())  # type: ignore[arg-type]
        self.changed |= before | set(self.model.words)
        return self._publish(again, boundary_ms, "rolled_back", who, f"to {to.version}: {why}")

    def _publish(self, made: ApprovedText, boundary_ms: int, what: str, who: str, why: str) -> ModelWeights:
        self.followed.append(made.version)
        self._approve(made)
        self._note(boundary_ms, what, made.version, who, why)
        return ModelWeights(TEXT, made.version, boundary_ms, body_of_counts(made.counts))

    def _approve(self, made: ApprovedText) -> None:
        """The first is always kept to go back to, and the last ones."""
        self.approved.append(made)
        while len(self.approved) > APPROVED_MAX:
            del self.approved[1]

    def _note(self, at_ms: int, what: str, version: str, who: str, why: str) -> None:
        self.timeline = [*self.timeline, Happening(at_ms, what, version, who, why)][-TIMELINE_MAX:]

    # To and from plain JSON. Words, words that wait and versions have records of their own.

    def body(self) -> dict[str, Any]:
        """What is kept beside them."""
        return {
            "approved": [
                {"version": one.version, "adopted_ms": one.adopted_ms, "lately": one.lately.body()}
                for one in self.approved
            ],
            "lately": {LEARNER: self.lately.body()},
            "followed": self.followed,
            "words": len(self.model.words),
            "waiting": len(self.waiting),
            "frozen": self.frozen,
            "wanted": None if self.wanted is None else list(self.wanted),
            "timeline": [list(happening) for happening in self.timeline],
        }

    def word_body(self, word: int) -> list[list[float]] | None:
        """The record of a word of the model; None: it has none any more."""
        return [list(cell) for cell in self.model.cells(word)] or None

    def waiting_body(self, word: int) -> list[Any] | None:
        """The record of a word that waits; None: it waits no longer."""
        held = self.waiting.get(word)
        if held is None:
            return None
        told = [[user.hex(), sorted(cells.items())] for user, cells in sorted(held.told.items())]
        return [held.last_ms, told]

    def restore(
        self,
        body: Mapping[str, Any],
        words: Iterable[tuple[int, Any]],
        waiting: Iterable[tuple[int, Any]],
        version_counts: Callable[[str], Counts],
    ) -> None:
        """Know again what the records said; `version_counts` gives the counts of a version by its name."""
        self.model = OnlineGuesser({(word, int(category)): n for word, cells in words for category, n in cells})
        self.waiting = {
            word: WaitingWord(last_ms, {bytes.fromhex(user): {int(c): n for c, n in cells} for user, cells in told})
            for word, (last_ms, told) in waiting
        }
        self.lately = RunningGuesses(*body["lately"][LEARNER])
        self.approved = [
            ApprovedText(one["version"], version_counts(one["version"]), one["adopted_ms"],
                         RunningGuesses(*one["lately"]))
            for one in body["approved"]
        ]  # fmt: skip
        self.followed = list(body["followed"])
        self.frozen = body["frozen"]
        self.wanted = None if body["wanted"] is None else Order(*body["wanted"])
        self.timeline = [Happening(*line) for line in body["timeline"]]
        self.changed.clear()
        self.changed_waiting.clear()


def text_of(said: Mapping[str, Any]) -> TextExample:
    """An example from the fields of its record. Raises ValueError for what cannot be one."""
    words, category = said["words"] or (), said["category"]
    if said["timestamp_ms"] is None or not said["user_hash"] or category not in CATEGORY_NAMES:
        raise ValueError("text without what it needs")
    if not 0 < len(words) <= WORDS_MAX or not all(0 < word < 2**32 for word in words):
        raise ValueError("these are not the words of a description")
    number = Category(CATEGORY_NAMES.index(category))
    if number == Category.UNKNOWN:
        raise ValueError("text without a category")
    return TextExample(int(said["timestamp_ms"]), bytes(said["user_hash"]), tuple(words), number)


def _guess(model: OnlineGuesser, one: TextExample, lately: RunningGuesses, half_life: float) -> None:
    guess, likelihood = model.guess(one.words)
    guessed = likelihood >= CONFIDENCE_MIN
    lately.take(guessed, guessed and guess == one.category, half_life)


def _words(lately: RunningGuesses) -> str:
    guessed = lately.guessed / lately.weight if lately.weight else 0.0
    right = lately.right / lately.guessed if lately.guessed else 0.0
    return f"guesses {guessed:.0%}, {right:.0%} of it right"
