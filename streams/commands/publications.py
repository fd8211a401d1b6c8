"""`rescore publications`: which files were published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.commands.common import AsJson, guarded, settings
from streams.commands.partial import as_far_as_committed, tell_missing
from streams.terminal import console, echo, print_json, table

if TYPE_CHECKING:
    from streams.publish.publications import Publication


@guarded
def publications(as_json: AsJson = False) -> None:
    """List the files that were published: how much of each, when, and by whom.

    A file whose publication was interrupted is published to its end by the same `rescore publish` command.

    Example: rescore publications --json
    """
    from streams.commands.subscribe import local_time
    from streams.kafka.publications import KafkaPublicationLog
    from streams.kafka.topics import PUBLICATIONS_TOPIC
    from streams.publish.publications import Known

    chosen = settings()
    missing: list[str] = []
    log = KafkaPublicationLog(chosen.kafka, chosen.topic(PUBLICATIONS_TOPIC))
    known = Known.of(as_far_as_committed(log.records(), missing))
    found = sorted(known.publications.values(), key=lambda one: one.at_ms)
    if as_json:
        for one in found:
            print_json(_fields(one))
    elif not found:
        echo("no file was published")
    else:
        shown = table("file", "topic", "events", "of", "bad lines", "state", "last", "by")
        for one in found:
            of = "not counted" if one.rows is None else f"{one.rows:,}"
            state = "published" if one.complete else "interrupted, or being published"
            last = local_time(one.at_ms)
            shown.add_row(one.name, one.topic, f"{one.rows_done:,}", of, f"{one.bad_lines:,}", state, last, one.by)
        console().print(shown)
    for error in known.unreadable.values():
        echo(str(error), err=True)
    tell_missing(missing)


def _fields(one: Publication) -> dict[str, Any]:
    from schemas.time_text import text_of_ms

    return {
        "file": one.name,
        "topic": one.topic,
        "complete": one.complete,
        "events_done": one.rows_done,
        "events": one.rows,
        "bad_lines": one.bad_lines,
        "times": one.round,
        "began": text_of_ms(one.began_ms),
        "last": text_of_ms(one.at_ms),
        "by": one.by,
        "content_sha256": one.content,
        "content_bytes": one.size,
        "mapping": one.mapping,
        "event_ids_begin_with": one.id_prefix,
    }
