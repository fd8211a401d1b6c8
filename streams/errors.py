"""Errors of the processes, named by what has to be done about them; those of the memory are the same classes.

What a running worker does by itself (abort and rewind, a new producer, halting a partition) is told by the exceptions
of `streams.log.protocol`, beside the protocol that raises them. A bad event is never an exception: it is a `Reject`.
"""

from __future__ import annotations

from state.errors import RefusedSettings, StoreAhead, StoreUnavailable

__all__ = ["RefusedSettings", "StoreAhead", "StoreUnavailable"]
