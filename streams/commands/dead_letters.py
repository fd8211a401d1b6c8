"""`rescore dlq`: look at what was refused, bring it back, or settle it for good."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import Exit, fail
from schemas.printable import counted
from streams.commands.common import AsJson, guarded, settings
from streams.commands.completion import complete_input_topic
from streams.commands.partial import as_far_as_committed, tell_missing
from streams.terminal import console, echo, print_json, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streams.log.dead_letters import DeadLetter, Message
    from streams.settings import Settings

app = typer.Typer(help="Dead letters: events that were refused, with reason and original bytes.", no_args_is_help=True)

LETTERS_A_TRANSACTION = 500
VALUE_BYTES_SHOWN = 4_096

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[LETTER]...", help="topic/partition/offset, as `list` shows.")
]
LETTER = re.compile(r".+/\d+/\d+", re.DOTALL)
Topic = Annotated[str, typer.Option(help="Only letters of this input topic.", autocompletion=complete_input_topic)]
Reason = Annotated[str, typer.Option(help="Only letters refused for this, for example UNKNOWN_LOAN.")]
User = Annotated[str, typer.Option(help="Only letters with this key.")]
All = Annotated[bool, typer.Option("--all", help="Every open letter.")]


@app.command("list")
@guarded
def show_list(topic: Topic = "", reason: Reason = "", user: User = "", as_json: AsJson = False) -> None:
    """List the open dead letters: refused, neither replayed nor dropped.

    Example: rescore dlq list --topic loans
    """
    from streams.commands.subscribe import local_time
    from streams.log.dead_letters import chosen as choose

    _require_known((), topic, reason)
    chosen = settings()
    missing: list[str] = []
    letters = choose(_open(chosen, missing), (), _prefixed(chosen, topic), reason, user)
    if as_json:
        for letter in letters:
            print_json(_summary(letter))
        tell_missing(missing)
        return
    if not letters:
        tell_missing(missing)
        echo("there is no open dead letter")
        return
    shown = table("letter", "time", "key", "reason", "what to do")
    for letter in letters:
        shown.add_row(letter.name, local_time(letter.timestamp_ms), _text(letter.key), letter.exception, letter.message)
    console().print(shown)
    echo(f"{len(letters):,} open; next: rescore dlq show {letters[0].name}", err=True)
    tell_missing(missing)


@app.command()
@guarded
def show(names: Names = None, as_json: AsJson = False) -> None:
    """Show dead letters whole: reason, origin, headers, key and value.

    Example: rescore dlq show transactions.dlq/0/17
    """
    if not names:
        fail("no letter is named", "rescore dlq list shows their names", Exit.USAGE)
    _require_known(names)
    from streams.composition.registry import values

    chosen = settings()
    decode = values(chosen).decode
    missing: list[str] = []
    for letter in _named(_open(chosen, missing), names=names):
        shown = _summary(letter) | _content(letter, chosen, decode)
        if as_json:
            print_json(shown)
        else:
            for name, value in shown.items():
                echo(f"{name:>10}  {value}")
            echo("", f"next: fix the cause, then rescore dlq replay {letter.name}", err=True)
    tell_missing(missing)


@app.command()
@guarded
def replay(
    names: Names = None,
    topic: Topic = "",
    reason: Reason = "",
    user: User = "",
    all_letters: All = False,
    as_json: AsJson = False,
) -> None:
    """Publish dead letters again, each at most once, byte for byte; a wrong key becomes the event's user_id.

    An event that is refused again comes back as a new letter.

    Example: rescore dlq replay --reason UNKNOWN_CURRENCY
    """
    from schemas.kinds import INPUT_TOPICS
    from streams.composition.registry import values
    from streams.log.dead_letters import replayed
    from streams.publish.stamps import stamp_ms, who

    _require_choice(names, topic, reason, user, all_letters)
    chosen = settings()
    decode, by, now_ms = values(chosen).decode, who(), stamp_ms(chosen)
    inputs = {chosen.topic(name) for name in INPUT_TOPICS}

    def settle(letter: DeadLetter) -> Sequence[Message]:
        return replayed(letter, by, lambda one: _user_of(chosen, one, decode), now_ms, inputs)

    count = _settle(chosen, settle, names, topic, reason, user)
    _told(count, "replayed", as_json)


@app.command()
@guarded
def drop(
    names: Names = None,
    topic: Topic = "",
    reason: Reason = "",
    user: User = "",
    all_letters: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Settle dead letters without publishing them; they stay in the topic, but are no longer open.

    Example: rescore dlq drop transactions.dlq/0/17
    """
    from streams.log.dead_letters import chosen as choose
    from streams.log.dead_letters import note
    from streams.publish.stamps import who

    _require_choice(names, topic, reason, user, all_letters)
    chosen = settings()
    if not yes:
        count = len(choose(_open(chosen), names or (), _prefixed(chosen, topic), reason, user))
        if not typer.confirm(f"drop {counted(count, 'dead letter')}? These events will never change a score"):
            fail("nothing was dropped")
    by = who()
    _told(_settle(chosen, lambda letter: [note(letter, "dropped", by)], names, topic, reason, user), "dropped", as_json)


