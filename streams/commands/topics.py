"""`rescore topics`: create the topics, or say what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from schemas.errors import Exit
from streams.commands.common import AsJson, guarded, settings
from streams.commands.go_live import go_live
from streams.composition.topics import options_of
from streams.terminal import echo, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.kafka.topics import Problem
    from streams.settings import Settings

app = typer.Typer(help="Create, check and repair the Kafka topics.", no_args_is_help=True)


@app.command()
@guarded
def apply(as_json: AsJson = False) -> None:
    """Create missing topics and correct their settings; register schemas where a registry is configured.

    May be repeated: what is right is left alone. Numbers of partitions of topics that are there are never changed, nor
    is the clock of topics with records: `rescore topics go-live` ends a history.
    Warns of a topic that was deleted and created again since workers took its records: partitions halt then. Warns if
    events are kept for ever, so that an erasure can never be proven.

    Example: RESCORE_PARTITIONS=12 rescore topics apply
    """
    from streams.kafka.client import admin_of, partition_counts
    from streams.kafka.topics import apply as apply_topics
    from streams.kafka.topics import found_topics, warnings

    chosen = settings()
    partition_counts(chosen.kafka)
    admin, options = admin_of(chosen.kafka), options_of(chosen)
    done = _other_clock(chosen) + apply_topics(admin, options)
    if chosen.registry.url is not None:
        from streams.composition.registry import registry_of

        done += [f"schema {subject}: id {number}" for subject, number in registry_of(chosen).register().items()]
    changed, warned = _changed_topics(chosen), warnings(options, found_topics(admin, options))
    if as_json:
        print_json({"done": done, "problems": _plain(changed), "warnings": _plain(warned)})
    else:
        for line in done:
            echo(line)
        for problem in changed:
            echo(f"workers will halt: {problem}", err=True)
        if not changed:
            next_ = "all topics are configured correctly; next: rescore worker" if done else "nothing to do"
            echo(next_, err=True)
        _warn(warned)


@app.command()
@guarded
def check(as_json: AsJson = False) -> None:
    """Say what is wrong with the topics and what to do about it; exit code 1 where anything is.

    Warns if events are kept for ever, so that an erasure can never be proven; that alone is exit code 0.

    Also whether a topic was deleted and created again since workers took its records: partitions halt then.

    Example: rescore topics check --json | jq .problems
    """
    from streams.kafka.client import admin_of, partition_counts
    from streams.kafka.topics import found_topics, warnings
    from streams.kafka.topics import problems as problems_of

    chosen = settings()
    partition_counts(chosen.kafka)
    options = options_of(chosen)
    found = found_topics(admin_of(chosen.kafka), options)
    problems = [*(_clock_problem(chosen) or problems_of(options, found)), *_changed_topics(chosen)]
    warned = warnings(options, found)
    if as_json:
        print_json({"problems": _plain(problems), "warnings": _plain(warned)})
    else:
        for problem in problems:
            echo(str(problem))
        if not problems:
            echo("all topics are configured correctly")
        _warn(warned)
    if problems:
        raise typer.Exit(Exit.FAILURE)


def _plain(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [problem._asdict() for problem in problems]


def _warn(warned: Sequence[Problem]) -> None:
    for warning in warned:
        echo(f"warning: {warning}", err=True)


app.command()(go_live)


def _clock_problem(chosen: Settings) -> list[Problem]:
    """That the topics have another clock than the settings say: what each topic has to be depends on it."""
    from state.errors import RefusedSettings
    from streams.kafka.topics import Problem
    from streams.kafka.topics_clock import clocks_of, refuse_other_clock

    clocks = clocks_of(chosen.kafka, chosen.topic_prefix)
    try:
        refuse_other_clock(chosen.clock, clocks)
    except RefusedSettings as refused:
        return [Problem((*clocks.history, *clocks.live)[0], f"{refused.what}.", f"{refused.remedy}.")]
    return []


def _other_clock(chosen: Settings) -> list[str]:
    """Prepare empty topics for another clock than they have. Raises RefusedSettings if one of them holds records."""
    from streams.kafka.client import admin_of, latest_timestamps_ms, partition_counts
    from streams.kafka.topics_clock import CLOCKED_TOPICS, clocks_of, switch_to_live
    from streams.publish.stamps import require_clock

    if latest_timestamps_ms(chosen.kafka, partition_counts(chosen.kafka, map(chosen.topic, CLOCKED_TOPICS))):
        require_clock(chosen)
    history = clocks_of(chosen.kafka, chosen.topic_prefix).history if chosen.clock == "wall" else ()
    return [f"{name}: is live now" for name in switch_to_live(admin_of(chosen.kafka), history)]


def _changed_topics(chosen: Settings) -> list[Problem]:
    """Topics that are not the ones the workers' last progress records name; none where that cannot be known."""
    from schemas.codec import RegistryUnavailable
    from schemas.kinds import INPUT_TOPICS
    from streams.audit.reading import last_progress_of_all
    from streams.composition.registry import values
    from streams.kafka.client import partition_counts, topic_ids
    from streams.kafka.topics import BROADCAST_TOPICS, STATE_TOPIC, Problem
    from streams.log.topic_ids import TopicIds
    from streams.processing.wire import wire_of

    state = chosen.topic(STATE_TOPIC)
    topics = TopicIds.of_worker(
        [chosen.topic(name) for name in INPUT_TOPICS],
        [chosen.topic(name) for name in BROADCAST_TOPICS],
        state,
        chosen.changed_topics.ids("from_beginning"),
        chosen.changed_topics.ids("same_offsets"),
    )
    counts, found = partition_counts(chosen.kafka, [state]), topic_ids(chosen.kafka, topics.topics)
    if state not in counts or not found:
        return []
    try:
        progress = last_progress_of_all(chosen.kafka, state, counts[state], wire_of(values(chosen)).progress.decode)
    except (RegistryUnavailable, ValueError) as error:
        echo(f"topic ids were not compared, as a progress record cannot be read: {error}", err=True)
        return []
    others = {other: None for one in progress.values() for other in topics.undecided(one.topic_ids, found)}
    return [Problem(other.topic, topics.what(other), topics.remedy([other])) for other in others]
