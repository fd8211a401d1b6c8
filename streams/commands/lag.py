"""`rescore lag`: are scores current?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import Exit, fail
from streams.commands.common import AsJson, guarded, settings
from streams.terminal import echo, print_json, say

if TYPE_CHECKING:
    from streams.monitoring.lag import Answer, Look, StoreLook
    from streams.settings import Settings

LOOK_SECONDS = 0.2
OPEN_SECONDS = 0.5
"""How long one of the smaller questions waits for an open transaction: the answer names it anyway."""


@guarded
def lag(
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="How long to watch whether records are taken.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Say in one word whether scores are current, why not, and what to do next; exit code 0 where they are.

    OK; BEHIND (being taken, not all yet, or a publisher's transaction is open); STALLED (not being taken); HALTED (a
    partition waits for a person); REBALANCING; STOPPED (no worker).

    Example: rescore lag --json | jq -r .verdict
    """
    from streams.monitoring.lag import Verdict

    answer, second, store = answered(settings(), seconds)
    if as_json:
        print_json(_plain(answer, second, store))
    else:
        say((answer.verdict.value, "bold"), f"  {answer.sentence}")
        echo(f"next: {answer.next}", err=True)
    if answer.verdict is not Verdict.OK:
        raise typer.Exit(Exit.FAILURE)


def answered(chosen: Settings, seconds: float) -> tuple[Answer, Look, StoreLook | None]:
    """The verdict on a deployment, and what it rests on. Fails if Redis does not answer and nothing else is wrong."""
    from streams.monitoring.lag import NOTHING_SEEN, Verdict, judge

    first, second = _watched(chosen, seconds)
    store, missing = _store_look(chosen, second)
    answer = judge(first, second, store or NOTHING_SEEN, time.time_ns() // 1_000_000)
    if answer.verdict is Verdict.STALLED and chosen.clock == "records":
        answer = _learning(chosen, answer)
    if missing and answer.verdict is Verdict.OK:
        what = "nothing waits; whether a partition is halted, or its rows are being restored, is not known"
        fail(f"{what}: {missing}", "check RESCORE_REDIS__URL, and ask again", Exit.UNREACHABLE)
    if missing:
        answer = answer._replace(sentence=f"{answer.sentence}; {missing}")
    return answer, second, store


def _plain(answer: Answer, look: Look, store: StoreLook | None) -> dict[str, Any]:
    """The answer for programs."""
    from schemas.time_text import text_of_ms

    return {
        "verdict": answer.verdict.value,
        "sentence": answer.sentence,
        "next": answer.next,
        "waiting": {f"{topic}/{partition}": count for (topic, partition), count in look.waiting.items() if count},
        "open_transactions": [
            {
                "place": one.place,
                "offset": one.offset,
                "offsets_behind": one.end - one.offset,
                "since": None if one.since_ms is None else text_of_ms(one.since_ms),
            }
            for _, one in sorted(look.open.items())
        ],
        "halted": {} if store is None else {str(number): why for number, why in sorted(store.halted.items())},
    }


def _watched(chosen: Settings, seconds: float) -> tuple[Look, Look]:
    """Two looks: the same one where nothing waits, else so many seconds apart.

    Where nothing but open transactions keeps from saying that all is taken, the second look comes once they have ended.
    """
    from streams.kafka.groups import are_open

    first = _look(chosen)
    if not first.records and not first.open:
        return first, first
    until = first.at_seconds + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, seconds if first.records else LOOK_SECONDS))
        if not first.records and not are_open(chosen.kafka, first.open.values()):
            break
    return first, _look(chosen)


def _learning(chosen: Settings, answer: Answer) -> Answer:
    """The same answer with what is to be learned first, where that is what everything waits for."""
    from schemas.batch import FOREVER_MS
    from streams.audit.reading import last_progress
    from streams.composition.registry import values
    from streams.composition.versions import known_versions
    from streams.kafka.client import require_topics
    from streams.kafka.topics import STATE_TOPIC
    from streams.log.open_transactions import BehindOpenTransaction
    from streams.monitoring.lag import waits_for_learning
    from streams.processing.wire import wire_of

    topic, decode = chosen.topic(STATE_TOPIC), wire_of(values(chosen)).progress.decode
    count = require_topics(chosen.kafka, [topic])[topic]
    try:
        known = known_versions(chosen, open_seconds=OPEN_SECONDS)
        if known.limit_ms >= FOREVER_MS:
            return answer
        found = {p: last_progress(chosen.kafka, (topic, p), decode, OPEN_SECONDS) for p in range(count)}
    except BehindOpenTransaction as behind:
        return answer._replace(sentence=f"{answer.sentence}; whether time waits for the learner is not known: {behind}")
    clocks = [progress.clock_ms for progress, _ in (one for one in found.values() if one is not None)]
    if max(clocks, default=0) < known.limit_ms:
        return answer
    marks = {p: None if one is None else one[0].marked_ms for p, one in found.items()}
    return waits_for_learning(answer, known.limit_ms + 1, known.next_boundary_ms, marks)


def _look(chosen: Settings) -> Look:
    from schemas.kinds import INPUT_TOPICS
    from streams.kafka.client import require_topics
    from streams.kafka.groups import group_of, waiting_of
    from streams.monitoring.lag import Look

    counts = require_topics(chosen.kafka, [chosen.topic(name) for name in INPUT_TOPICS])
    group = group_of(chosen.kafka, chosen.app, counts)
    waiting = waiting_of(chosen.kafka, counts, group.committed)
    return Look(time.monotonic(), group.workers, group.state, group.committed, waiting.records, waiting.open)


def _store_look(chosen: Settings, look: Look) -> tuple[StoreLook | None, str]:
    """What Redis says of the partitions; nothing and why, where it does not answer."""
    from contextlib import closing

    from state.errors import StoreUnavailable
    from state.redis_store import RedisStore
    from streams.monitoring.lag import OVERDUE_MS, StoreLook

    partitions = len({partition for _, partition in look.waiting})
    store = RedisStore(
        chosen.redis.url.get_secret_value(),
        chosen.app,
        partitions,
        timeout_seconds=min(chosen.redis.timeout_seconds, 2.0),
        connect_timeout_seconds=min(chosen.redis.connect_timeout_seconds, 2.0),
    )
    try:
        with closing(store):
            halted = store.halts.read(partitions)
            found = {number: store.earliest_due_at(number) for number in range(partitions) if number not in halted}
    except StoreUnavailable as away:
        return None, str(away)
    restoring = tuple(number for number, (_, held) in found.items() if held is not None and not held.ready)
    latest_ms = time.time_ns() // 1_000_000 - OVERDUE_MS
    dues = {number: due_ms for number, (due_ms, _) in found.items() if due_ms is not None and due_ms < latest_ms}
    return StoreLook(halted, restoring, dues if chosen.clock == "wall" else {}), ""
