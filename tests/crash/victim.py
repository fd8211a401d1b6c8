"""A worker in a process of its own that kills itself with SIGKILL at a named step.

Called with: KAFKA PREFIX REDIS STEP HIT.

STEP `-` means: live. An HIT of 0 with step K8 kills a few milliseconds into the commit, wherever that is.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid

from state.redis_store import RedisStore
from tests.integration.kafka_world import KafkaWorld

KAFKA, PREFIX, REDIS, STEP, HIT = sys.argv[1:]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


left = [int(HIT)]


def failpoint(step: str) -> None:
    if step != STEP:
        return
    if left[0] == 0:
        threading.Timer(0.002, die).start()
    left[0] -= 1
    if left[0] == 0:
        die()


world = KafkaWorld(
    store=RedisStore(REDIS, PREFIX, 2, require_append_only=False),  # type: ignore[arg-type]
    bootstrap_servers=KAFKA,
    prefix=PREFIX,
)
world.nonce = lambda: uuid.uuid4().hex  # type: ignore[method-assign]
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
world.worker("a", failpoint).run(stopped.is_set)
