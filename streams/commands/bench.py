"""`rescore bench`: how fast a worker is on this machine, and beside what else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import Exit, fail
from streams.commands.common import AsJson, guarded
from streams.terminal import console, echo, print_json, table

if TYPE_CHECKING:
    from local.bench.latency import Latency
    from local.bench.throughput import BenchResult
    from local.bench.world import World

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Users = Annotated[int | None, typer.Option(min=100, help="How many customers.")]
JsonFile = Annotated[Path | None, typer.Option("--json-file", metavar="FILE", help="Write the result there as well.")]


def say(words: str) -> None:
    """A line to people, who may have redirected the results."""
    echo(words, err=True)


@contextmanager
def a_world(**settings: str) -> Iterator[World]:
    """Servers in a temporary folder."""
    from local.bench.world import world

    with tempfile.TemporaryDirectory(prefix="rescore-bench-") as folder, world(Path(folder), **settings) as here:
        yield here


@app.callback()
@guarded
def bench(
    context: typer.Context,
    users: Users = None,
    events: Annotated[int, typer.Option(min=1_000, help="How many transactions are measured a round.")] = 1_000_000,
    uniform: Annotated[bool, typer.Option("--uniform", help="All customers alike, instead of Zipf 1.1.")] = False,
    peers: Annotated[
        str, typer.Option(help="Engines beside it, by comma: kafka-streams, flink, quix, faust; all; none.")
    ] = "none",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the figures are their medians.")] = 1,
    hours: Annotated[float, typer.Option(min=0.1, help="Time the stream spans; from 17 on over a midnight.")] = 11.0,
    json_file: JsonFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure events per CPU-second: every score computed, every output written, exactly once.

    Customers have a past of 100 transactions and two loans each. Machines differ: compare figures of one run.

    Example: rescore bench --uniform --peers all --rounds 3 --json-file uniform.json
    """
    if context.invoked_subcommand is not None:
        return
    from local.bench.engines import PEERS
    from local.bench.throughput import BenchOptions, run
    from local.servers.jars import cache_folder

    chosen = {"none": (), "all": tuple(PEERS)}.get(peers, tuple(peers.split(",")))
    if unknown := [name for name in chosen if name not in PEERS]:
        fail(f"no engine is called {', '.join(unknown)}", f"choose of {', '.join(PEERS) or 'none'}", Exit.USAGE)
    options = BenchOptions(
        users=users or (1_000_000 if uniform else 100_000),
        events=events,
        zipf=None if uniform else 1.1,
        rounds=rounds,
        hours=hours,
        peers=chosen,
    )
    with a_world() as here:
        found = run(here, options, cache_folder() / "bench", say)
    _tell(found.as_json(), json_file, as_json)
    if not as_json:
        _show(found)


Rate = Annotated[int, typer.Option(min=10, max=50_000, help="Events a second.")]


@app.command()
@guarded
def latency(
    rate: Rate = 5_000,
    seconds: Annotated[float, typer.Option(min=1, help="How long it is measured, after 10 s of warming up.")] = 30.0,
    users: Annotated[int, typer.Option(min=100, help="How many customers.")] = 100_000,
    json_file: JsonFile = None,
    as_json: AsJson = False,
) -> None:
    """Milliseconds from an event's stamp by the broker to its change at a read_committed subscriber.

    One worker, then a bare pipe, at the same even pace. Do not run it shortly before midnight UTC.

    Example: rescore bench latency --rate 10000
    """
    import time

    from local.bench.latency import LatencyOptions, run
    from local.servers.jars import cache_folder

    with a_world(CLOCK="wall") as here:
        options = LatencyOptions(rate=rate, seconds=seconds, users=users)
        found = run(here, options, cache_folder() / "bench", int(time.time() * 1000))
    _tell(found.as_json(), json_file, as_json)
    if not as_json:
        echo(f"from the broker's stamp to a read_committed subscriber, at {rate:,} events/s")
        _show_latencies(found.of)


@app.command()
@guarded
def midnight(
    rate: Rate = 1_000,
    seconds: Annotated[float, typer.Option(min=1, help="How long events go on behind midnight.")] = 90.0,
    users: Annotated[int, typer.Option(min=100, help="How many customers, all due at this midnight.")] = 1_000_000,
    json_file: JsonFile = None,
    as_json: AsJson = False,
) -> None:
    """By how much the turn of the day, when every customer's time comes at once, holds up events.

    Example: rescore bench midnight --users 1000000 --rate 1000
    """
    from local.bench.latency import MidnightOptions
    from local.bench.latency import midnight as measure
    from local.servers.jars import cache_folder

    with a_world() as here:
        found = measure(here, MidnightOptions(rate, users, seconds=seconds), cache_folder() / "bench")
    _tell(found.as_json(), json_file, as_json)
    if not as_json:
        _show_latencies([found.before, found.after])
        echo(f"{found.slides:,} slides taken within {found.slides_seconds:.1f} s of midnight")


