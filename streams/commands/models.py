"""`rescore models`: what is learned, how well, who is in force, and the decisions that persons make about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import Exit, fail
from streams.commands.challenge import challenge
from streams.commands.common import AsJson, guarded, settings, show_json_or
from streams.commands.decisions import ADOPTION_NOTICE_MS, publish_config, told
from streams.commands.partial import tell_missing
from streams.commands.remembered import remembered
from streams.composition.versions import known_versions
from streams.terminal import console, echo, print_json

if TYPE_CHECKING:
    pass

app = typer.Typer(help="See and decide about models: list, show, promote, rollback, freeze, envelope, declare, epochs.")

Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
Author = Annotated[str, typer.Option(help="Who decides; default: you, at this machine.")]
Name = Annotated[str, typer.Option("--name", help="The model: value, risk, acceptance, categories, ...")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="A version as `rescore models list` shows it.")]


@app.command("list")
@guarded
def list_models(as_json: AsJson = False) -> None:
    """Show of each model the version in force, those that may come back, and the challengers that learn beside it.

    All figures of a model are of the same customers, predicted before anything was learned from them. `band changes`:
    how many people a challenger would put in a better and a worse band. A shadow tree or forest is never in force: it
    shows how much better a model could be.

    Example: rescore models list --json | jq -r .models.risk.champion
    """
    from streams.learner.report import as_tables, summary

    missing: list[str] = []
    said = summary(remembered(settings(), missing))

    def show_tables() -> None:
        for table in as_tables(said):
            console().print(table)

    show_json_or(as_json, said, show_tables)
    if not as_json:
        echo(f"next: rescore models show {said['models']['value']['champion']}", err=True)
    tell_missing(missing)


@app.command()
@guarded
def show(
    version: Annotated[str, typer.Argument(help="A version; default: the timeline alone.")] = "",
    name: Annotated[str, typer.Option("--name", help="The model; default: all.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what happened to the models, and one version: when it was in force, why, its figures.

    Of a credit or insurance model also: what came of its cases, calibration, and the fairness table.

    Example: rescore models show --name risk
    """
    from streams.learner.report import details, more_lines, timeline_lines

    missing: list[str] = []
    known = remembered(settings(), missing)
    if name and name not in known.models:
        fail(f"nothing is known of a model {name!r}", f"there are {', '.join(known.models)}", Exit.USAGE)
    said = details(known, version, name)
    if version and said["version"] is None:
        fail(f"no version {version!r} is kept", "`rescore models list` shows those that are")
    if as_json:
        print_json(said)
        tell_missing(missing)
        return
    if said["version"]:
        for key, value in said["version"].items():
            echo(f"{key:<12} {value}")
    for line in (*more_lines(said), *timeline_lines(said["timeline"])):
        echo(line)
    tell_missing(missing)


