"""`rescore inspect`, `explain`, `erase`, `override`: one customer at a time."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import Exit, RescoreError, fail
from schemas.row_keys import REQUEST_ID_MAX, name_of, number_in, record_key, request_key, request_of
from streams.commands.common import AsJson, guarded, require_score, settings
from streams.commands.completion import complete_score
from streams.commands.partial import tell_missing
from streams.commands.requests import explain_request, inspect_request, is_published, whose
from streams.terminal import console, echo, print_json, quoted, remark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.row import Row
    from streams.composition.store import Place
    from streams.customers.story import Beside
    from streams.settings import Settings

User = Annotated[str, typer.Argument(help="The customer's user_id.")]
UserOrNone = Annotated[str, typer.Argument(help="The customer's user_id.", show_default=False)]
Request = Annotated[
    int | None,
    typer.Option("--request", min=0, help="Instead of a customer: the request of this number that names none."),
]
Author = Annotated[str, typer.Option(help="Who orders it; default: you, at this machine.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the record.")]


@guarded
def inspect(user: UserOrNone = "", request: Request = None, as_json: AsJson = False) -> None:
    """Show everything Redis holds of a customer: the committed row, in words.

    A request that names no customer has a row of its own, and no scores.

    Examples:

      rescore inspect c-000417

      rescore inspect --request 88120
    """
    from streams.composition.store import read_row
    from streams.customers.row_view import tables

    _one_of(user, request)
    if request is not None:
        inspect_request(settings(), request, as_json)
        return
    chosen = settings()
    found = read_row(chosen, user.encode())
    if found is None:
        if (number := number_in(user)) is not None and read_row(chosen, request_key(number)) is not None:
            fail(
                f"no customer {user!r} is known; a request of that number is, which names no customer",
                f"rescore inspect --request {number}",
            )
        fail(f"no customer {user!r} is known", "rescore publish, or check the user_id (it is case-sensitive)")
    row, place = found
    if as_json:
        print_json(_document(chosen, user, row, place))
        return
    names = _profile_names(chosen, row)
    echo(f"{user}   partition {place.partition}, as of transaction {place.seq:,} of it")
    for table in tables(row, names):
        echo("")
        console().print(table)
    echo("", f"next: rescore explain {quoted(user)}", err=True)


def _document(chosen: Settings, user: str, row: Row, place: Place) -> dict[str, Any]:
    """The customer for programs, by the versions that are in force."""
    from streams.composition.versions import known_versions
    from streams.customers.document import customer_document
    from streams.customers.row_view import packaged_names

    versions = known_versions(chosen).versions
    names = packaged_names() | {profile.key: profile.profile_id for book in versions.books for profile in book.profiles}
    return customer_document(user, row, place.partition, place.seq, versions, names)


def _profile_names(chosen: Settings, row: Row) -> dict[int, str]:
    """Names of profiles by their hashes: the packaged ones, and those published where the row has such a one."""
    from streams.composition.versions import known_versions
    from streams.customers.row_view import packaged_names
    from streams.log.open_transactions import BehindOpenTransaction

    names = packaged_names()
    if all(mark.key in names for mark in row.profiles if mark.held):
        return names
    try:
        books = known_versions(chosen).versions.books
    except BehindOpenTransaction as behind:
        echo(f"rescore: published profiles are shown by their hashes: {behind}", err=True)
        return names
    return names | {profile.key: profile.profile_id for book in books for profile in book.profiles}


@guarded
def explain(
    user: UserOrNone = "",
    scores: Annotated[
        list[str] | None, typer.Option("--score", help="Only this score (repeatable).", autocompletion=complete_score)
    ] = None,
    adverse: Annotated[
        bool, typer.Option("--adverse", help="Only what a decision against the customer must say.")
    ] = False,
    request: Annotated[
        int | None,
        typer.Option(
            "--request",
            help="A request: why it was declined, what would be enough. Without USER: one that names no customer.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="How many of the latest steps to show of each score.")] = 10,
    everything: Annotated[
        bool, typer.Option("--all", help="Read the whole topic for earlier steps; it may take minutes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell the story of each score: value, reasons that add up, when and why it moved, until when it holds.

    Where the topic is large, its last 200,000 records up to the customer's last change are searched; what lies further
    back is told to be missing.

    For a request without a customer, give its number by --request alone. With USER as well, the customer's own request
    of that number comes first; the answer says which of the two it is.

    Examples:

      rescore explain c-000417

      rescore explain c-000417 --score status --adverse

      rescore explain c-000417 --request 88120

      rescore explain --request 88121
    """
    if request is not None:
        explain_request(settings(), user, request, as_json)
        return
    if not user:
        fail("no customer is named", "rescore explain USER, or rescore explain --request NUMBER", Exit.USAGE)
    for score in scores or ():
        require_score(score)
    from streams.commands.history import changes_of
    from streams.commands.subscribe import local_time
    from streams.customers.story import CONTEST, adverse_lines, as_lines, stories
    from streams.customers.story_documents import explanation

    chosen = settings()
    found, not_found, missing = changes_of(chosen, user, scores or (), steps, everything=everything)
    told = [story for story in stories(user, found.changes) if not scores or story.score in scores]
    if not told:
        tell_missing(missing)
        if not found.whole:
            fail(
                f"no change of {user!r} is among the last {found.records:,} records read of score-changes",
                f"rescore explain {quoted(user)} --all reads the whole topic",
            )
        if (number := is_published(chosen, user)) is not None:
            fail(
                f"no score of a customer {user!r} has changed; there is a request {number}, which names no customer",
                f"rescore explain --request {number}",
            )
        fail(f"no score of {user!r} has changed yet", f"rescore inspect {user} shows what is known of them")
    beside = _beside(chosen, user, [story.score for story in told]) if adverse else {}
    if as_json:
        print_json(explanation(user, told, beside if adverse else None, whole=found.whole, not_found=not_found))
        tell_missing(missing)
        return
    for story in told:
        lines = (
            adverse_lines(story, local_time, beside.get(story.score))
            if adverse
            else as_lines(story, local_time, steps, whole=found.whole)
        )
        echo(*lines, "")
    if not_found:
        remark(
            f"{', '.join(not_found)}: last changed before the {found.records:,} records that were read; --all reads on"
        )
    if adverse:
        echo(CONTEST)
    tell_missing(missing)


