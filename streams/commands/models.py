"""`rescore models`: what is learned, how well, who is in force, and the decisions that persons make about it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.common import AsJson, Exit, console, fail, guarded, print_json, settings, show_json_or

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.versions import Known

app = typer.Typer(help="See and decide about models: list, show, promote, rollback, freeze, thaw, epochs.")

Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
Author = Annotated[str, typer.Option(help="Who decides; default: you, at this machine.")]
Name = Annotated[str, typer.Argument(help="The model; there is `value`.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="A version as `rescore models list` shows it.")]

ADOPTION_NOTICE_MS = 60_000


@app.command("list")
@guarded
def list_models(as_json: AsJson = False) -> None:
    """Show the version in force, those that may come back, and the challengers that learn beside it.

    All errors are of the same customers, forecast before anything was learned from them.

    Example: rescore models list --json | jq -r .champion
    """
    from streams.model_inspection import as_table, summary

    said = summary(_remembered(settings()))
    show_json_or(as_json, said, lambda: console().print(as_table(said)))
    if not as_json:
        typer.echo(f"next: rescore models show {said['champion']}", err=True)


@app.command()
@guarded
def show(
    version: Annotated[str, typer.Argument(help="A version; default: the timeline alone.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what happened to the models, and one version: when it was in force, why, its errors.

    Example: rescore models show value-2025-03-01T00:00:00Z
    """
    from streams.model_inspection import details, timeline_lines

    chosen = settings()
    remembered = _remembered(chosen)
    said = details(remembered, version)
    if version and said["version"] is None:
        fail(f"no version {version!r} is kept", "`rescore models list` shows those that are")
    if as_json:
        print_json(said)
        return
    if said["version"]:
        for name, value in said["version"].items():
            typer.echo(f"{name:<12} {value}")
    for line in timeline_lines(said["timeline"]):
        typer.echo(line)


@app.command()
@guarded
def promote(
    version: Version, reason: Reason, name: Name = "value", author: Author = "", as_json: AsJson = False
) -> None:
    """Put a challenger (steady, nimble) or an approved version in force from the next closing of an epoch on.

    Example: rescore models promote nimble --reason "card 7 approved by the committee"
    """
    _decide(name, "promote", version, reason, author, as_json)


@app.command()
@guarded
def rollback(
    reason: Reason,
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="Where to; default: the one before.")] = "",
    name: Name = "value",
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Go back to an approved version from the next closing of an epoch on; learning begins anew from it.

    Example: rescore models rollback --reason "complaints about dormant customers"
    """
    _decide(name, "rollback", version, reason, author, as_json)


@app.command()
@guarded
def freeze(reason: Reason, name: Name = "value", author: Author = "", as_json: AsJson = False) -> None:
    """Publish nothing new until `rescore models thaw`; learning goes on in the shadow.

    Example: rescore models freeze --reason "audit until Friday"
    """
    _decide(name, "freeze", "", reason, author, as_json)


@app.command()
@guarded
def thaw(reason: Reason, name: Name = "value", author: Author = "", as_json: AsJson = False) -> None:
    """End a freeze.

    Example: rescore models thaw --reason "audit passed"
    """
    _decide(name, "thaw", "", reason, author, as_json)


@app.command()
@guarded
def epochs(
    seconds: Annotated[int, typer.Argument(min=0, help="An epoch ends when so much time has passed; 0: never.")],
    reason: Reason,
    adopt: Annotated[str, typer.Option(help="daily, or each_epoch: when new weights come into force.")] = "daily",
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Decide when epochs of learning end, for a deployment that runs.

    Example: rescore models epochs 300 --reason "learning begins"
    """
    from dataclasses import replace

    from schemas.writing import Encoder
    from streams.commands.wire import registry_for, who
    from streams.learning.epochs import learning_policy_of
    from streams.versions import learning_record

    chosen = settings()
    now_ms = _now_ms(chosen)
    known = known_versions(chosen)
    number = len(known.learning) + 1
    try:
        policy = learning_policy_of({"epoch_ms": seconds * 1_000, "adopt": adopt}, f"learning-{number}", now_ms)
    except ValueError as error:
        fail(str(error), "see `rescore models epochs --help`", Exit.USAGE)
    policy = replace(policy, effective_ms=now_ms + ADOPTION_NOTICE_MS)
    topic, key, value = learning_record(policy, author or who(), reason, Encoder(registry_for(chosen)))
    _send(chosen, topic, key, value, now_ms)
    _told(as_json, {"learning": policy.version, "epoch_seconds": seconds, "adopt": adopt}, policy.effective_ms)


