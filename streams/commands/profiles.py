"""`rescore profiles`: lifestyle profiles, what triggers them, and new ones from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import Exit, fail
from streams.commands.common import AsJson, guarded, settings, show_json_or
from streams.commands.completion import complete_profile
from streams.terminal import console, echo, print_json, quoted, table

if TYPE_CHECKING:
    from rich.table import Table

    from state.profiles import Profile, ProfileBook
    from streams.settings import Settings
    from streams.versions.known import Known

app = typer.Typer(help="Lifestyle profiles: list, show, check a file, publish it, learn to read descriptions.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A profile as TOML; docs/profiles.md says how.")]
Name = Annotated[str, typer.Argument(metavar="ID", help="The profile's id.", autocompletion=complete_profile)]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
Author = Annotated[str, typer.Option(help="Who decides; default: you, at this machine.")]
Packaged = Annotated[bool, typer.Option("--packaged", help="Those that ship with the program; asks no Kafka.")]

ADOPTION_NOTICE_MS = 60_000


@app.command("list")
@guarded
def list_profiles(packaged: Packaged = False, as_json: AsJson = False) -> None:
    """Show all profiles: in force now, and those that come into force later.

    Example: rescore profiles list --packaged
    """
    from streams.versions.profile_files import body_of_profile

    if packaged:
        book, later = _packaged(), list["ProfileBook"]()
    else:
        book, later = _books(settings())
    said = {
        "version": book.version,
        "profiles": [body_of_profile(profile) for profile in book.profiles],
        "later": [{"version": one.version, "from": _time_text(one.effective_ms)} for one in later],
    }
    show_json_or(as_json, said, lambda: console().print(_table(book.profiles)))
    if not as_json:
        for one in later:
            echo(f"{one.version} comes into force at {_time_text(one.effective_ms)}")
        echo("next: rescore profiles show ID", err=True)


@app.command()
@guarded
def show(name: Name, packaged: Packaged = False, as_json: AsJson = False) -> None:
    """Show one profile as the file it could be published from.

    Example: rescore profiles show pet_owner --packaged > pet_owner.toml
    """
    from streams.versions.profile_files import body_of_profile, text_of_profile

    book = _packaged() if packaged else _books(settings())[0]
    found = next((profile for profile in book.profiles if profile.profile_id == name), None)
    if found is None:
        fail(f"there is no profile {name!r}", "`rescore profiles list` shows those there are", Exit.USAGE)
    show_json_or(as_json, body_of_profile(found), lambda: echo(*text_of_profile(found).splitlines()))


@app.command()
@guarded
def check(path: File, as_json: AsJson = False) -> None:
    """Check a file without publishing it, and say when somebody would have the profile.

    Example: rescore profiles check campers.toml
    """
    from streams.versions.profile_files import body_of_profile, sentences_of_profile

    profile = _read(path)
    said = {**body_of_profile(profile), "says": sentences_of_profile(profile)}
    show_json_or(as_json, said, lambda: echo(*said["says"]))
    if not as_json:
        echo(f"next: rescore profiles publish {quoted(str(path))} --reason ...", err=True)


@app.command()
@guarded
def publish(path: File, reason: Reason, author: Author = "", as_json: AsJson = False) -> None:
    """Put a profile in force for every worker, a minute from now in the time of the records; no program is changed.

    One that is there already is replaced from then on; `enabled = false` withdraws it.

    Example: rescore profiles publish campers.toml --reason "summer campaign"
    """
    from schemas.writing import Encoder
    from streams.composition.registry import registry_for
    from streams.publish.stamps import present_ms, send_broadcast, who
    from streams.versions.records import profile_record

    profile = _read(path)
    chosen = settings()
    known = _known(chosen)
    at_ms = present_ms(chosen)
    number = 1 + sum(record.key == f"profile.{profile.profile_id}".encode() for record in known.records)
    version = f"{profile.profile_id}-{number}"
    effective_ms = at_ms + ADOPTION_NOTICE_MS
    topic, key, value = profile_record(
        profile, version, effective_ms, author or who(), reason, Encoder(registry_for(chosen))
    )
    refused = _would_refuse(chosen, known, topic, key, value, at_ms)
    if refused:
        fail(refused[-1].reason, "see `rescore profiles list`", Exit.USAGE)
    send_broadcast(chosen, topic, key, value, at_ms)
    said = {"profile": profile.profile_id, "version": version, "enabled": profile.enabled,
            "sensitive": profile.sensitive, "from": _time_text(effective_ms)}  # fmt: skip
    show_json_or(as_json, said, lambda: echo(f"published: {version}, in force from {said['from']}"))
    if profile.sensitive and profile.enabled and not as_json:
        echo("this profile is sensitive: it needs the customer's consent wherever it is used", err=True)


@app.command()
@guarded
def learn(
    reason: Reason = "",
    send: Annotated[bool, typer.Option("--publish", help="Put what was learned in force, a minute from now.")] = False,
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Teach the model that reads descriptions, from all transactions that have a merchant's code as well.

    Goes over the topic once; each is guessed before it is learned from, and the share of right guesses is shown.
    Without --publish nothing changes.

    Example: rescore profiles learn --publish --reason "a year of transactions"
    """
    from schemas.writing import Encoder
    from streams.composition.registry import registry_for
    from streams.kafka.client import read, require_topics
    from streams.learning.text_from_topic import learned_from
    from streams.publish.stamps import present_ms, send_broadcast, who
    from streams.versions.records import text_record

    chosen = settings()
    counts = require_topics(chosen.kafka, [chosen.topic("transactions")])
    registry = registry_for(chosen)
    learned = learned_from(read(chosen.kafka, counts), registry)
    known = _known(chosen)
    at_ms = present_ms(chosen)
    said: dict[str, Any] = {**learned.figures(), "version": None, "from": None}
    if send:
        if not reason:
            fail("a new version needs a reason", '--reason "..."', Exit.USAGE)
        said["version"] = f"categories-{len(known.versions.texts) + 1}"
        effective_ms = at_ms + ADOPTION_NOTICE_MS
        record = text_record(
            learned.model.counts(), said["version"], effective_ms, author or who(), reason, Encoder(registry)
        )
        send_broadcast(chosen, *record, at_ms)
        said["from"] = _time_text(effective_ms)
    if as_json:
        print_json(said)
        return
    for name, value in said.items():
        echo(f"{name:<14} {'-' if value is None else value}")