def _beside(chosen: Settings, user: str, scores: Sequence[str]) -> dict[str, Beside]:
    """By score made for credit: what was used, and what would have been enough, from the row as it is committed.

    Without the store the story of the topic is told all the same, and that the rest is missing.
    """
    from state.errors import StoreUnavailable
    from streams.composition.store import read_row
    from streams.composition.versions import known_versions
    from streams.customers.counterfactuals import data_used, ways
    from streams.customers.story import CREDIT_SCORES, Beside

    try:
        found = read_row(chosen, user.encode())
    except (StoreUnavailable, RescoreError) as missing:
        echo(f"rescore: what was used and what would have been enough is not told: {missing}", err=True)
        return {}
    if found is None:
        return {}
    row, _ = found
    near = ways(row, known_versions(chosen).versions)
    return {
        score: Beside(data_used(row, score), [way for way in near if way.score == score])
        for score in scores
        if score in CREDIT_SCORES
    }


@guarded
def erase(
    user: UserOrNone = "",
    request: Request = None,
    reason: Why = "",
    author: Author = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    proof: Annotated[
        bool, typer.Option("--prove", help="Wait until a worker has erased, then show what every copy still holds.")
    ] = False,
    proof_only: Annotated[
        bool,
        typer.Option(
            "--prove-only", help="Publish nothing: show what every copy still holds, some time after an erasure."
        ),
    ] = False,
    wait_seconds: Annotated[float, typer.Option(min=0, help="How long --prove waits for a worker.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Erase a customer: state, scores and training examples. What is still in the input topics expires with them.

    A request that names no customer is erased by --request; a customer whose user_id is that number stays, and the
    other way round.

    With --prove: exit code 0 if every copy is deleted or has a known deletion date, 1 while something remains.

    Examples:

      rescore erase c-000417 --reason "request of 2 May" --prove

      rescore erase c-000417 --prove-only --json

      rescore erase --request 88120 --reason "request of 3 May" --prove
    """
    from streams.commands.erasure import prove

    _one_of(user, request)
    row = user.encode() if request is None else request_key(request)
    if proof_only:
        prove(settings(), row, wait_seconds, as_json)
        return
    named = repr(user) if request is None else whose(None, request)
    if not yes and not typer.confirm(f"erase everything known of {named}? This cannot be undone"):
        fail("nothing was erased")
    publish_command(settings(), row, as_json, quiet=proof, command="erase", author=author, reason=reason)
    if proof:
        prove(settings(), row, wait_seconds, as_json)


def _one_of(user: str, request: int | None) -> None:
    """A customer or a request, not both and not neither."""
    if bool(user) is (request is not None):
        fail("name a customer or a request, one of the two", "USER, or --request NUMBER", Exit.USAGE)
    if request is not None and request > REQUEST_ID_MAX:
        fail(f"{request} is no number of a request", f"0 to {REQUEST_ID_MAX} (2^53 - 1)", Exit.USAGE)


def publish_command(chosen: Settings, row: bytes, as_json: bool, quiet: bool = False, **fields: Any) -> None:
    """Publish a command to the partition of the customer, or request, whose row this is; wait until Kafka has it."""
    from streams.composition.registry import values
    from streams.kafka.client import producer, require_topics
    from streams.kafka.producer import Published, finish, send, timestamp_option
    from streams.publish.stamps import stamp_ms, who

    topic = chosen.topic("commands")
    require_topics(chosen.kafka, [topic])
    value = {name: one for name, one in fields.items() if one not in ("", None)}
    request, user = request_of(row), record_key(row).decode()
    owner = {"user_id": user} if request is None else {"request_id": request}
    value |= {"event_id": str(uuid.uuid4()), **owner, "author": fields["author"] or who()}
    timestamp = timestamp_option(stamp_ms(chosen))
    done, sender = Published(), producer(chosen.kafka)
    send(sender, done, topic=topic, key=record_key(row), value=values(chosen).encoder("commands")(value), **timestamp)
    finish(sender, done)
    if quiet:
        return
    if as_json:
        print_json({"published": "commands", **value})
    else:
        then = f"subscribe --user {quoted(user)}" if request is None else f"erase --request {request} --prove-only"
        echo(f"{fields['command']} of {name_of(row)} is published; next: rescore {then}")