def _decide(name: str, decision: str, version: str, reason: str, author: str, as_json: bool) -> None:
    """Publish a decision; the learner obeys at the next boundary of an epoch."""
    from streams.commands.wire import values, who

    chosen = settings()
    if name != "value":
        fail(f"there is no model {name!r}", "there is `value`", Exit.USAGE)
    if version:
        from streams.model_inspection import versions_of

        known = versions_of(_remembered(chosen))
        if version not in known:
            fail(f"no version {version!r} is kept", f"one of {', '.join(known)}", Exit.USAGE)
    now_ms = _now_ms(chosen)
    effective_ms = now_ms + ADOPTION_NOTICE_MS
    body = json.dumps({"decision": decision, "version": version})
    fields = {"name": f"models.{name}", "version": decision, "effective_ms": effective_ms, "body": body,
              "author": author or who(), "reason": reason}  # fmt: skip
    _send(chosen, "rescore-config", f"models.{name}".encode(), values(chosen).encoder("rescore-config")(fields), now_ms)
    _told(as_json, {"model": name, "decision": decision, "version": version, "author": fields["author"]}, effective_ms)


def _told(as_json: bool, said: dict[str, Any], effective_ms: int) -> None:
    from streams.publish import text_of_ms

    said |= {"from": text_of_ms(effective_ms)}
    words = ", ".join(f"{name} {value}" for name, value in said.items() if value != "")
    show_json_or(as_json, said, lambda: typer.echo(f"published: {words}"))


def _send(chosen: Settings, topic: str, key: bytes, value: bytes, now_ms: int) -> None:
    from streams.kafka_client import producer, require_topics
    from streams.publish import Published, finish, send

    name = chosen.topic(topic)
    require_topics(chosen.kafka, [name])
    done, sender = Published(), producer(chosen.kafka)
    stamp = {"timestamp": now_ms} if chosen.clock == "records" else {}
    send(sender, done, topic=name, key=key, value=value, **stamp)
    finish(sender, done)


def _now_ms(chosen: Settings) -> int:
    """The present; for history the latest time that records have told."""
    from streams.commands.wire import stamp_ms

    stamped = stamp_ms(chosen)
    return time.time_ns() // 1_000_000 if stamped is None else stamped


def known_versions(chosen: Settings) -> Known:
    """What the broadcast topics say now."""
    import logging

    from streams.commands.worker import adopter
    from streams.kafka_client import read, require_topics
    from streams.topics import BROADCAST_TOPICS
    from streams.versions import Known, first_policy

    policy = first_policy(chosen.policy.base_currency, chosen.policy.time_zone)
    adopt = adopter(chosen, logging.getLogger("rescore"))
    counts = require_topics(chosen.kafka, [chosen.topic(name) for name in BROADCAST_TOPICS])
    return adopt(Known.first(policy), list(read(chosen.kafka, counts)))


def _remembered(chosen: Settings) -> dict[str, Any]:
    """What the learner wrote down last about the value model."""
    from streams.kafka_client import read, require_topics
    from streams.learner_memory import CHECKPOINT, MODEL
    from streams.topics import MEMORY_TOPIC

    found: dict[bytes, dict[str, Any]] = {}
    for record in read(chosen.kafka, require_topics(chosen.kafka, [chosen.topic(MEMORY_TOPIC)])):
        if record.key in (CHECKPOINT, MODEL) and record.value is not None:
            found[record.key] = json.loads(record.value)
    if MODEL not in found:
        fail("nothing has been learned yet", "rescore learner, and see `rescore models epochs --help`")
    return {**found[MODEL], "learned_until_ms": found[CHECKPOINT]["done_ms"]}
