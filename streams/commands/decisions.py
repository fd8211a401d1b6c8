"""Decisions about models: published to the configuration, and told to the person who made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.errors import Exit, fail
from streams.commands.common import show_json_or
from streams.terminal import echo

if TYPE_CHECKING:
    from streams.settings import Settings


ADOPTION_NOTICE_MS = 60_000


def publish_config(chosen: Settings, fields: dict[str, Any], now_ms: int) -> None:
    """Write a record of `rescore-config`, if it fits its schema."""
    from streams.composition.registry import values
    from streams.publish.stamps import send_broadcast
    from streams.versions.records import config_record
    from streams.versions.schema.base import RefusedBody

    try:
        record = config_record(fields, values(chosen).encoding)
    except RefusedBody as error:
        fail(f"nothing was published: {error}", "see docs/versions.md", Exit.USAGE)
    send_broadcast(chosen, *record, now_ms)


def told(as_json: bool, said: dict[str, Any], effective_ms: int) -> None:
    """Say what was published, and from when on it counts."""
    from schemas.time_text import text_of_ms

    said |= {"from": text_of_ms(effective_ms)}
    words = ", ".join(f"{name} {value}" for name, value in said.items() if value != "")
    show_json_or(as_json, said, lambda: echo(f"published: {words}"))
