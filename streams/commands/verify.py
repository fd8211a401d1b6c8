"""`rescore verify`: is everything that was committed what the log leads to?"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import Exit, fail
from streams.commands.common import AsJson, guarded, settings
from streams.terminal import echo, error_console, print_json, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from state.versions import Versions
    from streams.audit.compare import Difference
    from streams.audit.partition import Job, Result
    from streams.log.progress import Progress
    from streams.settings import Settings

RECORDS_PER_PIECE = 500_000
"""Customers of larger partitions are compared in pieces, so that the memory of a process stays at some 500 MB."""

RECORDS_WORTH_A_PROCESS = 20_000
"""Fewer are recounted in this process, before another one could have loaded its compiled formulas."""

LOOK_SECONDS = 0.2
SHOWN_MAX = 5
LOOKS_MAX = 4
"""So often customers that change while they are read are looked at again."""


@guarded
def verify(
    users: Annotated[
        list[str] | None, typer.Option("--user", metavar="USER", help="Only this customer (repeatable).")
    ] = None,
    requests: Annotated[
        list[int] | None,
        typer.Option(
            "--request", min=0, max=2**53 - 1, help="Only this request, of one that names no customer (repeatable)."
        ),
    ] = None,
    partitions: Annotated[
        list[int] | None, typer.Option("--partition", metavar="N", min=0, help="Only this partition (repeatable).")
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Processes at once; 0: as many as there are cores.")] = 0,
    readable: Annotated[
        bool, typer.Option("--readable", help="By the readable formulas, not the worker's compiled ones (slow).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute every score from the log and compare it byte for byte with what was published.

    Compares changes in their order, after-images, scorecards, the journal, dead letters and the rows in Redis, up to
    the last progress record of each partition. Workers may be running. Exit code 0: equal; 1: different, and the first
    difference is named.

    Examples:

      rescore verify

      rescore verify --user c-000417 --readable
    """
    from schemas.row_keys import name_of, request_key

    if users and "" in users:
        fail("--user names nobody", "rescore verify --user USER", Exit.USAGE)
    began = time.monotonic()
    rows = [*(user.encode() for user in users or ()), *(request_key(number) for number in requests or ())]
    results = compare(settings(), rows, partitions, readable, jobs)
    if not results:
        fail("nothing was committed yet that could be compared", "rescore worker; rescore lag says how far it is")
    seconds = time.monotonic() - began
    if rows and not any(result.customers or result.requests or result.unprovable for result in results):
        named = ", ".join(name_of(row) for row in rows)
        fail(f"nothing was ever said of {named}", "check the user_id (it is case-sensitive), or the request_id")
    if as_json:
        print_json(as_plain(results, seconds))
    else:
        _show(results, seconds)
    if any(result.differing for result in results):
        raise typer.Exit(Exit.FAILURE)


@functools.wraps(verify)
def replay(*args: Any, **kwargs: Any) -> None:
    """The former name of `verify`, for one release."""
    echo("`rescore replay` is now `rescore verify`; the next release no longer knows the old name", err=True)
    verify(*args, **kwargs)


def compare(
    chosen: Settings,
    users: Sequence[bytes] = (),
    partitions: Sequence[int] | None = None,
    readable: bool = False,
    jobs: int = 0,
) -> list[Result]:
    """Compare a deployment, or a part of it, as it stands now. Nothing where nothing was committed.

    `users` are keys of rows (`schemas.row_keys`): user_ids, and those of requests without one. Customers that changed
    while they were read are compared again as they stand then, and the rest of them are noted as not compared.
    """
    from schemas.row_keys import record_key
    from streams.composition.registry import partition_of

    owned: dict[int, frozenset[bytes]] = {}
    if users:
        count = _partitions(chosen)
        numbers = {user: partition_of(chosen, record_key(user).decode(), count) for user in users}
        owned = {number: frozenset(u for u in users if numbers[u] == number) for number in numbers.values()}
    results = _run(_jobs(chosen, owned, partitions, readable), jobs)
    for _ in range(LOOKS_MAX):
        moving: dict[int, frozenset[bytes]] = {}
        for one in results:
            if one.moving:
                moving[one.partition] = moving.get(one.partition, frozenset()) | one.moving
        if not moving:
            break
        again = {one.partition: one for one in _run(_jobs(chosen, moving, None, readable), jobs)}
        for one in results:
            if one.moving:
                _settle(one, again.pop(one.partition, None))
    return results


