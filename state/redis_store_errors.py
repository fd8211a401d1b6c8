"""Answers of a Redis server that does not do what it was asked, as errors that say what to do."""

from __future__ import annotations

import re

import redis

from state.errors import RefusedSettings, StoreUnavailable

RIGHTS = "~{%s.* +@read +@write +@transaction +@connection +info +fcall +function|load"
"""What a worker's user needs on the server, as an ACL says it, with the app's name."""

TRANSIENT = re.compile(r"^(OOM|MISCONF|NOREPLICAS|LOADING|BUSY|READONLY|MASTERDOWN|TRYAGAIN|CLUSTERDOWN|UNKILLABLE)\b|"
                       r"read only|out of memory|command not allowed when used memory", re.IGNORECASE)  # fmt: skip
"""Answers of a server that cannot now, but may soon: the write did not happen."""


class Translated:
    """Turns what a client says about a server that does not answer, or cannot now, into errors that say what to do."""

    def __init__(self, app: str) -> None:
        self._app = app

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
            raise RefusedSettings(
                f"Redis refuses this user ({error})",
                f"correct RESCORE_REDIS__URL, or give it the rights of a worker: ACL SETUSER USER {RIGHTS % self._app}",
            ) from error
        if isinstance(error, redis.ResponseError) and "WRONGTYPE" in str(error):
            raise RefusedSettings(
                f"a key of this app in Redis was written by another program ({error})",
                "find that program, give it other keys and delete the key: the partition is rebuilt from the changelog",
            ) from error
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            raise StoreUnavailable(f"Redis does not answer: {error}") from error
        if isinstance(error, redis.RedisError) and TRANSIENT.search(str(error)):
            raise StoreUnavailable(f"Redis cannot just now: {error}") from error


def is_unknown_function(answer: object) -> bool:
    """Whether the server does not know a function of ours: it was replaced, or its functions were flushed."""
    return isinstance(answer, redis.ResponseError) and "function not found" in str(answer).lower()