@app.command()
@guarded
def restore(
    users: Annotated[int, typer.Option(min=100, help="How many customers.")] = 1_000_000,
    json_file: JsonFile = None,
    as_json: AsJson = False,
) -> None:
    """Seconds to rebuild an empty store, to the first event of a restarted worker, to move partitions.

    Example: rescore bench restore --users 1000000
    """
    from local.bench.restore import RestoreOptions, run
    from local.servers.jars import cache_folder

    with a_world() as here:
        found = run(here, RestoreOptions(users), cache_folder() / "bench", say)
    _tell(found.as_json(), json_file, as_json)
    if not as_json:
        size = users * found.row_bytes / 2**20
        echo(
            f"empty store: {found.restore_seconds:.1f} s for {users:,} customers, {size:,.0f} MB of rows "
            f"({found.restore_start_seconds:.1f} s from the start of the process, which took "
            f"{found.restore_cpu_seconds:.1f} s of CPU)"
        )
        echo(
            f"store as it was left: first event {found.warm_first_seconds:.1f} s after the process's start "
            f"({found.warm_cpu_seconds:.1f} s of CPU)"
        )
        moved = ", ".join(f"{partition}: {seconds:.1f} s" for partition, seconds in found.move_seconds.items())
        echo(f"moved to a second worker, by partition: {moved or 'none'}")


@app.command()
@guarded
def page(
    results: Annotated[Path, typer.Argument(help="Folder of JSON files, named as docs/benchmarks.md says.")],
    docs: Annotated[Path, typer.Option(help="Where benchmarks.md and benchmarks.svg are.")] = Path("docs"),
) -> None:
    """Write what was measured, and its picture, into docs/benchmarks.md.

    Example: rescore bench page benchmarks/results
    """
    from local.bench.page import write

    if not results.is_dir() or not (docs / "benchmarks.md").is_file():
        fail(f"there is no {results} or no {docs / 'benchmarks.md'}", "run it in a checkout of the project")
    told = write(results, docs / "benchmarks.md", docs / "benchmarks.svg")
    echo(f"{docs / 'benchmarks.md'} and benchmarks.svg, of {', '.join(told) or 'nothing'}")


@app.command()
@guarded
def parts(
    users: Users = None,
    events: Annotated[int, typer.Option(min=20_000, help="Transactions, of which a quarter is taken.")] = 400_000,
    uniform: Annotated[bool, typer.Option("--uniform", help="All customers alike, instead of Zipf 1.1.")] = False,
    json_file: JsonFile = None,
    as_json: AsJson = False,
) -> None:
    """What each part of a batch costs that talks to no server: CPU microseconds an event, in one process.

    Example: rescore bench parts --uniform
    """
    from local.bench.parts import run
    from local.servers.jars import cache_folder

    chosen = users or (1_000_000 if uniform else 100_000)
    found = run(chosen, events, None if uniform else 1.1, cache_folder() / "bench")
    _tell(found.as_json(), json_file, as_json)
    if not as_json:
        for name, microseconds in found.parts.items():
            echo(f"{microseconds:>8.2f} us  {name}")
        echo(f"{sum(found.parts.values()):>8.2f} us  an event, of {found.events:,} in {found.batches} batches")


@app.command()
@guarded
def learning(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the hot path; of each batch the least counts.")] = 9,
    records: Annotated[int, typer.Option(min=10, help="Records in a batch.")] = 1_000,
    waiting: Annotated[int, typer.Option(min=100, help="Cases that wait in the learner.")] = 250_000,
    json_file: JsonFile = None,
    as_json: AsJson = False,
) -> None:
    """What learning costs: the hot path beside the same without it, cases a CPU-second, memory of waiting cases.

    The same stream in one process, batch by batch in turns, where nobody, one in ten, everyone has declared something.

    Example: rescore bench learning --rounds 15
    """
    from local.bench.learner import learning as measured_learning
    from local.bench.learner import memory
    from local.bench.learning import Size, run

    tell = say if as_json else echo
    hot = []
    for one in run(Size(rounds=rounds, records=records)):
        hot.append(one)
        tell(
            f"{one.declared_share:.0%} have declared: {one.microseconds:.2f} us an event without learning; examples of "
            f"the value model {one.value_share:+.1%}, with cases {one.cases_share:+.1%}, with descriptions "
            f"{one.whole_share:+.1%} (rounds {one.rounds[0]:+.1%} to {one.rounds[-1]:+.1%}; {one.events:,} events, "
            f"{sum(one.said.values()):,} examples)"
        )
    learned = [measured_learning(20_000 if per_epoch > 100 else 2_000, per_epoch) for per_epoch in (20, 200, 2_000)]
    for each in learned:
        tell(
            f"learner, {each.cases_an_epoch:,} cases an epoch: {each.cases_a_second:,.0f} cases a CPU-second, "
            f"{each.bytes:,.0f} bytes written each"
        )
    held = memory(waiting)
    tell(
        f"{held.cases:,} cases wait: {held.bytes_held:,.0f} bytes each ({held.bytes_told:,.0f} told), restored in "
        f"{held.restore_seconds:.1f} s; one more takes {held.added:.0f} us, {held.added_when_full:.0f} when full"
    )
    found: dict[str, object] = {"hot_path": [one.as_json() for one in hot]}
    found |= {"learner": [each.as_json() for each in learned], "waiting": held.as_json()}
    _tell(found, json_file, as_json)