def _settle(result: Result, again: Result | None) -> None:
    """Take over what another look at the customers in motion has found. One look serves all pieces of a partition."""
    result.moving = set() if again is None else again.moving
    if again is not None:
        new = [one for one in again.differences if one not in result.differences]
        result.cards += again.cards
        result.differing += len(new)
        result.differences += new


def _partitions(chosen: Settings) -> int:
    from streams.kafka.client import require_topics

    name = chosen.topic("rescore-state")
    return require_topics(chosen.kafka, [name])[name]


def _jobs(
    chosen: Settings, owned: Mapping[int, frozenset[bytes]], partitions: Sequence[int] | None, readable: bool
) -> list[Job]:
    """The pieces to compare, or the rows in `owned` by partition. Fixes where each partition is compared up to."""
    from streams.audit.partition import Job
    from streams.audit.reading import Names, fixed_partitions

    names = Names.of(chosen.topic)
    count = _partitions(chosen)
    if unknown := sorted(number for number in partitions or () if number >= count):
        words = ", ".join(map(str, unknown))
        fail(f"there is no partition {words}", f"{names.state} has partitions 0 to {count - 1}", Exit.USAGE)
    wanted = set(owned) or (set(partitions) if partitions else None)
    fixed = fixed_partitions(chosen.kafka, names, wanted, _progress_codec(chosen))
    versions = versions_of(chosen)
    made = []
    for one in fixed:
        pieces = 1 if owned else 1 + one.records(names) // RECORDS_PER_PIECE
        some = owned.get(one.partition)
        made += [Job(chosen, versions, count, one, piece, pieces, some, readable) for piece in range(pieces)]
    return made


def _progress_codec(chosen: Settings) -> Callable[[bytes], Progress]:
    from streams.composition.registry import values
    from streams.processing.wire import wire_of

    return wire_of(values(chosen)).progress.decode


def versions_of(chosen: Settings, open_seconds: float | None = None) -> Versions:
    """Every version that the broadcast topics hold now; later ones cannot be in force yet.

    Raises BehindOpenTransaction, by default after the seconds of `read`.
    """
    from streams.composition.versions import known_versions

    return known_versions(chosen, open_seconds=open_seconds).versions


