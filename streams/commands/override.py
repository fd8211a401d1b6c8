"""`rescore override`: a score fixed at a value by a person, checked before it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import Exit, RescoreError, fail
from streams.commands.common import AsJson, guarded, settings
from streams.commands.completion import complete_overridable
from streams.commands.customers import Author, User, Why, publish_command
from streams.terminal import quoted, remark

if TYPE_CHECKING:
    from state.row import Row
    from streams.settings import Settings


@guarded
def override(
    user: User,
    score: Annotated[
        str,
        typer.Option(
            metavar="SCORE",
            help="value, status, revenue, class, rfm, segment or risk.",
            autocompletion=complete_overridable,
        ),
    ],
    value: Annotated[
        str, typer.Option(metavar="VALUE", help="The value to fix it at: a number, or the name of a segment.")
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help="When the override ends by itself; local without a zone.")
    ] = "",
    lift: Annotated[bool, typer.Option("--lift", help="End an override now.")] = False,
    create: Annotated[
        bool,
        typer.Option("--create", help="For a customer who is not known yet: the override makes them known."),
    ] = False,
    reason: Why = "",
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Fix a score at a value until a given time, or lift that. Author and reason are recorded.

    Everything is checked before anything is sent: the value against the range of the score, the end against the
    present, and that the customer is known.

    Examples:

      rescore override c-000417 --score status --value 3.5 --until 2027-01-31 --reason "documents seen"

      rescore override c-000417 --score status --lift --reason "checked again"
    """
    from schemas.kinds import SCORE_NAMES
    from streams.customers.overrides import value_of
    from streams.publish.stamps import require_clock

    if score not in SCORE_NAMES:
        fail(f"there is no score {score!r}", f"one of {', '.join(SCORE_NAMES)}", Exit.USAGE)
    chosen = settings()
    if lift:
        require_clock(chosen)
        _check_held(chosen, user, score)
        publish_command(
            chosen, user.encode(), as_json, command="lift", score=score, author=author, reason=reason.strip()
        )
        return
    if not value or not until:
        fail("an override needs a value and an end", "--value VALUE --until TIME, or --lift", Exit.USAGE)
    if not reason.strip():
        fail("an override needs a reason, for the record", '--reason "documents seen"', Exit.USAGE)
    try:
        number = value_of(score, value)
    except ValueError as error:
        fail(str(error), "rescore override --help", Exit.USAGE)
    _check_end(chosen, until)
    require_clock(chosen)
    if not create:
        _known(chosen, user)
    fields: dict[str, Any] = {
        "score": score,
        "value": number,
        "expires_at": until,
        "author": author,
        "reason": reason.strip(),
    }
    publish_command(chosen, user.encode(), as_json, command="override", **fields)


def _check_held(chosen: Settings, user: str, score: str) -> None:
    """An override is there to be lifted. Without rows it is lifted unchecked, as that does no harm."""
    from schemas.kinds import SCORE_NAMES

    try:
        row = _known(chosen, user)
    except RescoreError as failure:
        if failure.code != Exit.UNREACHABLE:
            raise
        remark(f"whether there is an override was not checked: {failure}")
        return
    if all(SCORE_NAMES[held.score] != score for held in row.overrides):
        fail(
            f"{score} of {user!r} has no override",
            f"rescore inspect {quoted(user)} lists them; one published just now counts once a worker has taken it",
        )


def _check_end(chosen: Settings, until: str) -> None:
    """The end of an override lies in the future; in a history, after its latest record."""
    from schemas.time_text import text_of_ms
    from schemas.times import has_zone
    from schemas.zones import UTC
    from streams.composition.versions import policy_zone
    from streams.publish.events import time_ms
    from streams.publish.stamps import present_ms

    try:
        time_ms(until)
    except ValueError as error:
        fail(str(error), "for example --until 2027-01-31", Exit.USAGE)
    until_ms = time_ms(until, UTC if has_zone(until) else policy_zone(chosen))
    if until_ms <= (now_ms := present_ms(chosen)):
        past = f"an override until {until} would have expired: it is {text_of_ms(now_ms)}"
        fail(past, "name a time to come, or --lift to end an override", Exit.USAGE)


def _known(chosen: Settings, user: str) -> Row:
    """The row of a customer; the command ends where there is none, as it would make one."""
    from streams.composition.store import read_row

    found = read_row(chosen, user.encode())
    if found is None or not found[0].exists:
        fail(
            f"no customer {user!r} is known; nothing was sent",
            "check the user_id (it is case-sensitive); --create publishes an override that makes them known",
        )
    return found[0]