@app.command(name="bytes")
@guarded
def bytes_(
    users: Annotated[int, typer.Option(min=100, help="How many customers.")] = 100_000,
    json_file: JsonFile = None,
    as_json: AsJson = False,
) -> None:
    """Bytes of Redis of the typical customer: 100 transactions on 87 days of the last year and two loans.

    Example: rescore bench bytes
    """
    from local.bench.bytes import run
    from local.servers.jars import cache_folder

    with a_world() as here:
        found = run(here, users, cache_folder() / "bench")
    _tell(found.as_json(), json_file, as_json)
    if not as_json:
        for name, count in found.parts.items():
            echo(f"{count:>8.1f}  {name}")
        echo(f"{found.row:>8.1f}  the row")
        echo(f"{found.around:>8.1f}  key, due time and what the server keeps about them")
        echo(f"{found.whole:>8.1f}  bytes a customer, of {found.users:,}")


@app.command()
@guarded
def scale(
    sizes: Annotated[str, typer.Option(help="Numbers of customers, by comma.")] = "1000,10000,100000,1000000",
    events: Annotated[int, typer.Option(min=1_000, help="Transactions of each.")] = 300_000,
    json_file: JsonFile = None,
    as_json: AsJson = False,
) -> None:
    """Whether an event costs the same however many customers there are; all alike, each time on new servers.

    Example: rescore bench scale --sizes 1000,100000 --json-file scale.json
    """
    from local.bench.throughput import BenchOptions, run
    from local.servers.jars import cache_folder

    found: list[dict[str, object]] = []
    for users in map(int, sizes.split(",")):
        with a_world() as here:
            options = BenchOptions(users=users, events=events, zipf=None, bare=False)
            result = run(here, options, cache_folder() / "bench", say)
        found.append(result.as_json())
        ours = result.engines[0]
        if not as_json:
            echo(
                f"{users:>12,} customers: {ours.events_per_cpu_second:>8,} events per CPU-second, "
                f"{result.store_bytes_per_user:,} bytes of Redis each, the worker {ours.memory_mb:,} MB"
            )
    _tell({"scale": found}, json_file, as_json)


def _show_latencies(found: Sequence[Latency]) -> None:
    for one in found:
        echo(
            f"{one.name:<24} p50 {one.p50:.0f} ms, p99 {one.p99:.0f} ms, p99.9 {one.p999:.0f} ms, "
            f"most {one.most:.0f} ms of {one.count:,} changes; CPU {one.cpu_share:.0%} of a core"
        )


def _tell(result: dict[str, object], json_file: Path | None, as_json: bool) -> None:
    """The result for machines, to where they asked for it."""
    if json_file:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json(result)


def _show(found: BenchResult) -> None:
    ours, bare = found.of("rescore"), found.of("bare pipe")
    load = "uniform" if found.options.zipf is None else f"Zipf {found.options.zipf}"
    shown = table(
        title=f"{found.options.events:,} events a round of {found.options.users:,} customers, {load}", lined=True
    )
    for name in ("", "events per CPU-second", "events per second", "MB", "Rescore is", "of the bare pipe"):
        shown.add_column(name, justify="left" if not name else "right")
    for each in found.engines:
        times = f"{ours.events_per_cpu_second / each.events_per_cpu_second:.2f} x" if ours and each is not ours else ""
        share = f"{each.events_per_cpu_second / bare.events_per_cpu_second:.0%}" if bare else ""
        shown.add_row(
            f"{each.name}: {each.says}",
            f"{each.events_per_cpu_second:,}",
            f"{each.events_per_wall_second:,}",
            f"{each.memory_mb:,}",
            times,
            share,
        )
    console().print(shown)
    steps = ", ".join(f"{step} {microseconds:.2f}" for step, microseconds in found.steps.items())
    echo(f"microseconds an event in the worker's batches: {steps}")
    echo(", ".join(f"{name} {count:,}" for name, count in found.counted.items()))
    echo(f"{found.store_bytes_per_user:,} bytes of Redis a customer, all overhead counted")
    for name, why in found.left_out.items():
        echo(f"left out: {name}: {why}")