def _require_choice(names: Any, topic: str, reason: str, user: str, all_letters: bool) -> None:
    if not (names or topic or reason or user or all_letters):
        fail("no letter is chosen", "name letters, choose with --topic, --reason, --user, or take --all", Exit.USAGE)
    _require_known(names or (), topic, reason)


def _require_known(names: Sequence[str], topic: str = "", reason: str = "") -> None:
    """Wrong usage for a choice that no letter of this release can fit, so that a typing error is not "no letter"."""
    from schemas.kinds import INPUT_TOPICS, RejectCode

    if wrong := [name for name in names if not LETTER.fullmatch(name)]:
        fail(
            f"{', '.join(wrong)} is no name of a letter",
            "topic/partition/offset, as rescore dlq list shows",
            Exit.USAGE,
        )
    if topic and topic not in INPUT_TOPICS:
        fail(f"there is no input topic {topic!r}", f"one of {', '.join(INPUT_TOPICS)}", Exit.USAGE)
    if reason and reason.upper() not in RejectCode.__members__:
        fail(f"there is no reason {reason!r}", f"one of {', '.join(list(RejectCode.__members__)[1:])}", Exit.USAGE)


def _settle(
    chosen: Settings,
    messages: Callable[[DeadLetter], Sequence[Message]],
    names: Any,
    topic: str,
    reason: str,
    user: str,
) -> int:
    """Write what settles the chosen letters, in transactions; returns how many were settled.

    The producer comes first: it fences any other that settles letters, so that what is read then is settled once.
    """
    from streams.kafka.client import producer, transact
    from streams.log.dead_letters import chosen as choose

    sender = producer(chosen.kafka, transactional_id=f"{chosen.app}.dlq")
    letters = choose(_open(chosen), names or (), _prefixed(chosen, topic), reason, user)
    settled = [messages(letter) for letter in letters]  # all of them: one that cannot be must leave no open transaction
    for start in range(0, len(settled), LETTERS_A_TRANSACTION):
        transact(sender, (message for some in settled[start : start + LETTERS_A_TRANSACTION] for message in some))
    return len(letters)


def _open(chosen: Settings, missing: list[str] | None = None) -> list[DeadLetter]:
    """All open letters. Raises BehindOpenTransaction; with `missing`, that is told in it.

    Whoever settles letters needs all notes, as a letter that was replayed before would come back twice.
    """
    from schemas.kinds import INPUT_TOPICS
    from streams.kafka.client import read, require_topics
    from streams.log.dead_letters import SUFFIX, open_letters

    topics = [chosen.topic(name) + SUFFIX for name in INPUT_TOPICS]
    records = read(chosen.kafka, require_topics(chosen.kafka, topics))
    return open_letters(records if missing is None else as_far_as_committed(records, missing))


def _prefixed(chosen: Settings, topic: str) -> str:
    return chosen.topic(topic) if topic else ""


def _named(letters: Iterable[DeadLetter], names: Sequence[str]) -> list[DeadLetter]:
    from streams.log.dead_letters import chosen as choose

    return choose(letters, names)


def _user_of(chosen: Settings, letter: DeadLetter, decode: Callable[[str, bytes], dict[str, Any]]) -> bytes | None:
    """The key a letter's value asks for; None where the value cannot be read."""
    from schemas.row_keys import kafka_key_of

    try:
        key = kafka_key_of(decode(letter.origin_topic.removeprefix(chosen.topic_prefix), letter.value or b""))
    except (ValueError, KeyError):
        return None
    return None if key is None else key.encode()


def _summary(letter: DeadLetter) -> dict[str, Any]:
    from schemas.time_text import text_of_ms

    return {
        "letter": letter.name,
        "time": text_of_ms(letter.timestamp_ms),
        "key": None if letter.key is None else letter.key.decode("utf-8", "backslashreplace"),
        "reason": letter.exception,
        "message": letter.message,
        "stage": letter.stage,
        "origin": f"{letter.origin_topic}/{letter.origin_partition}/{letter.origin_offset}",
    }


def _content(letter: DeadLetter, chosen: Settings, decode: Callable[[str, bytes], dict[str, Any]]) -> dict[str, Any]:
    """Headers and value, the value readable where it can be, and always as its bytes."""
    from streams.log.unreadable import finite

    data = letter.value or b""
    headers = {name: value.decode("utf-8", "backslashreplace") for name, value in letter.headers}
    try:
        fields: Any = finite(decode(letter.origin_topic.removeprefix(chosen.topic_prefix), data))
    except (ValueError, KeyError) as error:
        fields = f"cannot be read: {error}"
    return {"headers": headers, "value": fields, "bytes": len(data), "hex": data[:VALUE_BYTES_SHOWN].hex()}


def _text(key: bytes | None) -> str:
    return "-" if key is None else key.decode("utf-8", "backslashreplace")


def _told(count: int, done: str, as_json: bool) -> None:
    if as_json:
        print_json({done: count})
    else:
        echo(f"{done} {counted(count, 'dead letter')}")
