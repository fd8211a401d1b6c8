"""The measured part of docs/benchmarks.md and its picture, made of the JSON files that `rescore bench ...` writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LOADS = ("zipf", "uniform")
WIDTH, LEFT, BAR, GAP = 920, 190, 20, 8
STYLE = """\
  text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 }
  .other { fill: #8c959f } .bare { fill: #bf8700 } .ours { fill: #0969da }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .ours { fill: #4493f8 } .bare { fill: #d29922 } }"""

Found = Mapping[str, Any]


def write(results: Path, page: Path, picture: Path) -> list[str]:
    """Write both; returns the names of the files that were there. The rest of the page stays as it is."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(results.glob("*.json"))}
    text = page.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after and not rest:
        raise ValueError(f"{page} has no place for what was measured: it needs the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{measured(found)}\n{END}{after}", encoding="utf-8")
    picture.write_text(svg(found), encoding="utf-8")
    return list(found)


def measured(found: Found) -> str:
    """All tables that the files at hand give, in Markdown."""
    parts = [throughput(found[name]) for name in LOADS if name in found]
    for prefix, table in TABLES.items():
        parts += [table(found[name]) for name in found if name.startswith(prefix)]
    return "\n\n".join(parts)


def load_of(found: Found) -> str:
    """The load of a run in words."""
    options = found["options"]
    spread = "all alike" if options["zipf"] is None else f"Zipf {options['zipf']}"
    return f"{options['users']:,} customers, {spread}"


def throughput(found: Found) -> str:
    """Engines of one run, with what they reach of the bare pipe and how Rescore compares."""
    engines = found["engines"]
    speed = {engine["name"]: engine["events_per_cpu_second"] for engine in engines}
    ours, bare = speed["rescore"], speed.get("bare pipe")
    options = found["options"]
    rows = [
        (
            f"**{engine['name']}**" if engine["name"] == "rescore" else engine["name"],
            engine["says"],
            f"{engine['events_per_cpu_second']:,}",
            f"{engine['events_per_wall_second']:,}",
            f"{engine['events_per_cpu_second'] / bare:.0%}" if bare else "",
            "" if engine["name"] == "rescore" else f"{ours / engine['events_per_cpu_second']:.2f} x",
        )
        for engine in sorted(engines, key=lambda engine: -engine["events_per_cpu_second"])
    ]
    head = ("", "does", "events per CPU-second", "events per second", "of the bare pipe", "Rescore is")
    steps = ", ".join(f"{step} {microseconds}" for step, microseconds in found["steps"].items())
    counted = found["counted"]
    told = (
        f"{found['at'][:10]}, {options['events']:,} events a round, median of {options['rounds']} round(s), "
        f"on {found['cores']} cores with a load of {found['load_before']} before it began. Wall "
        f"microseconds an event in the worker's batches: {steps}. {counted['records_taken']:,} events led to "
        f"{counted['score_changes']:,} changes and {counted['rows_written']:,} rows."
    )
    left_out = "".join(f"\nLeft out: {name}: {why.splitlines()[0]}" for name, why in found["left_out"].items())
    return f"### Events per CPU-second: {load_of(found)}\n\n{_table(head, rows)}\n\n{told}{left_out}"


def latency(found: Found) -> str:
    """At one pace."""
    rows = [_milliseconds(one) for one in found["of"]]
    return f"### Latency at {found['options']['rate']:,} events a second\n\n{_table(LATENCY_HEAD, rows)}"


def midnight(found: Found) -> str:
    """The turn of the day."""
    rows = [_milliseconds(found[name]) for name in ("before", "after")]
    told = (
        f"{found['slides']:,} customers were looked at within {found['slides_seconds']} s of midnight; the p99 of "
        f"events was {found['after']['p99'] - found['before']['p99']:,.0f} ms above that before."
    )
    title = f"### Midnight, {found['options']['users']:,} customers due, {found['options']['rate']:,} events a second"
    return f"{title}\n\n{_table(LATENCY_HEAD, rows)}\n\n{told}"


LATENCY_HEAD = ("milliseconds", "p50", "p99", "p99.9", "most", "changes", "CPU of a core")


def _milliseconds(one: Found) -> tuple[str, ...]:
    figures = (f"{one[name]:,.0f}" for name in ("p50", "p99", "p999", "most"))
    return (one["name"], *figures, f"{one['count']:,}", f"{one['cpu_share']:.0%}")


def restore(found: Found) -> str:
    """An empty store, a warm one, a move."""
    users = found["options"]["users"]
    moved = ", ".join(f"{seconds} s" for seconds in found["move_seconds"].values())
    rows = [
        (f"empty store rebuilt, {users:,} customers of {found['row_bytes']} bytes", f"{found['restore_seconds']} s"),
        ("the same from the start of the process", f"{found['restore_start_seconds']} s"),
        ("CPU of the worker for it", f"{found['restore_cpu_seconds']} s"),
        ("store as it was left: first event after the process's start", f"{found['warm_first_seconds']} s"),
        ("CPU of the worker until then", f"{found['warm_cpu_seconds']} s"),
        ("partitions moved to a second worker, from word to word", moved),
    ]
    return f"### Restore, restart, move\n\n{_table(('', 'time'), rows)}"


def store_bytes(found: Found) -> str:
    """Of one customer."""
    rows = [(name, f"{count:,}") for name, count in found["parts"].items()]
    rows += [("the row", f"{found['row']:,}"), ("key, due time and what the server keeps", f"{found['around']:,}")]
    rows.append(("**all**", f"**{found['whole']:,}**"))
    told = f"At 10,000,000 customers (computed, not measured): {found['whole'] * 10:,.0f} MB."
    title = "### Bytes of Redis, the customer with 100 transactions and two loans"
    return f"{title}\n\n{_table(('', 'bytes'), rows)}\n\n{told}"


def scale(found: Found) -> str:
    """By number of customers."""
    rows = [
        (
            f"{one['options']['users']:,}",
            f"{one['engines'][0]['events_per_cpu_second']:,}",
            f"{one['store_bytes_per_user']:,}",
            f"{one['engines'][0]['memory_mb']:,} MB",
        )
        for one in found["scale"]
    ]
    head = ("customers", "events per CPU-second", "bytes of Redis each", "memory of the worker")
    return f"### By number of customers, all alike\n\n{_table(head, rows)}"


TABLES: dict[str, Callable[[Found], str]] = {
    "latency": latency,
    "midnight": midnight,
    "restore": restore,
    "bytes": store_bytes,
    "scale": scale,
}
"""By how the file's name begins."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def svg(found: Found) -> str:
    """Events per CPU-second as bars, a block a load.

    >>> svg({})[:4]
    '<svg'
    """
    blocks, top = [], 0
    for name in LOADS:
        if name in found:
            block, height = _bars(found[name]["engines"], load_of(found[name]), top)
            blocks.append(block)
            top += height
    size = f'viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
    inside = "\n".join(blocks)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<style>\n{STYLE}\n</style>\n{inside}\n</svg>\n'


def _bars(engines: Sequence[Found], title: str, top: int) -> tuple[str, int]:
    most = max(engine["events_per_cpu_second"] for engine in engines)
    drawn = [f'<text class="title" x="0" y="{top + 16}">events per CPU-second: {escape(title)}</text>']
    y = top + 28
    for engine in sorted(engines, key=lambda engine: -engine["events_per_cpu_second"]):
        length = max(1, round(engine["events_per_cpu_second"] / most * (WIDTH - LEFT - 90)))
        kind = {"rescore": "ours", "bare pipe": "bare"}.get(engine["name"], "other")
        middle = y + BAR - 5
        drawn += [
            f'<text x="{LEFT - 10}" y="{middle}" text-anchor="end">{escape(engine["name"])}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length}" height="{BAR}" rx="2"/>',
            f'<text x="{LEFT + length + 8}" y="{middle}">{engine["events_per_cpu_second"]:,}</text>',
        ]
        y += BAR + GAP
    return "\n".join(drawn), y - top + 16
