"""`rescore inspect`, `explain`, `erase`, `override`: one customer at a time."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.common import (
    AsJson,
    CommandFailure,
    Exit,
    console,
    fail,
    guarded,
    print_json,
    settings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.row import Row
    from streams.explain import Beside
    from streams.settings import Settings

User = Annotated[str, typer.Argument(help="The customer's user_id.")]
Author = Annotated[str, typer.Option(help="Who orders it; default: you, at this machine.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the record.")]


@guarded
def inspect(user: User, as_json: AsJson = False) -> None:
    """Show everything Redis holds of a customer: the committed row, in words.

    Example: rescore inspect c-000417
    """
    from streams.commands.store import read_row
    from streams.inspection import as_json as plain
    from streams.inspection import expected_of, profiles_held, tables

    chosen = settings()
    found = read_row(chosen, user)
    if found is None:
        fail(f"no customer {user!r} is known", "rescore publish, or check the user_id (it is case-sensitive)")
    row, place = found
    names = _profile_names(chosen, row)
    if as_json:
        expected = expected_of(row)
        told = {
            "profiles": profiles_held(row, names),
            "expected_30d": None if expected is None else expected._asdict(),
            "row": plain(row),
        }
        print_json({"user_id": user, "partition": place.partition, "seq": place.seq, **told})
        return
    typer.echo(f"{user}   partition {place.partition}, as of transaction {place.seq:,} of it")
    for table in tables(row, names):
        console().print(table)
    typer.echo(f"\nnext: rescore explain {user}", err=True)


def _profile_names(chosen: Settings, row: Row) -> dict[int, str]:
    """Names of profiles by their hashes: the packaged ones, and those published where the row has such a one."""
    from streams.commands.versions import known_versions
    from streams.inspection import packaged_names

    names = packaged_names()
    if all(mark.key in names for mark in row.profiles if mark.held):
        return names
    books = known_versions(chosen).versions.books
    return names | {profile.key: profile.profile_id for book in books for profile in book.profiles}


@guarded
def explain(
    user: User,
    scores: Annotated[list[str] | None, typer.Option("--score", help="Only this score (repeatable).")] = None,
    adverse: Annotated[
        bool, typer.Option("--adverse", help="Only what a decision against the customer must say.")
    ] = False,
    request: Annotated[
        int | None, typer.Option("--request", help="A request of theirs: why it was declined, what would be enough.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="How many of the latest steps to show of each score.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Tell the story of each score: value, reasons that add up, when and why it moved, until when it holds.

    A request by someone who is no customer has its number as USER.

    Examples:

      rescore explain c-000417

      rescore explain c-000417 --score status --adverse

      rescore explain c-000417 --request 88120
    """
    if request is not None:
        _explain_request(settings(), user, request, as_json)
        return
    from streams.commands.subscribe import changes, local_time
    from streams.explain import CONTEST, adverse_lines, as_lines, stories
    from streams.explain import as_json as plain

    chosen = settings()
    told = stories(user, changes(chosen, from_beginning=True, exit_at_end=True, users=[user]))
    told = [story for story in told if not scores or story.score in scores]
    if not told:
        fail(f"no score of {user!r} has changed yet", f"rescore inspect {user} shows what is known of them")
    beside = _beside(chosen, user, [story.score for story in told]) if adverse else {}
    if as_json:
        scores_told = [plain(story, beside.get(story.score)) for story in told]
        print_json({"user_id": user, "scores": scores_told, "contest": CONTEST if adverse else None})
        return
    for story in told:
        lines = (
            adverse_lines(story, local_time, beside.get(story.score)) if adverse else as_lines(story, local_time, steps)
        )
        typer.echo("\n".join(lines) + "\n")
    if adverse:
        typer.echo(CONTEST)


def _explain_request(chosen: Settings, user: str, request_id: int, as_json: bool) -> None:
    from streams.commands.subscribe import local_time
    from streams.commands.versions import known_versions
    from streams.declined import as_json as plain
    from streams.declined import lines, verdict
    from streams.explain import CONTEST
    from streams.scoring.specs import CUSTOMER, spec_at

    fields, asked_ms = _request(chosen, user, request_id)
    attributes = fields["attributes"] or {}
    known, name = known_versions(chosen), str(attributes.get("model") or "risk")
    spec = spec_at(known.specs, name, asked_ms)
    if spec is None:
        fail(f"request {request_id} names the model {name!r}, which was not declared", "rescore models list")
    if spec.inputs == CUSTOMER:
        fail(
            f"request {request_id} asks for the {name} of a customer as they stood then, which is not kept",
            f"rescore explain {user} --adverse says what counts now",
        )
    try:
        model = known.model_at(name, asked_ms)
    except KeyError:
        fail(f"no version of {name} was in force when request {request_id} was made", "rescore models promote --help")
    said = verdict(spec, model, attributes)
    if as_json:
        print_json({"user_id": user, "request_id": request_id, "asked_ms": asked_ms, **plain(said), "contest": CONTEST})
        return
    for line in lines(said, request_id, local_time(asked_ms)):
        typer.echo(line)
    typer.echo(CONTEST)


