"""The proxy does what it says, so that a fault that is survived was really there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from local.servers.process import LOOPBACK
from tests.faults.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything back."""
    server = socket.create_server((LOOPBACK, 0))

    def answer(connection: socket.socket) -> None:
        with connection, suppress(ConnectionResetError):
            while data := connection.recv(4096):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.fixture
def road(echo: int) -> Iterator[Proxy]:
    with Proxy(echo) as made:
        yield made


def connect(road: Proxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, road.port), timeout=5)


def said_back(connection: socket.socket, word: bytes) -> float:
    """Seconds a word takes there and back."""
    began = time.monotonic()
    connection.sendall(word)
    assert connection.recv(100) == word
    return time.monotonic() - began


def test_a_good_road_passes_everything_on_and_a_delay_counts_each_way(road: Proxy) -> None:
    with connect(road) as connection:
        assert said_back(connection, b"hello") < 0.1
        road.delay(0.1)
        assert 0.2 <= said_back(connection, b"hello") < 0.6
        road.mend()
        assert said_back(connection, b"hello") < 0.1


def test_what_is_stalled_arrives_when_the_road_is_mended(road: Proxy) -> None:
    with connect(road) as connection:
        said_back(connection, b"hello")
        road.stall()
        connection.sendall(b"late")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        road.mend()
        connection.settimeout(5)
        assert connection.recv(100) == b"late"


def test_a_cut_resets_connections_and_refuses_new_ones_until_it_is_mended(road: Proxy) -> None:
    with connect(road) as connection:
        said_back(connection, b"hello")
        road.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    with pytest.raises(OSError, match=r"reset|pipe"), connect(road) as connection:
        said_back(connection, b"hello")
    road.mend()
    with connect(road) as connection:
        said_back(connection, b"hello")
