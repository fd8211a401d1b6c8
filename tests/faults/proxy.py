"""A road between two programs that can be made bad: a TCP proxy that delays, stalls and cuts.

The proxy runs in a thread of its own. What is stalled is kept and delivered later, as TCP does with packets that were
lost: an outage shorter than the programs' patience is nothing but a delay.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from local.servers.process import LOOPBACK, free_port

CHUNK_BYTES = 2**16
LOOK_SECONDS = 0.01


class Proxy:
    """Listens on a loopback port of its own and passes everything on to `target_port`.

    >>> with Proxy(target_port=6379) as road:  # doctest: +SKIP
    ...     road.delay(0.2)
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.target_port = target_port
        self._delay_seconds = 0.0
        self._stalled = False
        self._severed = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accept, LOOPBACK, self.port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> str:
        """host:port to connect to."""
        return f"{LOOPBACK}:{self.port}"

    def delay(self, seconds: float) -> None:
        """From now on everything takes this long, each way."""
        self._delay_seconds = seconds

    def stall(self) -> None:
        """Nothing gets through in either direction, and nobody is told; new connections are accepted and stall too."""
        self._stalled = True

    def cut(self) -> None:
        """Every connection is reset, and so is each new one."""
        self._severed = True
        self._do(self._reset())

    def retarget(self, port: int) -> None:
        """Lead to another server: connections there are, are reset."""
        self.target_port = port
        self._do(self._reset())

    def mend(self) -> None:
        """The road is good again."""
        self._severed = self._stalled = False
        self._delay_seconds = 0.0

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _reset(self) -> None:
        for writer in list(self._writers):
            _abort(writer)

    async def _close(self) -> None:
        self._server.close()
        await self._reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._severed:
            _abort(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.target_port)
        except OSError:
            _abort(writer)
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        except (OSError, asyncio.CancelledError):  # a task that ends as cancelled is told as an error
            pass
        finally:
            self._writers -= both
            for one in both:
                _abort(one)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction: read as it comes, deliver each piece when its time has come and the road is open."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1_000)
        deliver = asyncio.create_task(self._deliver(pieces, writer))
        try:
            while data := await reader.read(CHUNK_BYTES):
                await pieces.put((time.monotonic() + self._delay_seconds, data))
            await pieces.put((time.monotonic() + self._delay_seconds, b""))
            await deliver
        finally:
            deliver.cancel()

    async def _deliver(self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due_seconds, data = await pieces.get()
            while self._stalled or (left := due_seconds - time.monotonic()) > 0:  # noqa: ASYNC110 - another thread mends it
                await asyncio.sleep(LOOK_SECONDS if self._stalled else left)
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a host that has lost its memory does; what is under way is thrown away."""
    if not writer.transport.is_closing():
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