def _request(chosen: Settings, user: str, request_id: int) -> tuple[dict[str, Any], int]:
    """A request as it was published, and when it became known; the latest where there are several."""
    from streams.commands.wire import partition_of, values
    from streams.kafka_client import read, require_topics

    topic, codec = chosen.topic("applicants"), values(chosen)
    counts = require_topics(chosen.kafka, [topic])
    found = None
    for record in read(chosen.kafka, counts, [partition_of(chosen, user, counts[topic])]):
        if record.key == user.encode() and record.value:
            try:
                fields = codec.decode("applicants", record.value)
            except ValueError:
                continue  # a dead letter: `rescore dlq` tells of it
            if fields["request_id"] == request_id:
                found = fields, record.timestamp_ms
    if found is None:
        fail(f"no request {request_id} of {user!r} is on {topic}", "check both; requests expire with the topic")
    return found


def _beside(chosen: Settings, user: str, scores: Sequence[str]) -> dict[str, Beside]:
    """By score made for credit: what was used, and what would have been enough, from the row as it is committed.

    Without the store the story of the topic is told all the same, and that the rest is missing.
    """
    from state.errors import StoreUnavailable
    from streams.attainable import data_used, way_words, ways
    from streams.commands.store import read_row
    from streams.commands.versions import known_versions
    from streams.explain import CREDIT_SCORES, Beside

    try:
        found = read_row(chosen, user)
    except (StoreUnavailable, CommandFailure) as missing:
        typer.echo(f"rescore: what was used and what would have been enough is not told: {missing}", err=True)
        return {}
    if found is None:
        return {}
    row, _ = found
    near = ways(row, known_versions(chosen).versions)
    return {
        score: Beside(data_used(row, score), [way_words(way) for way in near if way.score == score])
        for score in scores
        if score in CREDIT_SCORES
    }


@guarded
def erase(
    user: User,
    reason: Why = "",
    author: Author = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    proof: Annotated[
        bool, typer.Option("--prove", help="Wait until it is through, then show what every copy still holds.")
    ] = False,
    proof_only: Annotated[
        bool, typer.Option("--prove-only", help="Publish nothing: show what the copies hold since an earlier erasure.")
    ] = False,
    wait_seconds: Annotated[float, typer.Option(min=0, help="How long --prove waits for a worker.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Forget a customer: state, scores and training examples. What is still in the input topics expires with them.

    With --prove: exit code 0 where every copy is gone or goes by a known day, 1 while something remains.

    Examples:

      rescore erase c-000417 --reason "request of 2 May" --prove

      rescore erase c-000417 --prove-only --json
    """
    from streams.commands.erasure import prove

    if proof_only:
        prove(settings(), user, wait_seconds, as_json)
        return
    if not yes and not typer.confirm(f"forget everything known of {user!r}? This can not be undone"):
        fail("nothing was erased")
    _command(settings(), user, as_json, quiet=proof, command="erase", author=author, reason=reason)
    if proof:
        prove(settings(), user, wait_seconds, as_json)


@guarded
def override(
    user: User,
    score: Annotated[str, typer.Option(help="value, status, revenue, class, rfm or segment.")],
    value: Annotated[float | None, typer.Option(help="The value to hold it at.")] = None,
    until: Annotated[str, typer.Option(metavar="TIME", help="When the override ends by itself.")] = "",
    lift: Annotated[bool, typer.Option("--lift", help="End an override now.")] = False,
    reason: Why = "",
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Hold a score at a value until a time, or lift that; both with an author, for the record.

    Examples:

      rescore override c-000417 --score status --value 3.5 --until 2027-01-31 --reason "documents seen"

      rescore override c-000417 --score status --lift
    """
    from schemas.kinds import SCORE_NAMES
    from streams.publish_events import time_ms

    if score not in SCORE_NAMES:
        fail(f"there is no score {score!r}", f"one of {', '.join(SCORE_NAMES)}", Exit.USAGE)
    if lift:
        _command(settings(), user, as_json, command="lift", score=score, author=author, reason=reason)
        return
    if value is None or not until:
        fail("an override needs a value and an end", "--value NUMBER --until TIME, or --lift", Exit.USAGE)
    try:
        time_ms(until)
    except ValueError as error:
        fail(str(error), "for example --until 2027-01-31", Exit.USAGE)
    _command(
        settings(),
        user,
        as_json,
        command="override",
        score=score,
        value=value,
        expires_at=until,
        author=author,
        reason=reason,
    )


def _command(chosen: Settings, user: str, as_json: bool, quiet: bool = False, **fields: Any) -> None:
    """Publish a command to the customer's partition and wait until Kafka has it."""
    from streams.commands.wire import stamp_ms, values, who
    from streams.kafka_client import producer, require_topics
    from streams.publish import Published, finish, send

    topic = chosen.topic("commands")
    require_topics(chosen.kafka, [topic])
    value = {name: one for name, one in fields.items() if one not in ("", None)}
    value |= {"event_id": str(uuid.uuid4()), "user_id": user, "author": fields["author"] or who()}
    stamped = stamp_ms(chosen)
    timestamp = {} if stamped is None else {"timestamp": stamped}
    done, sender = Published(), producer(chosen.kafka)
    send(sender, done, topic=topic, key=user.encode(), value=values(chosen).encoder("commands")(value), **timestamp)
    finish(sender, done)
    if quiet:
        return
    if as_json:
        print_json({"published": "commands", **value})
    else:
        typer.echo(f"{fields['command']} of {user} is published; next: rescore subscribe --user {user}")
