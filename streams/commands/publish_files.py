"""`rescore publish`: what is in the files of a call, what of it was published, and the sending of the rest."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from schemas.errors import Exit, RescoreError, fail
from schemas.printable import counted
from streams.commands.progress import progress_bar
from streams.commands.publish_job import Job
from streams.kafka.client import producer, require_topics
from streams.kafka.producer import Published
from streams.kafka.publications import KafkaPublicationLog
from streams.kafka.publisher_protocol import RecordRefused
from streams.kafka.topics import PUBLICATIONS_TOPIC
from streams.publish.content import Content, content_of, content_of_open, is_kept, kept, mark_of
from streams.publish.events import Event, Source, in_order, when
from streams.publish.exactly_once import Publisher
from streams.publish.files import UnreadableFile
from streams.publish.identity import Identify, RepeatedIds, no_ids, repeated_ids
from streams.publish.publications import (
    ID_LETTERS,
    Known,
    Part,
    Publication,
    begin,
    key_of,
    mapping_digest,
    part_of_line,
)
from streams.publish.publisher import advances, publish, publish_advances, refuse_to_go_back
from streams.publish.stamps import require_clock, who
from streams.terminal import echo


def is_stream(job: Job, number: int) -> bool:
    """Whether a source is published as it comes, so that nobody knows what is in it before its end."""
    path = job.sources[number].path
    return job.as_is and (path is None or not is_kept(path))


def content(job: Job, number: int, lengths: Iterable[int] = ()) -> Content:
    """What is in a source; a pipe is read to its end for it."""
    path = job.sources[number].path
    if path is not None and is_kept(path):
        return content_of(path, lengths)
    if number not in job.kept:
        try:
            with path.open("rb") if path else nullcontext(sys.stdin.buffer) as pipe:
                job.kept[number] = kept(pipe)
        except OSError as error:
            raise UnreadableFile(f"{path or 'standard input'}: {error.strerror or error}") from None
    return content_of_open(job.kept[number], str(path or "standard input"), lengths)


def mapping_of(source: Source) -> str:
    """The digest of what makes events of the rows of a source, the files that are joined to it among that."""
    folder = source.path.parent if source.path else Path()
    joined = {name: content_of(folder / lookup.file).digest for name, lookup in source.mapping.lookups.items()}
    return mapping_digest(source.mapping, joined)


def identify_of(job: Job, number: int) -> Identify:
    """What makes ids for the events of a source that have none."""
    if is_stream(job, number):
        return no_ids
    parts = job.parts.get(number)
    if parts:
        whole, only = parts[-1].publication.id_prefix, len(parts) == 1
        return lambda line: whole if only else (part_of_line(line, parts) or parts[-1]).publication.id_prefix
    source = job.sources[number]  # it is only looked at
    prefix = key_of(content(job, number).digest, job.settings.topic(source.topic), mapping_of(source))[:ID_LETTERS]
    return lambda _line: prefix


def send_all(job: Job, advance_to_ms: int | None) -> None:
    """Publish what is left of the sources, then bring the clocks to a time if one is given."""
    chosen, done = job.settings, Published()
    require_clock(chosen)
    names = {source.topic for source in job.sources} | ({"commands"} if advance_to_ms is not None else set())
    counts = require_topics(chosen.kafka, [chosen.topic(name) for name in sorted(names)])
    numbers, published = range(len(job.sources)), list[Publication]()
    if any(is_stream(job, number) for number in numbers):
        if len(job.sources) > 1:
            fail("a pipe with --as-is is published as it comes", "publish the files in a call of their own", Exit.USAGE)
        _send_stream(job, done)
    elif job.sources:
        topic = chosen.topic(PUBLICATIONS_TOPIC)
        log, stamp = KafkaPublicationLog(chosen.kafka, topic), chosen.clock == "records"
        publisher = Publisher(log, chosen.app, topic, who(), _wall_ms, time.monotonic, stamp, waiting=_waiting)
        published = send_files(job, publisher, done, only_files=advance_to_ms is None)
    if advance_to_ms is not None:
        _advance(job, counts[chosen.topic("commands")], advance_to_ms, done, published)
    seconds = max(time.monotonic() - (done.since_seconds or time.monotonic()), 1e-3)
    speed = f"{done.acknowledged / seconds:,.0f}/s"
    echo(f"published {counted(done.acknowledged, 'record')} in {seconds:.1f} s ({speed})", err=True)


def _send_stream(job: Job, done: Published) -> None:
    """A pipe as it comes: no transaction, as nobody knows when its next event will."""
    chosen, sender, done.since_seconds = job.settings, producer(job.settings.kafka), time.monotonic()
    events = job.events(0)
    try:
        with progress_bar("publishing", None) as tell:
            publish(events, sender, chosen.topic, chosen.clock == "records", done, lambda so_far: tell(so_far.sent))
    except KeyboardInterrupt:
        sender.flush(10)
        echo("", f"interrupted: {done.acknowledged:,} records are published", err=True)
        raise
    except RescoreError:  # a bad line
        sender.flush(10)
        _tell_before(done)
        raise


def _tell_before(done: Published) -> None:
    """How much was published before a bad line."""
    one = done.acknowledged == 1
    echo(f"{done.acknowledged:,} event{' before it is' if one else 's before it are'} published", err=True)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _waiting(why: str) -> None:
    echo(f"waiting for a publisher that was killed, at most 45 s: {why}", err=True)


def send_files(job: Job, publisher: Publisher, done: Published, only_files: bool) -> list[Publication]:
    """Publish what is left of files, exactly once; returns those of which nothing was left.

    Ends the command where that is all of them, if it was called for `only_files`.
    """
    marks = {source.path: mark_of(source.path) for source in job.sources if source.path and is_kept(source.path)}
    published = _plan(job, publisher, only_files)
    events: Iterable[Event]
    if job.as_is:
        events, total, parts = _as_they_come(job), None, job.parts
    else:
        events = whole = _read_whole(job, marks)
        total = len(whole)
        job.refuse_bad_lines()
        refuse_repeated_ids(job, repeated_ids(whole))
        if publisher.stamp and whole:
            topics = {job.settings.topic(event.topic) for event in whole}
            refuse_to_go_back(whole[0].time_ms, publisher.log.latest_timestamps_ms(sorted(topics)))
        parts = {number: [part for part in of_file if part.has_news] for number, of_file in job.parts.items()}
    claimed = [part for of_file in parts.values() for part in of_file]
    if not claimed:
        return published
    done.since_seconds = time.monotonic()
    sender = publisher.claim(claimed)
    at_end = (lambda: _all_read(job, marks)) if job.as_is else (lambda: None)
    try:
        with progress_bar("publishing", total) as tell:
            told = lambda so_far: tell(so_far.acknowledged)  # noqa: E731
            publisher.publish(events, parts, sender, job.settings.topic, done, told, at_end)
    except KeyboardInterrupt:
        of = "" if total is None else f" of {total:,}"
        echo("", f"interrupted: {done.acknowledged:,}{of} events are published", err=True)
        echo(f"  to go on: the same command{' without --again' if job.again else ''}", err=True)
        raise
    except RescoreError:  # a bad line
        _tell_before(done)
        raise
    except RecordRefused as refused:
        fail(
            f"{refused}; the {done.acknowledged:,} events before its transaction are published",
            "shorten the event or leave it out, and publish the file again",
        )
    finally:
        sender.close()
    return published


def _plan(job: Job, publisher: Publisher, only_files: bool) -> list[Publication]:
    """Decide what of each source this call has to publish (`job.parts`); returns those of which nothing is left."""
    wanted: dict[str, int] = {}
    fresh: dict[int, Publication] = {}
    for number in range(len(job.sources)):
        fresh[number], job.parts[number] = _fresh(job, number, publisher), []
        first = wanted.setdefault(fresh[number].key, number)
        if first != number:
            echo(f"{fresh[number].name} has the content of {fresh[first].name}: it is published once", err=True)
    known, together = publisher.known(wanted), frozenset(wanted)
    finished: list[Publication] = []
    for number in wanted.values():
        shorter = _shorter(job, number, fresh, known)
        for one in begin(fresh[number], known, shorter, job.again, together):
            base = known.publications.get(one.key)
            job.parts[number].append(Part(one, base, not job.as_is, job.from_ms, job.until_ms))
        if not job.parts[number]:
            finished.append(known.publications[fresh[number].key])
    if only_files and len(finished) == len(wanted):
        again = "--again publishes it once more, and its events count once more"
        fail(f"already published: {'; '.join(one.words() for one in finished)}", again)
    for one in finished:
        echo(f"already published: {one.words()}", err=True)
    return finished


def _fresh(job: Job, number: int, publisher: Publisher) -> Publication:
    """A source as nobody has published it."""
    source = job.sources[number]
    found, topic, mapping = content(job, number), job.settings.topic(source.topic), mapping_of(source)
    key, topic_id = key_of(found.digest, topic, mapping), publisher.log.topic_id(topic)
    return Publication(key, source.name, found.digest, found.size, topic, topic_id, mapping)


def _shorter(job: Job, number: int, fresh: dict[int, Publication], known: Known) -> list[Publication]:
    """Publications of files that are the beginning of a source: it has grown since. Lines are looked at, no tables."""
    this = fresh[number]
    candidates = known.beginnings(this.topic, this.topic_id, this.mapping, this.size)
    others = [
        one for one in fresh.values() if not (one.key in known.publications and known.publications[one.key].complete)
    ]
    for other in others:
        if (other.topic, other.mapping) == (this.topic, this.mapping) and 0 < other.size < this.size:
            candidates.setdefault(other.size, []).append(other)
    if not candidates:
        return []
    beginnings = content(job, number, candidates).beginnings
    found = [one for size, ones in candidates.items() for one in ones if one.content == beginnings.get(size)]
    for other in others:
        if other in found:
            fail(
                f"{this.name} begins with the content of {other.name}",
                f"publish {this.name} alone, or {other.name} first and then {this.name}: it goes on after that",
            )
    return found


def _read_whole(job: Job, marks: dict[Path, Any]) -> list[Event]:
    """All events that are left to be published, in order of time."""
    numbers = [number for number, parts in job.parts.items() if parts]
    paths = [job.sources[number].path for number in numbers]
    size = sum(path.stat().st_size for path in paths if path and path.is_file())
    with progress_bar("reading", size, as_bytes=True) as tell:
        events = [event for number in numbers for event in job.events(number, tell)]
    _all_read(job, marks)
    events.sort(key=when)
    return events


def _as_they_come(job: Job) -> Iterator[Event]:
    """Events in the order of the files, several files merged by time; what was read is in `job.parts`."""
    numbers = [number for number, parts in job.parts.items() if parts]
    return in_order([job.events(number) for number in numbers])


def _all_read(job: Job, marks: dict[Path, Any]) -> None:
    """After the last line. Raises ChangedReading; UnreadableFile where somebody has written to a file meanwhile."""
    for path, mark in marks.items():
        if mark_of(path) != mark:
            raise UnreadableFile(f"{path} has changed while it was read: publish it again when nobody writes to it")
    for number, parts in job.parts.items():
        for part in parts:
            part.all_read(job.bad_lines_of.get(number, 0))


def refuse_repeated_ids(job: Job, found: RepeatedIds) -> None:
    """End the command if events that differ share an id; say it of copies."""
    if found.others:
        fail(
            found.words(lambda number: job.sources[number].name),
            "nothing was sent. Map an event_id that is unique, of two columns for example: "
            "--map 'event_id:={number}-{date}'; without an event_id each event gets one of its own",
        )
    if found.copies:
        one = found.copies == 1
        echo(
            f"{found.copies:,} event{' is a copy' if one else 's are copies'} of another one with the same event_id: "
            "workers take the first",
            err=True,
        )


def _advance(job: Job, partitions: int, to_ms: int, done: Published, published: Sequence[Publication]) -> None:
    stamp, done.since_seconds = job.settings.clock == "records", done.since_seconds or time.monotonic()
    ends = [one.last[0] for publication in published for one in publication.done]
    if done.last_time_ms is not None:
        ends.append(done.last_time_ms)
    if stamp and ends:
        refuse_to_go_back(to_ms, {"just published": max(ends)})
    values = advances(to_ms, range(partitions), job.values.encoder("commands"))
    topic = job.settings.topic("commands")
    publish_advances(topic, values, to_ms, producer(job.settings.kafka), stamp, done)
