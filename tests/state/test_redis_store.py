"""What is Redis's own: two sessions at once, servers that stop, freeze, fill up or forget, settings refused."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from local.servers.valkey import Valkey
from state.errors import RefusedSettings, StoreUnavailable
from state.redis_store import DIGEST, RedisStore
from state.redis_store_errors import RIGHTS
from state.redis_store_packing import packed
from state.store import Position, RowWrite, SaveOutcome

READER_RIGHTS = "%R~{app.* +@read +@transaction +@connection"


@pytest.fixture
def server() -> Iterator[Valkey]:
    """A Valkey that a test may mistreat."""
    with Valkey.start() as started:
        yield started


def store_at(server: Valkey, *, app: str = "app", partitions: int = 4, timeout_seconds: float = 5.0) -> RedisStore:
    return RedisStore(server.url, app, partitions, timeout_seconds=timeout_seconds)


def raw(server: Valkey) -> Any:
    return redis.Redis.from_url(server.url)


ROW = RowWrite(b"ann", b"row", 5)


def refusal(server: Valkey) -> RefusedSettings:
    with pytest.raises(RefusedSettings) as caught:
        store_at(server).check()
    return caught.value


def test_late_due_times_of_a_former_session_are_not_heard(server: Valkey) -> None:
    former, latter = store_at(server), store_at(server)
    former.restore(0, Position(0, "former", -1), [[ROW]])
    latter.claim(0, "latter")
    former.index(0, [(b"ann", 99)])
    assert latter.earliest_due_ms(0) == 5
    latter.index(0, [(b"ann", 7)])
    assert latter.earliest_due_ms(0) == 7


def test_a_former_session_in_the_middle_of_a_rebuild_can_not_touch_that_of_the_latter(server: Valkey) -> None:
    former, latter = store_at(server), store_at(server)

    def chunks() -> Iterator[list[RowWrite]]:
        yield [RowWrite(b"ann", b"former", 1)]
        latter.restore(0, Position(6, "latter", 60), [[RowWrite(b"bob", b"latter", 2)]])
        yield [RowWrite(b"bob", b"former", 1)]

    with pytest.raises(StoreUnavailable, match="another session"):
        former.restore(0, Position(5, "former", 50), chunks())
    assert latter.load(0, [b"ann", b"bob"]) == [None, b"latter"]
    assert latter.position(0) == Position(6, "latter", 60)


def test_late_words_of_a_rebuild_that_has_ended_are_not_heard(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, Position(0, "session", -1), [])
    writes = packed(store._prefix(0), [ROW])
    for late in (("fill", *writes), ("clear", b"{app.0}:u:bob")):
        assert store._call(late[0], 0, "session", *late[1:]) == 0
    assert store.load(0, [b"ann"]) == [None]


def test_a_server_emptied_in_the_middle_of_a_rebuild_does_not_keep_half_of_it(server: Valkey) -> None:
    store = store_at(server)

    def chunks() -> Iterator[list[RowWrite]]:
        yield [ROW]
        raw(server).flushall()
        yield [RowWrite(b"bob", b"row", 5)]

    with pytest.raises(StoreUnavailable, match="rebuilt"):
        store.restore(0, Position(0, "session", -1), chunks())
    assert store.position(0) is None
    assert raw(server).dbsize() == 0


def test_a_rebuild_deletes_rows_that_nothing_knows_of_and_no_one_elses(server: Valkey) -> None:
    store, other = store_at(server, app="a*"), store_at(server, app="app")
    other.restore(0, Position(0, "other", -1), [[ROW]])
    raw(server).set("{a*.0}:u:ghost", "erased long ago")
    raw(server).set("{a*.1}:u:ghost", "of another partition")
    raw(server).set("user", "of another program")
    store.restore(0, Position(0, "session", -1), [])
    assert store.load(0, [b"ghost"]) == [None]
    assert store.load(1, [b"ghost"]) == [b"of another partition"]
    assert other.load(0, [b"ann"]) == [b"row"]
    assert raw(server).get("user") == b"of another program"


def test_all_keys_of_a_partition_share_one_slot(server: Valkey) -> None:
    store = store_at(server)
    store.restore(3, Position(0, "session", -1), [[ROW]])
    keys = raw(server).scan(count=100)[1]
    assert sorted(keys) == [b"{app.3}:due", b"{app.3}:m", b"{app.3}:u:ann"]
    slots = {raw(server).execute_command("CLUSTER", "KEYSLOT", key) for key in keys}
    assert slots == {raw(server).execute_command("CLUSTER", "KEYSLOT", "{app.3}")}


def test_no_key_ever_expires(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, Position(0, "session", -1), [[ROW]])
    store.save(0, 0, Position(1, "session", 0), [ROW])
    assert {raw(server).ttl(key) for key in raw(server).scan(count=100)[1]} == {-1}


def test_functions_are_loaded_once_and_again_when_the_server_has_lost_them(server: Valkey) -> None:
    store = store_at(server)
    store.check()
    assert [library[b"library_name"] for library in libraries(server)] == [f"rescore_{DIGEST}".encode()]
    store.restore(0, Position(0, "session", -1), [])
    raw(server).function_flush()
    assert store.save(0, 0, Position(1, "session", 0), [ROW]) is SaveOutcome.OK
    assert len(libraries(server)) == 1


def libraries(server: Valkey) -> list[dict[bytes, Any]]:
    """What FUNCTION LIST says, as dictionaries whatever the protocol."""
    with redis.Redis.from_url(server.url, protocol=3) as client:
        found: list[dict[bytes, Any]] = client.execute_command("FUNCTION", "LIST")
    return found


def test_functions_of_another_release_are_left_alone(server: Valkey) -> None:
    former = "#!lua name=rescore_former\nredis.register_function('rescore_save_former', function() return 1 end)"
    raw(server).execute_command("FUNCTION", "LOAD", former)
    store_at(server).check()
    assert len(libraries(server)) == 2


def test_a_server_that_is_down_is_unavailable_and_what_it_was_told_is_there_when_it_is_back(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, Position(0, "session", -1), [[ROW]])
    assert store.save(0, 0, Position(1, "session", 9), [RowWrite(b"bob", b"row", 3)]) is SaveOutcome.OK
    server.end(signal.SIGTERM)
    for use in (
        lambda: store.position(0),
        lambda: store.claim(0, "session"),
        lambda: store.load(0, [b"ann"]),
        lambda: store.due(0, 9, 9),
        lambda: store.save(0, 1, Position(2, "session", 0), []),
        lambda: store.index(0, [(b"ann", 1)]),
        store.check,
    ):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            use()
    server.restart()
    assert store.load(0, [b"ann", b"bob"]) == [b"row", b"row"]
    assert store.due(0, 9, 9) == [b"bob", b"ann"]
    assert store.position(0) == Position(1, "session", 9)


def test_a_write_whose_answer_never_came_is_known_by_its_position(server: Valkey) -> None:
    store = store_at(server, timeout_seconds=0.3)
    store.restore(0, Position(0, "session", -1), [])
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            store.save(0, 0, Position(1, "session", 0), [ROW])
    finally:
        os.kill(server.pid, signal.SIGCONT)
    patient = store_at(server)
    patient.check()  # an answer: what was sent before has been read
    arrived = patient.position(0) == Position(1, "session", 0)
    assert patient.load(0, [b"ann"]) == [b"row" if arrived else None]
    expected = SaveOutcome.ALREADY if arrived else SaveOutcome.OK
    assert store.save(0, 0, Position(1, "session", 0), [ROW]) is expected
    assert store.load(0, [b"ann"]) == [b"row"]


def test_a_full_server_is_unavailable_and_takes_nothing_by_halves(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, Position(0, "session", -1), [[ROW]])
    raw(server).config_set("maxmemory", "1mb")
    with pytest.raises(StoreUnavailable, match="cannot just now"):
        store.save(0, 0, Position(1, "session", 0), [RowWrite(b"bob", b"row", 5)])
    assert store.load(0, [b"ann", b"bob"]) == [b"row", None]
    assert store.due(0, 9, 9) == [b"ann"]
    raw(server).config_set("maxmemory", "0")
    assert store.save(0, 0, Position(1, "session", 0), []) is SaveOutcome.OK


def test_a_server_that_misses_its_replicas_is_unavailable_and_takes_nothing(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, Position(0, "session", -1), [[ROW]])
    raw(server).config_set("min-replicas-to-write", "1")
    with pytest.raises(StoreUnavailable, match="cannot just now"):
        store.save(0, 0, Position(1, "session", 0), [RowWrite(b"bob", b"row", 5)])
    assert store.read(b"bob", 0) == (None, Position(0, "session", -1))


def test_a_primary_that_became_a_replica_is_unavailable(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, Position(0, "session", -1), [[ROW]])
    raw(server).replicaof("127.0.0.1", server.port + 1)
    with pytest.raises(StoreUnavailable):
        store.save(0, 0, Position(1, "session", 0), [RowWrite(b"bob", b"row", 5)])


def test_a_key_of_the_wrong_type_stops_a_save_before_it_writes(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, Position(0, "session", -1), [[RowWrite(b"ann", b"row", None)]])
    raw(server).set("{app.0}:due", "of somebody else")
    for due_ms in (5, None):
        with pytest.raises(RefusedSettings, match="another program"):
            store.save(0, 0, Position(1, "session", 0), [RowWrite(b"ann", b"new", due_ms)])
    for question in (store.position, lambda p: store.load_at(p, [b"ann"]), lambda p: store.claim(p, "session")):
        with pytest.raises(RefusedSettings, match="another program") as caught:
            question(0)
    assert "rebuilt" in caught.value.remedy
    raw(server).delete("{app.0}:due")
    assert store.load_at(0, [b"ann"]) == ([b"row"], Position(0, "session", -1, lost=1))


def test_a_write_that_was_cut_short_changes_nothing(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, Position(0, "session", -1), [[ROW]])
    with pytest.raises(redis.ResponseError, match="does not fit"):
        store._call("save", 0, "session", 0, 1, 0, b"{app.0}:u:", b"\x03\0\0\0\x05\0\0\0" + b"\0" * 8, b"annro")
    assert store.load(0, [b"ann"]) == [b"row"]
    assert store.position(0) == Position(0, "session", -1)


def test_another_number_of_partitions_is_refused(server: Valkey) -> None:
    store_at(server, partitions=4).restore(0, Position(7, "session", 70), [[ROW]])
    grown = store_at(server, partitions=8)
    for use in (lambda: grown.position(0), lambda: grown.claim(0, "next"), lambda: grown.read(b"ann", 0)):
        with pytest.raises(RefusedSettings, match="had 4 partitions, they have 8") as caught:
            use()
        assert "RESCORE_APP" in caught.value.remedy
    assert store_at(server, partitions=4).position(0) == Position(7, "session", 70)


def test_a_partition_in_another_layout_counts_as_missing(server: Valkey) -> None:
    store = store_at(server)
    store.restore(0, Position(7, "session", 70), [[ROW]])
    raw(server).hset("{app.0}:m", "layout", "0")
    assert store.position(0) is None
    assert store.claim(0, "next") is None
    store.restore(0, Position(7, "next", 70), [])
    assert store.position(0) == Position(7, "next", 70)
    assert store.load(0, [b"ann"]) == [None]


@pytest.mark.parametrize(
    "settings, what, remedy",
    [
        ({"maxmemory-policy": "allkeys-lru"}, "allkeys-lru", "noeviction"),
        ({"appendonly": "no"}, "appendonly is no", "appendonly yes"),
        ({"replicaof": "127.0.0.1 1"}, "replica", "primary (127.0.0.1:1)"),
        ({"cluster-enabled": "yes"}, "Cluster", "without cluster mode"),
    ],
)
def test_settings_that_would_lose_data_are_refused_with_what_to_do(
    settings: dict[str, str], what: str, remedy: str
) -> None:
    with Valkey.start(settings=settings) as server:
        refused = refusal(server)
    assert what in refused.what
    assert remedy in refused.remedy


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_password_that_is_missing_or_wrong_is_refused_and_not_repeated(server: Valkey, password: str) -> None:
    raw(server).config_set("requirepass", "secret")
    with pytest.raises(RefusedSettings, match="RESCORE_REDIS__URL") as caught:
        RedisStore(f"redis://{password}{server.address}/0", "app", 4).check()
    assert "secret" not in str(caught.value)
    assert ":wrong" not in str(caught.value)


def test_a_server_without_append_only_file_may_be_accepted_knowingly() -> None:
    with Valkey.start(settings={"appendonly": "no"}) as server:
        RedisStore(server.url, "app", 4, require_append_only=False).check()


def test_a_worker_needs_no_more_rights_than_it_is_told(server: Valkey) -> None:
    raw(server).execute_command("ACL", "SETUSER", "worker", "on", ">pass", *(RIGHTS % "app").split())
    store = RedisStore(f"redis://worker:pass@{server.address}/0", "app", 4)
    store.check()
    store.restore(0, Position(0, "session", -1), [[ROW]])
    store.claim(0, "session")
    assert store.save(0, 0, Position(1, "session", 0), [RowWrite(b"ann", None, None)]) is SaveOutcome.OK
    assert store.save(0, 1, Position(2, "session", 0), [ROW]) is SaveOutcome.OK
    store.index(0, [(b"ann", 1)])
    assert store.due(0, 1, 9) == [b"ann"]
    assert store.verify(0, b"", 9) == (b"", Position(2, "session", 0))
    assert store.evicts() == ""
    strange = RedisStore(f"redis://worker:pass@{server.address}/0", "strange", 4)
    with pytest.raises(RefusedSettings, match="refuses this user"):
        strange.restore(0, Position(0, "session", -1), [])


def test_notes_of_halted_partitions_expire_and_are_read_by_all(server: Valkey) -> None:
    store = store_at(server)
    assert store.halts.read(4) == {}
    store.halts.write(2, "the store is ahead \udcff", 60.0)
    store.halts.write(3, "gone in a moment", 0.001)
    deadline = time.monotonic() + 20
    while 3 in store.halts.read(4):
        assert time.monotonic() < deadline
    assert store.halts.read(4) == {2: "the store is ahead ?"}
    assert store.halts.read(2) == {}
    raw(server).execute_command("ACL", "SETUSER", "noted", "on", ">pass", *READER_RIGHTS.split())
    reader = RedisStore(f"redis://noted:pass@{server.address}/0", "app", 4)
    assert set(reader.halts.read(4)) == {2}
    store.halts.delete(2)
    assert store.halts.read(4) == {}


def test_a_reader_needs_the_right_to_read_alone(server: Valkey) -> None:
    store_at(server).restore(0, Position(3, "session", 30), [[ROW]])
    raw(server).execute_command("ACL", "SETUSER", "reader", "on", ">pass", *READER_RIGHTS.split())
    reader = RedisStore(f"redis://reader:pass@{server.address}/0", "app", 4)
    assert reader.read(b"ann", 0) == (b"row", Position(3, "session", 30))
    with pytest.raises(RefusedSettings) as caught:
        reader.save(0, 3, Position(4, "session", 0), [])
    assert RIGHTS % "app" in caught.value.remedy
