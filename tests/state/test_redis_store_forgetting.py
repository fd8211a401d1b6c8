"""A real Valkey that loses single keys between any two questions, is restarted in a sweep, evicts, or is of a former
release.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from local.servers.valkey import Valkey
from state import redis_store
from state.redis_store import RedisStore
from state.store import Position, RowWrite, SaveOutcome

FORMER_SOURCE = (Path(__file__).parent / "former" / "rescore_layout_1.lua").read_text("utf-8")
ANN, BOB, EVE = RowWrite(b"ann", b"a", 5), RowWrite(b"bob", b"b", None), RowWrite(b"eve", b"e", 7)
HELD = Position(3, "session", 30)


@pytest.fixture
def server() -> Iterator[Valkey]:
    """A Valkey that a test may mistreat."""
    with Valkey.start() as started:
        yield started


def store_at(server: Valkey) -> RedisStore:
    return RedisStore(server.url, "app", 4)


def raw(server: Valkey) -> Any:
    return redis.Redis.from_url(server.url)


def before_each_question(store: RedisStore, act: Callable[[int], None]) -> None:
    """Act before the n-th round trip of questions that are asked from here on."""
    ask, numbers = store._at_once, itertools.count(1)

    def asked(*commands: tuple[object, ...]) -> list[Any]:
        act(next(numbers))
        return ask(*commands)

    store._at_once = asked  # type: ignore[method-assign]


KEYS = ("{app.0}:u:ann", "{app.0}:due", "{app.0}:m")
WHEN = (1, 2, None)  # before the first round trip, before the second, never


@pytest.mark.parametrize("ask", ["load", "verify"])
def test_whatever_is_lost_between_two_questions_a_known_customer_is_never_new(server: Valkey, ask: str) -> None:
    for moments in itertools.product(WHEN, repeat=len(KEYS)):
        store, client = store_at(server), raw(server)
        store.restore(0, HELD, [[ANN, BOB]])

        def lose(number: int, moments: tuple[int | None, ...] = moments, client: Any = client) -> None:
            if gone := [key for key, moment in zip(KEYS, moments, strict=True) if moment == number]:
                client.delete(*gone)

        before_each_question(store, lose)
        if ask == "load":
            rows, held = store.load_at(0, [b"ann", b"new"])
            is_missing = rows[0] is None
        else:
            _, held = store.verify(0, b"", 9)
            is_missing = moments[0] is not None
        believed = held is not None and held.ready and not held.lost
        assert not (is_missing and believed), f"lost at {dict(zip(KEYS, moments, strict=True))}: {held}"
        assert believed or any(moments), f"nothing was lost, and it is said: {held}"


def test_a_row_that_is_lost_behind_the_question_is_there_for_it(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, HELD, [[ANN]])
    before_each_question(store, lambda number: number == 2 and raw(server).delete("{app.0}:u:ann"))
    assert store.load_at(0, [b"ann", b"new"]) == ([b"a", None], HELD)
    assert store.load_at(0, [b"ann"])[1] == HELD._replace(lost=1)


def test_a_copy_that_takes_over_between_two_questions_is_believed_where_it_is_the_same(server: Valkey) -> None:
    store = store_at(server)
    for then, told in ((HELD, HELD), (HELD._replace(seq=2), None), (HELD._replace(nonce="other"), None)):
        store.restore(0, HELD, [[ANN]])
        asking = store_at(server)

        def take_over(number: int, then: Position = then) -> None:
            if number == 2:
                store_at(server).restore(0, then, [[ANN]])

        before_each_question(asking, take_over)
        assert asking.load_at(0, [b"ann", b"new"]) == ([b"a", None], told)


def test_a_server_that_was_restarted_while_it_named_everyone_begins_again(server: Valkey) -> None:
    """Cursors of a scan belong to one life of a server: its tables are in another order in the next."""
    store, users = store_at(server), [b"user-%d" % i for i in range(500)]
    store.restore(0, HELD, [[RowWrite(user, b"row", None) for user in users]])
    for pieces in (1, 2, 4):
        cursor = b""
        for _ in range(pieces):
            _, cursor, _ = store.users_at(0, cursor, 20)
            assert cursor
        server.end(signal.SIGTERM)
        server.restart()
        named: list[bytes] = []
        store = store_at(server)  # as by a client that connects again
        while True:
            some, cursor, held = store.users_at(0, cursor, 20)
            named += some
            assert held == HELD
            if not cursor:
                break
        assert set(named) == set(users)


def test_a_server_that_evicts_says_so_while_it_runs(server: Valkey) -> None:
    store, client = store_at(server), raw(server)
    store.check()
    assert store.evicts() == ""
    client.config_set("maxmemory-policy", "allkeys-lru")
    words = store.evicts()
    assert words.startswith("maxmemory-policy is allkeys-lru")
    assert "Set `maxmemory-policy noeviction`" in words
    client.config_set("maxmemory-policy", "noeviction")
    assert store.evicts() == ""


def test_rows_that_the_server_evicts_are_missed(server: Valkey) -> None:
    store, client = store_at(server), raw(server)
    users = [b"user-%04d" % i for i in range(3_000)]
    store.restore(0, HELD, [[RowWrite(user, b"x" * 500, None) for user in users]])
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 200_000)
    while client.exists("{app.0}:m", "{app.0}:due") == 2 and client.dbsize() > 2_900:
        client.set("of somebody else", "y" * 10_000)
    client.config_set("maxmemory", 0)
    left = client.dbsize()
    assert left < 3_000
    rows, held = store.load_at(0, users)
    assert held is None or held.lost >= sum(row is None for row in rows) > 0
    _, held = store.verify(0, b"", 10_000)
    assert held is None or held.lost > 0


def former_store(server: Valkey, monkeypatch: pytest.MonkeyPatch) -> RedisStore:
    """A store as the release before layout 2 has it: its functions, and its idea of the keys."""
    monkeypatch.setattr(redis_store, "LAYOUT", b"1")
    monkeypatch.setattr(redis_store, "SOURCE", FORMER_SOURCE)
    monkeypatch.setattr(redis_store, "DIGEST", "former")
    return store_at(server)


def test_a_partition_of_the_release_before_is_rebuilt_and_the_way_back_as_well(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:
        former = former_store(server, then)
        former.restore(0, HELD, [[ANN, BOB]])
        assert former.save(0, 3, Position(4, "session", 40), [EVE]) is SaveOutcome.OK
        assert raw(server).zrange("{app.0}:due", 0, -1) == [b"ann", b"eve"]
    store = store_at(server)
    assert (store.position(0), store.claim(0, "next")) == (None, None)
    assert store.load_at(0, [b"ann"])[1] is None
    assert store.save(0, 4, Position(5, "session", 50), []) is SaveOutcome.MISSING
    store.restore(0, Position(4, "next", 40), [[ANN, BOB, EVE]])
    assert store.save(0, 4, Position(5, "next", 50), [RowWrite(b"zoe", b"z", None)]) is SaveOutcome.OK
    assert store.load_at(0, [b"bob", b"new"]) == ([b"b", None], Position(5, "next", 50))
    with monkeypatch.context() as then:
        former = former_store(server, then)
        assert (former.position(0), former.claim(0, "again")) == (None, None)
        former.restore(0, Position(5, "again", 50), [[ANN, BOB]])
        assert former.save(0, 5, Position(6, "again", 60), [EVE]) is SaveOutcome.OK
        assert former.due(0, 9, 9) == [b"ann", b"eve"]
        assert former.load(0, [b"zoe", b"bob"]) == [None, b"b"]
    assert store_at(server).claim(0, "last") is None