def _read(path: Path) -> Profile:
    from streams.versions.profile_files import read_profile

    try:
        return read_profile(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        fail(f"{path}: {error}", "`rescore profiles show pet_owner --packaged` is an example", Exit.USAGE)


def _packaged() -> ProfileBook:
    from streams.versions.packaged_profiles import packaged_book

    return packaged_book()


def _known(chosen: Settings) -> Known:
    from streams.composition.versions import known_versions

    return known_versions(chosen)


def _books(chosen: Settings) -> tuple[ProfileBook, list[ProfileBook]]:
    """The profiles in force now, and what comes into force later."""
    from streams.publish.stamps import present_ms

    versions, at_ms = _known(chosen).versions, present_ms(chosen)
    book = versions.books[versions.book_index_at(at_ms)]
    return book, [one for one in versions.books if one.effective_ms > at_ms]


def _would_refuse(chosen: Settings, known: Known, topic: str, key: bytes, value: bytes, at_ms: int) -> list[Any]:
    """Why workers would not take this record, if they would not."""
    from schemas.batch import Record
    from streams.composition.registry import registry_for
    from streams.versions.known import reader

    record = Record(chosen.topic(topic), 0, 2**62, at_ms, key, value)
    after = known.adopt([record], reader(registry_for(chosen), chosen.topic_prefix))
    return [one for one in after.refused if one.place == (record.topic, record.offset)]


def _time_text(time_ms: int) -> str:
    from schemas.time_text import text_of_ms

    return text_of_ms(time_ms)


def _table(profiles: Sequence[Profile]) -> Table:
    from schemas.categories import CATEGORY_NAMES

    shown = table("id", "title", "purpose", "state", "fades by half in", "categories")
    for profile in profiles:
        state = "on" if profile.enabled else "off"
        categories = sorted({CATEGORY_NAMES[one] for trigger in profile.triggers for one in trigger.categories})
        shown.add_row(
            profile.profile_id,
            profile.title,
            profile.purpose,
            f"{state}, sensitive" if profile.sensitive else state,
            f"{profile.half_life_days:g} days",
            ", ".join(categories),
        )
    return shown
