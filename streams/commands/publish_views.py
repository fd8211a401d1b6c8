"""What `rescore publish` shows of files before it sends anything: the first events, or what the files hold."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from streams.terminal import echo, print_json

if TYPE_CHECKING:
    from streams.commands.publish_job import Job
    from streams.publish.checks import Summary
    from streams.publish.events import Event
    from streams.publish.files import Header
    from streams.publish.identity import RepeatedIds
    from streams.publish.rows import Fields

DRY_RUN_EVENTS = 10


def show_events(job: Job) -> RepeatedIds:
    """The first events of each file as they would be sent; the others are read and checked as well, with their ids."""
    from schemas.time_text import text_of_ms
    from streams.publish.identity import RepeatedIds

    repeated = RepeatedIds()
    for number in range(len(job.sources)):
        first: list[tuple[Event, Fields]] = []

        def keep(event: Event, fields: Fields, first: list[tuple[Event, Fields]] = first) -> None:
            if len(first) < DRY_RUN_EVENTS and job.within(event.time_ms):
                first.append((event, fields))

        for event in job.events(number, take=keep):
            repeated.take(event)
        for event, fields in first:
            timestamp = text_of_ms(event.time_ms) if job.settings.clock == "records" else "set by the broker"
            value = {name: one for name, one in fields.items() if one is not None}
            print_json({"topic": event.topic, "key": event.key.decode(), "timestamp": timestamp, "value": value})
        _tell_unread(job.header)
    return repeated


def show_summaries(job: Job) -> RepeatedIds:
    """What each file holds: rows, customers, dates, sums, bad lines. Returns what is wrong with the ids of all."""
    from streams.publish.checks import Summary
    from streams.publish.identity import RepeatedIds

    repeated = RepeatedIds()
    for number, source in enumerate(job.sources):
        summary, bad_before, repeated_before = Summary(source.topic), job.bad_lines, repeated.count

        def keep(event: Event, fields: Fields, summary: Summary = summary) -> None:
            if job.within(event.time_ms):
                summary.take(event, fields)

        def left_out(_number: int, summary: Summary = summary) -> None:
            summary.left_out += 1

        for event in job.events(number, take=keep, leave_out=left_out):
            repeated.take(event)
        _show_summary(source.name, summary, job.bad_lines - bad_before, repeated.count - repeated_before)
        _tell_unread(job.header)
    return repeated


def _show_summary(name: str, summary: Summary, bad_lines: int, repeated_ids: int) -> None:
    from schemas.time_text import text_of_ms

    echo(f"{name}: {summary.topic}")
    lines = [("rows", f"{len(summary.rows):,}")]
    if summary.events != len(summary.rows):
        lines.append(("events", f"{summary.events:,}"))
    if summary.left_out:
        lines.append(("left out", f"{summary.left_out:,} by where or a lookup"))
    lines.append(("customers", f"{len(summary.customers):,}"))
    if summary.first_ms is not None and summary.last_ms is not None:
        lines += [("from", text_of_ms(summary.first_ms)), ("to", text_of_ms(summary.last_ms))]
    for currency, money_in, money_out in summary.currencies():
        lines += [(f"{currency} in", _money(money_in)), (f"{currency} out", _money(money_out))]
    lines += [("not in the sums", f"{count:,} {what}") for what, count in summary.not_summed.items()]
    lines.append(("bad lines", f"{bad_lines:,}"))
    lines.append(("repeated ids", f"{repeated_ids:,}"))
    echo(*(f"  {label:<16}{text}" for label, text in lines))


def _money(amount: Decimal) -> str:
    """At least two decimals, and all there are."""
    exponent = amount.as_tuple().exponent
    return f"{amount:,f}" if isinstance(exponent, int) and exponent < -2 else f"{amount:,.2f}"


def _tell_unread(header: Header | None) -> None:
    from streams.publish.columns import listed

    if header and header.unread:
        echo(f"columns that are not read: {listed(header.unread)}", err=True)