@app.command()
@guarded
def promote(
    version: Version,
    reason: Reason,
    name: Name = "value",
    card: Annotated[
        Path | None, typer.Option(help="The model card that was approved; credit and insurance models need one.")
    ] = None,
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Put a challenger (steady, nimble, online) or an approved version in force from the next closing of an epoch on.

    Nothing else puts a version of a credit or insurance model in force, but an envelope that a person has approved.

    Example: rescore models promote steady --name risk --card docs/cards/risk.md --reason "approved by the committee"
    """
    if name not in ("value", "categories") and card is None:
        fail(f"{name} decides about people", "name the card that was approved: --card FILE", Exit.USAGE)
    _decide(name, "promote", version, reason, author, as_json, card)


@app.command()
@guarded
def rollback(
    reason: Reason,
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="Where to; default: the one before.")] = "",
    name: Name = "value",
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Go back to an approved version from the next closing of an epoch on; learning starts again from it.

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
def envelope(
    reason: Reason,
    name: Name,
    end: Annotated[bool, typer.Option("--end", help="Take the approval back.")] = False,
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Approve beforehand that a better challenger comes into force by itself, where little changes.

    At most once in 30 days, PSI of the scores below 0.10, AUC and log loss no worse, fewer than 5 % of the last people
    in another band, no drift under way; the limits are those of the learning policy. A version names who approved.

    Example: rescore models envelope --name risk --reason "committee of March, until further notice"
    """
    _decide(name, "no_envelope" if end else "envelope", "", reason, author, as_json)


@app.command()
@guarded
def declare(
    name: Annotated[str, typer.Argument(help="What the model is called: small letters, digits and _.")],
    file: Annotated[Path, typer.Argument(help="Its manifest as JSON; docs/learning.md shows one.", exists=True)],
    reason: Reason,
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Declare a model of your own that learns from requests and outcomes, or other challengers of one there is.

    A protected attribute in a credit or insurance model is refused. What a model looks at is fixed once it is declared.
    A challenger of the kind tree or forest learns in the shadow and is never in force.

    Example: rescore models declare leases leases.json --reason "pilot"
    """
    from streams.publish.stamps import present_ms, who
    from streams.versions.reading import declared_model

    chosen = settings()
    try:
        body = file.read_text("utf-8")
        spec = declared_model(name, body, 0)
    except (OSError, ValueError) as error:
        fail(f"{file}: {error}", "see `rescore models declare --help`", Exit.USAGE)
    now_ms = present_ms(chosen)
    fields = {"name": f"manifest.{name}", "version": f"{name}-manifest", "effective_ms": now_ms + ADOPTION_NOTICE_MS,
              "body": body, "author": author or who(), "reason": reason}  # fmt: skip
    publish_config(chosen, fields, now_ms)
    said = {"model": name, "features": len(spec.manifest.features), "challengers": ", ".join(spec.challengers)}
    told(as_json, said, now_ms + ADOPTION_NOTICE_MS)


@app.command()
@guarded
def epochs(
    seconds: Annotated[int, typer.Argument(min=0, help="An epoch ends when so much time has passed; 0: never.")],
    reason: Reason,
    adopt: Annotated[str, typer.Option(help="daily, or each_epoch: when new weights come into force.")] = "daily",
    author: Author = "",
    as_json: AsJson = False,
) -> None:
    """Decide when epochs of learning end, for a deployment that runs; all else of the policy stays as it is.

    Example: rescore models epochs 300 --reason "learning begins"
    """
    from dataclasses import asdict, replace

    from schemas.writing import Encoder
    from streams.composition.registry import registry_for
    from streams.publish.stamps import present_ms, send_broadcast, who
    from streams.versions.bodies import learning_policy_of
    from streams.versions.records import learning_record

    chosen = settings()
    now_ms = present_ms(chosen)
    known = known_versions(chosen)
    number = len(known.learning) + 1
    before = asdict(known.learning[-1]) if known.learning else {}
    body = {key: value for key, value in before.items() if key not in ("version", "effective_ms")}
    try:
        policy = learning_policy_of(body | {"epoch_ms": seconds * 1_000, "adopt": adopt}, f"learning-{number}", now_ms)
    except ValueError as error:
        fail(str(error), "see `rescore models epochs --help`", Exit.USAGE)
    policy = replace(policy, effective_ms=now_ms + ADOPTION_NOTICE_MS)
    topic, key, value = learning_record(policy, author or who(), reason, Encoder(registry_for(chosen)))
    send_broadcast(chosen, topic, key, value, now_ms)
    told(as_json, {"learning": policy.version, "epoch_seconds": seconds, "adopt": adopt}, policy.effective_ms)


def _decide(
    name: str, decision: str, version: str, reason: str, author: str, as_json: bool, card: Path | None = None
) -> None:
    """Publish a decision; the learner obeys at the next boundary of an epoch."""
    from streams.publish.stamps import present_ms, who
    from streams.scoring.models.specs import ADDITIVE, never_in_force

    chosen = settings()
    memory = remembered(chosen)
    if name not in memory.models:
        fail(f"nothing has been learned of a model {name!r}", f"there are {', '.join(memory.models)}", Exit.USAGE)
    if version in memory.challengers(name) and (kind := memory.kind(name, version)) != ADDITIVE:
        fail(never_in_force(version, kind), f"`rescore models show {version} --name {name}` shows it", Exit.USAGE)
    if version and version not in (known := memory.versions(name)):
        fail(f"no version {version!r} is kept", f"one of {', '.join(known)}", Exit.USAGE)
    now_ms = present_ms(chosen)
    effective_ms = now_ms + ADOPTION_NOTICE_MS
    body = {"decision": decision, "version": version} | ({} if card is None else {"card": _card_words(card)})
    fields = {"name": f"models.{name}", "version": decision, "effective_ms": effective_ms, "body": json.dumps(body),
              "author": author or who(), "reason": reason}  # fmt: skip
    publish_config(chosen, fields, now_ms)
    told(as_json, {"model": name, "decision": decision, "version": version, "author": fields["author"]}, effective_ms)


def _card_words(card: Path) -> str:
    """A card by its name and the hash of what it said when it was approved."""
    import hashlib

    try:
        return f"card {card.name}, sha256 {hashlib.sha256(card.read_bytes()).hexdigest()}"
    except OSError as error:
        fail(f"the card cannot be read: {error}", "rescore evaluate --card FILE writes one", Exit.USAGE)


app.command()(challenge)
