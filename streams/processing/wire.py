"""The few words that worker and learner themselves read and write, as Avro values."""

from __future__ import annotations

from schemas.batch import FOREVER_MS, Record
from schemas.codec import RegistryUnavailable, SchemaNotRegistered
from schemas.topic_values import Values
from state.layout import due_ms_of
from streams.log.message import Message
from streams.log.progress import Progress
from streams.log.protocol import PauseAndRetry
from streams.worker.options import Wire


def wire_of(values: Values) -> Wire:
    """A worker's: progress records, `advance` commands, due times of rows."""

    class ProgressValues:
        """Progress records as Avro."""

        def encode(self, progress: Progress) -> bytes:
            return values.encoder("rescore-state")(progress._asdict())

        def decode(self, value: bytes) -> Progress:
            return sound(Progress(**values.decode("rescore-state", value)))

    def advance_to(record: Record) -> int | None:
        try:
            fields = values.decode("commands", record.value or b"")
        except (RegistryUnavailable, SchemaNotRegistered) as error:
            raise PauseAndRetry(str(error)) from error
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - of any kind: the bytes are a stranger's
            return None  # not ours to judge: the decoder makes a dead letter of it
        to = fields.get("to")
        return to if fields.get("command") == "advance" and isinstance(to, int) else None

    def advance(to_ms: int) -> Message:
        return Message(b"advance", values.encoder("commands")({"command": "advance", "to": to_ms}))

    return Wire(ProgressValues(), advance_to, advance, due_ms_of)


def sound(progress: Progress) -> Progress:
    """The progress, if a worker can have written it. Raises ValueError."""
    if progress.seq < 1 or any(offset < 0 for offset in progress.next_offsets.values()):
        raise ValueError("its transaction or an offset is negative")
    moments = (progress.clock_ms, progress.marked_ms, progress.swept_ms, progress.erased_ms)
    if not all(moment_ms is None or abs(moment_ms) <= FOREVER_MS for moment_ms in moments):
        raise ValueError("a time in it is outside of the calendar")
    return progress


def marker_of(values: Values, boundary_ms: int) -> bytes:
    """The value that marks the end of an epoch in a partition of the examples."""
    return values.encoder("rescore-examples")({"kind": "epoch", "model": "", "timestamp_ms": boundary_ms})
