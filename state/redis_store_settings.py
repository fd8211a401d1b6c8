"""Settings of a Redis server that would lose rows: what a worker refuses at its start, and asks again while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from state.errors import RefusedSettings

REDIS_MAJOR_MIN = 7
NO_EVICTION = "noeviction"


def refuse(info: Mapping[str, Any], *, require_append_only: bool) -> None:
    """Raise `RefusedSettings` where the answer to INFO names a setting that loses data, with what to do."""
    if int(str(info.get("redis_version", "0")).split(".")[0]) < REDIS_MAJOR_MIN:
        raise RefusedSettings(
            f"the server is Redis {info['redis_version']}, which has no functions", "use Redis 7 or later, or Valkey"
        )
    if info.get("cluster_enabled"):
        raise RefusedSettings(
            "the server is part of a Redis Cluster", "point RESCORE_REDIS__URL at a primary without cluster mode"
        )
    if info.get("role") != "master":
        raise RefusedSettings(
            "RESCORE_REDIS__URL is that of a replica, which cannot be written to",
            f"point it at the primary ({info.get('master_host')}:{info.get('master_port')})",
        )
    if (policy := info.get("maxmemory_policy")) != NO_EVICTION:
        raise RefusedSettings(
            f"the server forgets rows when it is full (maxmemory-policy is {policy})",
            "set `maxmemory-policy noeviction` and give it enough memory",
        )
    if require_append_only and not info.get("aof_enabled"):
        raise RefusedSettings(
            "the server forgets everything when it restarts (appendonly is no)",
            "set `appendonly yes`, or RESCORE_REDIS__REQUIRE_APPEND_ONLY=false where a rebuild from the changelog "
            "after each restart of the server is quick enough",
        )


def eviction(info: Mapping[str, Any]) -> str:
    """Why a server that answers so to INFO may delete rows, and what to do; empty where it does not.

    >>> eviction({"maxmemory_policy": "noeviction", "evicted_keys": 3})
    ''
    >>> print(eviction({"maxmemory_policy": "allkeys-lru", "evicted_keys": 3}).split(".")[0])
    maxmemory-policy is allkeys-lru: the server evicts rows when it is full, and has evicted 3 keys since it started
    """
    if (policy := info.get("maxmemory_policy")) == NO_EVICTION:
        return ""
    return (
        f"maxmemory-policy is {policy}: the server evicts rows when it is full, and has evicted "
        f"{info.get('evicted_keys')} keys since it started. A partition that loses rows is rebuilt from the changelog "
        f"each time. Set `maxmemory-policy noeviction` and give the server enough memory."
    )
