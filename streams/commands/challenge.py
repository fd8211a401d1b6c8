"""`rescore models challenge`: one challenger more, or one less, for a model that learns from requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import Exit, fail
from streams.commands.common import AsJson, guarded, settings

if TYPE_CHECKING:
    from streams.scoring.models.specs import ModelSpec


@guarded
def challenge(
    model: Annotated[str, typer.Argument(help="The model: risk, acceptance, home_insurance, ...")],
    challenger: Annotated[str, typer.Argument(help="What the challenger is called.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")],
    kind: Annotated[str, typer.Option(help="additive, tree or forest; these two are never in force.")] = "additive",
    half_life_examples: Annotated[
        float | None, typer.Option(min=1, help="additive: forgets by half in so many; default: nothing.")
    ] = None,
    window_examples: Annotated[
        int | None, typer.Option(help="tree, forest: grown from so many of the last; default: 10,000, 4,000.")
    ] = None,
    one_in: Annotated[int | None, typer.Option(help="tree, forest: one case in so many; default: all.")] = None,
    end: Annotated[bool, typer.Option("--end", help="Withdraw the challenger of this name.")] = False,
    author: Annotated[str, typer.Option(help="Who decides; default: you, at this machine.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let another challenger learn beside a model and score in shadow, a minute from now; or withdraw one.

    A challenger of this name starts again if it is defined differently. `rescore models list` shows how much better or
    worse each is than the champion on the same cases, and how many people would change band.

    Examples:

      rescore models challenge risk grove --kind forest --one-in 8 --reason "how much do trees know more?"

      rescore models challenge risk grove --end --reason "nothing"
    """
    from schemas.batch import FOREVER_MS
    from streams.commands.decisions import ADOPTION_NOTICE_MS, publish_config, told
    from streams.composition.versions import known_versions
    from streams.publish.stamps import present_ms, who
    from streams.scoring.models.specs import body_of_spec, spec_at
    from streams.versions.reading import declared_model

    chosen = settings()
    spec = spec_at(known_versions(chosen).specs, model, FOREVER_MS)
    if spec is None:
        fail(f"there is no model {model!r} that learns from requests", "rescore models declare --help", Exit.USAGE)
    wanted: dict[str, Any] = {"kind": kind, "half_life_examples": half_life_examples,
                              "window_examples": window_examples, "one_in": one_in}  # fmt: skip
    body = body_of_spec(spec)
    try:
        body["challengers"] = changed(spec, challenger, None if end else wanted)
        after = declared_model(model, json.dumps(body), 0)
    except ValueError as error:
        fail(str(error), "see `rescore models challenge --help`", Exit.USAGE)
    now_ms = present_ms(chosen)
    effective_ms = now_ms + ADOPTION_NOTICE_MS
    fields = {"name": f"manifest.{model}", "version": f"{model}-manifest", "effective_ms": effective_ms,
              "body": json.dumps(body), "author": author or who(), "reason": reason}  # fmt: skip
    publish_config(chosen, fields, now_ms)
    told(as_json, {"model": model, "challengers": ", ".join(after.challengers)}, effective_ms)


def changed(spec: ModelSpec, challenger: str, wanted: dict[str, Any] | None) -> dict[str, Any]:
    """The challengers of a declaration with this one as well, or without it. Raises ValueError."""
    from streams.scoring.models.specs import body_of_spec

    held: dict[str, Any] = dict(body_of_spec(spec)["challengers"])
    if wanted is not None:
        return held | {challenger: {name: value for name, value in wanted.items() if value is not None}}
    if challenger not in held:
        raise ValueError(f"{spec.name} has no challenger {challenger!r}; it has {', '.join(held)}")
    del held[challenger]
    if not held:
        raise ValueError(f"{challenger} is the only challenger of {spec.name}: name another one first")
    return held
