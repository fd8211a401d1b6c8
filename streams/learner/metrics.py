"""What a learner tells: a log line an epoch, Prometheus metrics, and whether it is well."""

# ruff: noqa: ARG002 - an observer is told more than it needs
from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as Counted

from schemas.time_text import text_of_ms
from streams.learner.loop import LearnerObserver, LearnerReport, waiting_words
from streams.learning.credit_learner import CreditLearner
from streams.log.failures import Failure, FailureLines, tell_each
from streams.log.progress import Standing
from streams.log.unreadable import unreadable_words
from streams.worker.health import Health

TAUGHT_NOTHING = {
    "unknown": "requests or outcomes taught nothing: another one has their number, or an outcome found no request",
    "refused": "outcomes taught nothing: their label is neither 0 nor 1",
    "evicted": "cases were dropped before their end: more than requests_max wait",
}
"""What comes of cases that the publisher wanted to teach something, in words for the log."""


class LearnerObservers(LearnerObserver):
    """Tells several observers."""

    def __init__(self, *observers: LearnerObserver) -> None:
        self._observers = observers
        self._broken: set[tuple[str, str]] = set()

    def _tell(self, tell: Callable[[LearnerObserver], None]) -> None:
        tell_each(self._observers, tell, self._broken)

    def turned(self, at_seconds: float) -> None:
        """See `LearnerObserver`."""
        self._tell(lambda observer: observer.turned(at_seconds))

    def brokers(self, *, answer: bool) -> None:
        """See `LearnerObserver`."""
        self._tell(lambda observer: observer.brokers(answer=answer))

    def started(self, done_ms: int | None, partitions: int) -> None:
        """See `LearnerObserver`."""
        self._tell(lambda observer: observer.started(done_ms, partitions))

    def learned(self, report: LearnerReport) -> None:
        """See `LearnerObserver`."""
        self._tell(lambda observer: observer.learned(report))

    def waits(self, boundary_ms: int | None, partitions: Sequence[int], reason: str) -> None:
        """See `LearnerObserver`."""
        self._tell(lambda observer: observer.waits(boundary_ms, partitions, reason))

    def restarted(self, reason: str) -> None:
        """See `LearnerObserver`."""
        self._tell(lambda observer: observer.restarted(reason))

    def failed(self, failure: Failure) -> None:
        """See `LearnerObserver`."""
        self._tell(lambda observer: observer.failed(failure))

    def left_out(self, examples: int) -> None:
        """See `LearnerObserver`."""
        self._tell(lambda observer: observer.left_out(examples))

    def refused_versions(self, records: Mapping[str, int]) -> None:
        """See `LearnerObserver`."""
        for observer in self._observers:
            observer.refused_versions(records)

    def unreadable(self, count: int, first: str) -> None:
        """See `LearnerObserver`."""
        for observer in self._observers:
            observer.unreadable(count, first)

    def not_published(self, version: str, reason: str) -> None:
        """See `LearnerObserver`."""
        for observer in self._observers:
            observer.not_published(version, reason)


