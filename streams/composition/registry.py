"""Codecs with the schema registry in force, and the partition of a key: built from settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.known_schemas import Registry
    from schemas.registry import ConfluentRegistry
    from schemas.topic_values import Values
    from streams.settings import Settings


def values(chosen: Settings) -> Values:
    """Reader and writer of values, with the registry where one is configured."""
    from schemas.topic_values import Values

    return Values(registry_for(chosen))


def registry_for(chosen: Settings) -> Registry:
    """The registry in force: the configured one, or the schemas that ship with the program."""
    from schemas.known_schemas import StaticRegistry

    return StaticRegistry() if chosen.registry.url is None else registry_of(chosen)


def registry_of(chosen: Settings) -> ConfluentRegistry:
    """The schema registry that is configured."""
    from schemas.registry import ConfluentRegistry

    login = {}
    if chosen.registry.username and chosen.registry.password:
        login["basic.auth.user.info"] = f"{chosen.registry.username}:{chosen.registry.password.get_secret_value()}"
    return ConfluentRegistry(chosen.registry.url or "", login, chosen.topic_prefix)


def partition_of(chosen: Settings, user: str, partitions: int) -> int:
    """The partition that holds a user, by the partitioner in force."""
    from schemas.partitioner import Partitioner
    from schemas.partitioner import partition_of as place

    return place(user.encode(), partitions, Partitioner[chosen.kafka.partitioner.upper()])