def _run(todo: Sequence[Job], jobs: int) -> list[Result]:
    """Compare all pieces, several at once, and show how far it is."""
    if not todo:
        return []
    import multiprocessing
    import os
    from concurrent.futures import ProcessPoolExecutor

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from streams.audit.partition import compare_part, tell_through
    from streams.audit.reading import Names

    names = Names.of(todo[0].settings.topic)
    total = sum(job.fixed.records(names) // job.pieces for job in todo)
    few = total < RECORDS_WORTH_A_PROCESS or todo[0].users is not None
    at_once = min(jobs or (1 if few else os.cpu_count() or 1), len(todo))
    if at_once == 1:
        return [compare_part(job) for job in todo]
    # Not forked: the client of Kafka has threads, which a fork would leave behind.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    columns = (
        TextColumn("recounting"), BarColumn(), MofNCompleteColumn(), TextColumn("records"),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with (
        ProcessPoolExecutor(at_once, context, tell_through, (counter,)) as pool,
        Progress(*columns, console=error_console(), transient=True) as bar,
    ):
        task, began = bar.add_task("", total=total, rate=""), time.monotonic()
        futures = [pool.submit(compare_part, job) for job in todo]
        while not all(future.done() for future in futures):
            time.sleep(LOOK_SECONDS)
            rate = counter.value / (time.monotonic() - began)
            bar.update(task, completed=counter.value, rate=f"{rate:,.0f}/s" if rate else "")
        return [future.result() for future in futures]


def verdict(results: Sequence[Result], seconds: float) -> str:
    """The result in one line."""
    events, changes, customers, requests = (
        sum(getattr(result, name) for result in results) for name in ("events", "changes", "customers", "requests")
    )
    partitions = len({result.partition for result in results})
    whose = _of(customers, "customer") + (f", {_of(requests, 'request')} without one" if requests else "")
    counted = f"{events:,} events, {changes:,} changes, {whose}, {_of(partitions, 'partition')}"
    differing = sum(result.differing for result in results)
    rate = f"   ({seconds:.1f} s, {events / max(seconds, 1e-3):,.0f} events/s)"
    if differing:
        return f"DIFFERENT: {_of(differing, 'difference')} in {counted}{rate}"
    if not customers and not requests:
        return f"nothing to compare: {counted}{rate}"
    return f"equal: {counted}{rate}"


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _differences(results: Sequence[Result]) -> list[Difference]:
    """All that were kept, the earliest first."""
    return sorted((one for result in results for one in result.differences), key=lambda one: (one.at_ms, one))


def _show(results: Sequence[Result], seconds: float) -> None:
    for line in _lines(results, seconds):
        echo(line)


def _lines(results: Sequence[Result], seconds: float) -> list[str]:
    """The verdict first, then what differs, then what was and what was not compared."""
    from streams.versions.schema.base import printable

    found = _differences(results)
    lines = [verdict(results, seconds)]
    for number, one in enumerate(found[:SHOWN_MAX]):
        lines.append(f"{'first difference' if number == 0 else 'and'}: {printable(f'{one.user}: {one.sentence}')}")
    if len(found) > SHOWN_MAX:
        lines.append(f"and {sum(r.differing for r in results) - SHOWN_MAX:,} more; --json tells them")
    if found:
        user, request_id = quoted(found[0].user), found[0].request_id
        whom, which = (user, f"--user {user}") if request_id is None else (f"--request {request_id}",) * 2
        lines.append(f"next: rescore explain {whom}; rescore verify {which} --readable")
    total = {name: sum(getattr(r, name) for r in results) for name in ("cards", "stored", "letters", "pending")}
    lines.append(
        f"also compared: {total['cards']:,} scorecards, {total['stored']:,} rows in the store; "
        f"{total['letters']:,} events are dead letters, decided once"
    )
    if total["pending"]:
        lines.append(f"{total['pending']:,} changes are due by time and not said yet: a worker says them")
    if unprovable := sum(result.unprovable for result in results):
        lines.append(
            f"not proven: {unprovable:,} customers, whose first events retention has removed; longer retention.ms helps"
        )
    if moving := sum(len(result.moving) for result in results):
        lines.append(
            f"not compared: {_of(moving, 'customer')}, whose rows a worker wrote again each time they were read; "
            "run it again"
        )
    return lines + sorted({note for result in results for note in result.notes})


def as_plain(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """The result for programs."""
    names = (
        "events",
        "letters",
        "changes",
        "customers",
        "requests",
        "cards",
        "stored",
        "pending",
        "unprovable",
        "differing",
    )
    return {
        "equal": not any(result.differing for result in results),
        "partitions": len({result.partition for result in results}),
        **{name: sum(getattr(result, name) for result in results) for name in names},
        "moving": sum(len(result.moving) for result in results),
        "seconds": round(seconds, 3),
        "notes": sorted({note for result in results for note in result.notes}),
        "differences": [one._asdict() for one in _differences(results)],
    }