class LearnerHealth(LearnerObserver):
    """Keeps a `Health` informed: alive while the loop goes round, ready once started and while brokers answer."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def turned(self, at_seconds: float) -> None:
        """See `LearnerObserver`."""
        self._health.turned(at_seconds)

    def brokers(self, *, answer: bool) -> None:
        """See `LearnerObserver`."""
        self._health.brokers(answer=answer)

    def started(self, done_ms: int | None, partitions: int) -> None:
        """See `LearnerObserver`."""
        self._health.assigned((0,))
        self._health.running(0, Standing(0, {}, 0, ""))

    def restarted(self, reason: str) -> None:
        """See `LearnerObserver`."""
        self._health.resolving(0)


class LearnerMetrics(LearnerObserver):
    """Keeps what the learner tells as Prometheus metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counted:
            return Counted(f"rescore_learner_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"rescore_learner_{name}", text, labels, registry=registry)

        self._examples = counter(
            "examples", "Training examples learned, refused, or left out as they raise.", "outcome"
        )
        self._late = counter("late_examples", "Examples that came after the mark of their epoch.")
        self._epochs = counter("epochs", "Epochs with examples.")
        self._versions = counter("versions", "Versions of weights published.")
        self._unreadable = gauge("unreadable_examples", "Records of rescore-examples that cannot be read.")
        self._refused_versions = gauge(
            "refused_versions", "Records of a broadcast topic that count as never published.", "topic"
        )
        self._not_published = counter("versions_not_published", "Learned versions that every reader would refuse.")
        self._restarts = counter("restarts", "Transactions that came to nothing, or nobody knew.")
        self._failures = counter(
            "internal_errors",
            "Exceptions nobody expected: each left an example out, or started learning again.",
            "stage",
        )
        self._until = gauge("learned_until_timestamp_seconds", "The last boundary up to which was learned.")
        self._error = gauge("error_rmse", "Running error of a learner or approved version, ln units.", "model")
        self._sample = gauge("sample_customers", "Customers in the population sample.")
        self._stability = gauge("stability_index", "PSI of forecasts against those of the version before.")
        self._quarantine = gauge("quarantine", "1 while a drift keeps new versions from being adopted.", "model")
        self._log_loss = gauge("log_loss", "Running log loss of a challenger or of the champion.", "model", "version")
        self._auc = gauge("auc", "Running AUC, likewise.", "model", "version")
        self._cases = gauge("cases", "Requests, outcomes and answers that are remembered.", "model")
        self._case_bytes = gauge("cases_bytes", "What these take.", "model")
        self._case_ends = gauge("case_ends", "What came of cases so far: requests, contradicted, ...", "model", "end")
        self._unknown = gauge("unknown_model_records", "Requests and outcomes so far whose model does not exist.")
        self._text_worth = gauge("text_worth", "Descriptions guessed right less those guessed wrong, share.", "version")
        self._waiting = gauge("waits_for_partitions", "Partitions that have not passed the boundary others have.")
        self._seconds = gauge("step_duration_seconds", "Time of the last step.", "step")

    def learned(self, report: LearnerReport) -> None:
        """See `LearnerObserver`."""
        done, model = report.round, report.model
        self._examples.labels("learned").inc(done.taught)
        self._examples.labels("refused").inc(max(done.examples - done.taught, 0))
        self._late.inc(done.late)
        self._epochs.inc(done.epochs)
        self._versions.inc(len(done.closed))
        self._until.set(done.until_ms / 1000)
        for name, error in [*model.errors.items(), ("champion", model.champion.error)]:
            if error.examples:
                self._error.labels(name).set(error.rmse)
        self._sample.set(len(model.sample))
        self._stability.set(model.stability)
        self._quarantine.labels("value").set(model.quarantine_until_ms is not None)
        for name, learner in report.credit.items():
            self._learned_from_cases(name, learner)
        self._unknown.set(report.unknown)
        if report.text is not None:
            for version, lately in (("online", report.text.lately), ("champion", report.text.champion.lately)):
                if lately.examples:
                    self._text_worth.labels(version).set(lately.worth)
        self._waiting.set(0)
        for step, seconds in report.seconds.items():
            self._seconds.labels(step).set(seconds)

    def _learned_from_cases(self, name: str, learner: CreditLearner) -> None:
        self._quarantine.labels(name).set(learner.quarantine_until_ms is not None)
        champion = {} if learner.champion is None else {"champion": learner.champion.lately}
        for version, lately in {**learner.lately, **champion}.items():
            if lately.examples:
                self._log_loss.labels(name, version).set(lately.log_loss)
                self._auc.labels(name, version).set(lately.auc)
        self._cases.labels(name).set(len(learner.cases))
        self._case_bytes.labels(name).set(learner.cases.size_bytes)
        for end, count in learner.cases.counts.items():
            self._case_ends.labels(name, end).set(count)

    def waits(self, boundary_ms: int | None, partitions: Sequence[int], reason: str) -> None:
        """See `LearnerObserver`."""
        self._waiting.set(len(partitions))

    def restarted(self, reason: str) -> None:
        """See `LearnerObserver`."""
        self._restarts.inc()

    def failed(self, failure: Failure) -> None:
        """See `LearnerObserver`."""
        self._failures.labels(failure.stage).inc()

    def left_out(self, examples: int) -> None:
        """See `LearnerObserver`."""
        self._examples.labels("left out").inc(examples)

    def refused_versions(self, records: Mapping[str, int]) -> None:
        """See `LearnerObserver`."""
        for topic, count in records.items():
            self._refused_versions.labels(topic).set(count)

    def unreadable(self, count: int, first: str) -> None:
        """See `LearnerObserver`."""
        self._unreadable.set(count)

    def not_published(self, version: str, reason: str) -> None:
        """See `LearnerObserver`."""
        self._not_published.inc()


class LearnerLines(LearnerObserver):
    """One line an epoch that can be read aloud, and one for everything out of the ordinary.

    `now_seconds` (monotonic) and the version of the program are for tracebacks: see `FailureLines`.
    """

    def __init__(
        self, logger: logging.Logger, now_seconds: Callable[[], float] = lambda: 0.0, version: str = ""
    ) -> None:
        self._logger = logger
        self._failures = FailureLines(logger, now_seconds, version)
        self._told = 0
        self._ends: dict[str, Counter[str]] | None = {}  # by model, as told last; None: those of an earlier life
        self._unknown: int | None = 0

    def started(self, done_ms: int | None, partitions: int) -> None:
        """See `LearnerObserver`."""
        self._ends, self._unknown = ({}, 0) if done_ms is None else (None, None)
        where = "from the first example on" if done_ms is None else f"after {text_of_ms(done_ms)}"
        self._logger.info("learns %s, from %d partitions", where, partitions)

    def learned(self, report: LearnerReport) -> None:
        """See `LearnerObserver`."""
        done, model = report.round, report.model
        errors = {name: round(error.rmse, 4) for name, error in model.errors.items() if error.examples}
        fields = {
            "until": text_of_ms(done.until_ms),
            "examples": done.examples,
            "taught": done.taught,
            "late": done.late,
            "sample": len(model.sample),
            **{f"{name}_rmse": error for name, error in errors.items()},
            "champion": model.champion.version,
            **{f"{step}_ms": round(seconds * 1000, 1) for step, seconds in report.seconds.items()},
        }
        self._logger.info("epoch", extra={"fields": fields})
        self._tell_what_taught_nothing(report)
        for closed in done.closed:
            in_force = text_of_ms(closed.weights.effective_ms)
            self._logger.info("weights %s, in force from %s", closed.weights.version, in_force)
        texts = [] if report.text is None else report.text.timeline
        credit = (line for one in report.credit.values() for line in one.timeline)
        happened = [*model.timeline, *texts, *credit]
        for happening in happened:
            if happening.at_ms > self._told and happening.what not in ("adopted", "refreshed"):
                self._logger.warning("%s %s: %s", happening.version, happening.what, happening.why)
        self._told = max(self._told, max((happening.at_ms for happening in happened), default=0))

    def _tell_what_taught_nothing(self, report: LearnerReport) -> None:
        """Cases that came to nothing since the last epoch, in words: who publishes them can mend that."""
        if self._ends is not None:
            for name, learner in report.credit.items():
                for end, words in TAUGHT_NOTHING.items():
                    if (more := learner.cases.counts[end] - self._ends.get(name, Counter())[end]) > 0:
                        self._logger.warning("%s: %d %s", name, more, words)
        if self._unknown is not None and report.unknown > self._unknown:
            more = report.unknown - self._unknown
            self._logger.warning("%d requests or outcomes name a model that does not exist: declare it", more)
        self._ends = {name: Counter(learner.cases.counts) for name, learner in report.credit.items()}
        self._unknown = report.unknown

    def waits(self, boundary_ms: int | None, partitions: Sequence[int], reason: str) -> None:
        """See `LearnerObserver`."""
        self._logger.warning("%s", waiting_words(boundary_ms, partitions, reason))

    def restarted(self, reason: str) -> None:
        """See `LearnerObserver`."""
        self._logger.warning("starts again from the checkpoint: %s", reason)

    def failed(self, failure: Failure) -> None:
        """See `LearnerObserver`."""
        self._failures.tell(failure)

    def left_out(self, examples: int) -> None:
        """See `LearnerObserver`."""
        self._logger.warning("%d examples are left out of learning, as they raise", examples)

    def unreadable(self, count: int, first: str) -> None:
        """See `LearnerObserver`."""
        self._logger.error("%s", unreadable_words("rescore-examples", count, first))

    def not_published(self, version: str, reason: str) -> None:
        """See `LearnerObserver`."""
        self._logger.error("weights %s are not published: %s. Roll back, or freeze the model", version, reason)
