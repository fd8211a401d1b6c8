"""Prometheus metrics of a worker, and its log lines. Names begin with `rescore_`, in base units."""

# ruff: noqa: ARG002 - an observer is told more than it needs
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.log.failures import Failure, FailureLines
from streams.log.progress import Standing
from streams.log.protocol import TopicPartition
from streams.worker.observer import BatchReport, Observer

OPEN_TOLD_SECONDS = 30.0
OVERRUN_WARNING_SECONDS = 60.0
SUMMARY_SECONDS = 60.0
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def new_registry() -> CollectorRegistry:
    """An empty registry for one worker's metrics: what `Metrics` fills and `HealthServer` serves."""
    return CollectorRegistry()


class Metrics(Observer):
    """Keeps what the worker tells as Prometheus metrics. Costs some microseconds a batch, nothing a record."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rescore_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"rescore_{name}", text, labels, registry=registry)

        self._records = counter("records_taken", "Input records taken.")
        self._changes = counter("score_changes", "Score changes committed.")
        self._images = counter("rows_written", "After-images of rows committed.")
        self._dead_letters = counter("dead_letters", "Records put aside as dead letters.")
        self._reasons = counter("dead_letters_by_reason", "The same, by reason.", "reason")
        self._inversions = counter("inversions", "Records taken behind a later one of the same user, journaled.")
        self._overruns = counter(
            "event_ids_forgotten",
            "Event ids forgotten within the duplicate horizon: their customers had more than duplicates_max of them.",
        )
        self._timers = counter("timers_due", "Users whose timers were looked at.")
        self._transactions = counter("transactions", "Transactions committed.")
        self._rewinds = counter("rewinds", "Batches that came to nothing: aborted, unknown, or the store had moved.")
        self._lost_rows = counter(
            "store_lost_rows", "Customers found to have lost keys in Redis, at least; their partitions were rebuilt."
        )
        self._evicts = gauge("store_evicts", "1 while Redis may delete rows by itself: its policy is not noeviction.")
        self._failures = counter(
            "internal_errors", "Exceptions nobody expected: each isolated a record, or set partitions back.", "stage"
        )
        self._holds = counter("holds", "Turns in which time stood still as something did not answer.")
        self._given_up = counter("partitions_given_up", "Partitions that went to other workers.", "lost")
        self._seconds = Histogram(
            "rescore_batch_step_duration_seconds",
            "Time of one step of a batch.",
            ("step",),
            registry=registry,
            buckets=SECONDS,
        )
        self._state = gauge("partition_state", "What a partition does: 1 for the state it is in.", "partition", "state")
        self._clock = gauge("partition_clock_timestamp_seconds", "The partition's clock.", "partition")
        self._seq = gauge("partition_seq", "Transactions of the partition since its beginning.", "partition")
        self._lag = gauge("lag_records", "Records (and markers) not yet taken.", "topic", "partition")
        self._lag_seconds = gauge(
            "lag_seconds",
            "Age of the oldest record that waits, or how long open transactions hide records.",
            "partition",
        )
        self._open = gauge(
            "open_transaction_seconds",
            "How long an input has ended at an open transaction of a publisher; what lies behind it cannot be taken.",
            "topic",
            "partition",
        )
        self._buffered = gauge("buffered_records", "Records that wait in this worker.")
        self._buffered_bytes = gauge("buffered_bytes", "Bytes of their values: bounded for each input.")
        self._held_back = gauge("inputs_held_back", "Inputs fetched no further until less of them waits here.")
        self._refused_versions = gauge(
            "refused_versions", "Records of a broadcast topic that count as never published.", "topic"
        )
        self._turned = gauge("loop_turned_seconds", "Monotonic time of the last turn of the loop.")

    def turned(self, at_seconds: float) -> None:
        """See `Observer`."""
        self._turned.set(at_seconds)

    def batch(self, report: BatchReport) -> None:
        """See `Observer`."""
        self._records.inc(report.records)
        self._changes.inc(report.changes)
        self._images.inc(report.images)
        self._dead_letters.inc(report.dead_letters)
        for reason, count in report.reasons.items():
            self._reasons.labels(reason).inc(count)
        self._inversions.inc(report.inversions)
        self._overruns.inc(report.overruns)
        self._timers.inc(report.due_users)
        self._transactions.inc(report.committed)
        for step, seconds in report.seconds.items():
            self._seconds.labels(step).observe(seconds)
        for partition, clock_ms in report.clock_ms.items():
            self._clock.labels(partition).set(clock_ms / 1000)
            self._seq.labels(partition).set(report.seq[partition])

    def resolving(self, partition: int) -> None:
        """See `Observer`."""
        self._is(partition, "resolving")

    def running(self, partition: int, standing: Standing) -> None:
        """See `Observer`."""
        self._is(partition, "running")
        self._clock.labels(partition).set(standing.clock_ms / 1000)
        self._seq.labels(partition).set(standing.seq)

    def halted(self, partition: int, reason: str) -> None:
        """See `Observer`."""
        self._is(partition, "halted")

    def given_up(self, partitions: tuple[int, ...], *, lost: bool) -> None:
        """See `Observer`."""
        self._given_up.labels(str(lost).lower()).inc(len(partitions))
        for partition in partitions:
            self._is(partition, None)

    def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
        """See `Observer`."""
        self._rewinds.inc()

    def lost_rows(self, partition: int, customers: int, wait_seconds: float) -> None:
        """See `Observer`."""
        self._lost_rows.inc(customers)

    def evicts(self, reason: str) -> None:
        """See `Observer`."""
        self._evicts.set(bool(reason))

    def held(self, reason: str) -> None:
        """See `Observer`."""
        self._holds.inc()

    def lag(self, records: Mapping[tuple[str, int], int], seconds: Mapping[int, float]) -> None:
        """See `Observer`."""
        for (topic, partition), count in records.items():
            self._lag.labels(topic, partition).set(count)
        for partition, behind_seconds in seconds.items():
            self._lag_seconds.labels(partition).set(behind_seconds)

    def open_transactions(self, seconds: Mapping[TopicPartition, float]) -> None:
        """See `Observer`."""
        for (topic, partition), open_seconds in seconds.items():
            self._open.labels(topic, partition).set(open_seconds)

    def buffered(self, records: int, size_bytes: int, held_back: int) -> None:
        """See `Observer`."""
        self._buffered.set(records)
        self._buffered_bytes.set(size_bytes)
        self._held_back.set(held_back)

    def failed(self, failure: Failure) -> None:
        """See `Observer`."""
        self._failures.labels(failure.stage).inc()

    def refused_versions(self, records: Mapping[str, int]) -> None:
        """See `Observer`."""
        for topic, count in records.items():
            self._refused_versions.labels(topic).set(count)

    def _is(self, partition: int, state: str | None) -> None:
        for name in ("resolving", "running", "halted"):
            self._state.labels(partition, name).set(name == state)


def fields_of(report: BatchReport) -> dict[str, Any]:
    """A batch as fields of a log line: counts, and milliseconds by step."""
    return {
        "partitions": report.partitions,
        "records": report.records,
        "timers": report.due_users,
        "changes": report.changes,
        "rows": report.images,
        "dead_letters": report.dead_letters,
        "inversions": report.inversions,
        "committed": report.committed,
        **{f"{step}_ms": round(seconds * 1000, 2) for step, seconds in report.seconds.items()},
    }


class Summary:
    """The batches of a minute, added up."""

    def __init__(self) -> None:
        self.batches = 0
        self.fields: dict[str, Any] = {}

    def add(self, report: BatchReport) -> None:
        """One more batch."""
        self.batches += 1
        for name, value in fields_of(report).items():
            if name == "partitions":
                self.fields[name] = sorted({*self.fields.get(name, ()), *value})
            else:
                self.fields[name] = round(self.fields.get(name, 0) + value, 2)


class LogLines(Observer):
    """A summary a minute, a line a batch for debugging, and one for everything out of the ordinary.

    `now_seconds` (monotonic) and the version of the program are for tracebacks: see `FailureLines`.
    """

    def __init__(
        self, logger: logging.Logger, now_seconds: Callable[[], float] = lambda: 0.0, version: str = ""
    ) -> None:
        self._logger = logger
        self._failures = FailureLines(logger, now_seconds, version)
        self._open: set[TopicPartition] = set()
        self._evicting = ""
        self._overruns = 0  # not yet reported
        self._overruns_next_seconds = 0.0
        self._minute = Summary()
        self._summary_next_seconds = now_seconds() + SUMMARY_SECONDS

    def turned(self, at_seconds: float) -> None:
        """See `Observer`. Sums up the batches of a minute. Warns at most once a minute of forgotten event ids."""
        if at_seconds >= self._summary_next_seconds:
            self.close()
            self._summary_next_seconds = at_seconds + SUMMARY_SECONDS
        if self._overruns and at_seconds >= self._overruns_next_seconds:
            self._logger.warning(
                "%d event ids forgotten before the duplicate horizon: their customers have more events within it than "
                "duplicates_max of the policy. Such an event counts again if it is published again: raise "
                "duplicates_max (at most 4,096)",
                self._overruns,
            )
            self._overruns, self._overruns_next_seconds = 0, at_seconds + OVERRUN_WARNING_SECONDS

    def batch(self, report: BatchReport) -> None:
        """See `Observer`."""
        self._overruns += report.overruns
        self._minute.add(report)
        if self._logger.isEnabledFor(logging.DEBUG):
            self._logger.debug("batch", extra={"fields": fields_of(report)})

    def close(self) -> None:
        """The summary of what was not told yet."""
        if self._minute.batches:
            self._logger.info("summary", extra={"fields": {"batches": self._minute.batches} | self._minute.fields})
        self._minute = Summary()

    def running(self, partition: int, standing: Standing) -> None:
        """See `Observer`."""
        self._logger.info("partition %d runs from transaction %d on", partition, standing.seq)

    def given_up(self, partitions: tuple[int, ...], *, lost: bool) -> None:
        """See `Observer`."""
        numbers = ", ".join(map(str, partitions))
        if lost:
            self._logger.warning("partitions %s were given away while this worker was silent for too long", numbers)
        else:
            self._logger.info("partitions %s go to another worker", numbers)

    def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
        """See `Observer`."""
        self._logger.warning("partitions %s go back to what is committed: %s", ", ".join(map(str, partitions)), reason)

    def open_transactions(self, seconds: Mapping[TopicPartition, float]) -> None:
        """See `Observer`. One line when a transaction has been open for half a minute."""
        now = {where for where, open_seconds in seconds.items() if open_seconds >= OPEN_TOLD_SECONDS}
        for topic, partition in sorted(now - self._open):
            self._logger.warning(
                "%s/%d: a transaction of a publisher is open for %.0f s; what lies behind it cannot be taken, and time "
                "may wait for it: rescore lag names it",
                topic, partition, seconds[TopicPartition(topic, partition)],
            )  # fmt: skip
        self._open = now

    def lost_rows(self, partition: int, customers: int, wait_seconds: float) -> None:
        """See `Observer`."""
        if wait_seconds:
            words = (
                "partition %d has lost rows again, its rebuild begins in %.1f s: find out who deletes its keys in Redis"
            )
            self._logger.error(words, partition, wait_seconds)

    def evicts(self, reason: str) -> None:
        """See `Observer`: once, not every few seconds."""
        if reason and reason != self._evicting:
            self._logger.error("Redis: %s", reason)
        elif self._evicting and not reason:
            self._logger.info("Redis: maxmemory-policy is noeviction again")
        self._evicting = reason

    def held(self, reason: str) -> None:
        """See `Observer`."""
        self._logger.warning("time stands still: %s", reason)

    def halted(self, partition: int, reason: str) -> None:
        """See `Observer`."""
        self._logger.error("partition %d is halted: %s", partition, reason)

    def failed(self, failure: Failure) -> None:
        """See `Observer`."""
        self._failures.tell(failure)
