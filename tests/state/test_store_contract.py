"""What every store promises, on the twin in memory and on a real Valkey: by sentence, and by random sequences."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, Protocol

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from state.errors import StoreAhead, StoreUnavailable
from state.memory_store import MemoryStore
from state.redis_store import RedisStore
from state.store import Position, RowWrite, Save, SaveOutcome

_apps = itertools.count(1)


class Server(Protocol):
    @property
    def url(self) -> str: ...


def fresh_redis_store(valkey: Server, partitions: int = 4) -> RedisStore:
    """A store whose keys no other test has, on a server that may have been used before."""
    store = RedisStore(valkey.url, f"contract-{next(_apps)}", partitions)
    for partition in range(partitions):
        for keys in store._row_keys(partition):
            store._client.delete(*keys)
        store._client.delete(store._meta(partition), store._due_key(partition))
    return store


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[MemoryStore | RedisStore]:
    if request.param == "memory":
        yield MemoryStore()
    else:
        made = fresh_redis_store(request.getfixturevalue("valkey"))
        yield made
        made.close()


Store = MemoryStore | RedisStore


def ready(store: Store, writes: Sequence[RowWrite] = (), nonce: str = "session", seq: int = 0) -> Store:
    """A store whose partition 0 stands at `seq`."""
    store.restore(0, Position(seq, nonce, -1), [writes])
    return store


def test_partitions_are_loaded_at_once_each_with_its_position(store: Store) -> None:
    ready(store, [RowWrite(b"ann", b"row", 5)], seq=3)
    store.restore(1, Position(8, "other", 40), [[RowWrite(b"bob", b"his", None)]])
    assert store.load_all({}) == {}
    assert store.load_all({0: [b"bob", b"ann"], 1: [b"bob"], 2: [b"ann"], 3: []}) == {
        0: ([None, b"row"], Position(3, "session", -1)),
        1: ([b"his"], Position(8, "other", 40)),
        2: ([None], None),
        3: ([], None),
    }


def test_partitions_are_saved_at_once_and_one_that_is_refused_holds_no_other_back(store: Store) -> None:
    for partition, seq in enumerate((0, 4, 9, 0)):
        store.restore(partition, Position(seq, "session", -1), [])
    row = [RowWrite(b"ann", b"row", 5)]
    assert store.save_all([]) == []
    zombie, ahead, behind, good = store.save_all(
        [
            Save(0, 0, Position(1, "former", 7), row),
            Save(1, 2, Position(3, "session", 7), row),
            Save(2, 11, Position(12, "session", 7), row),
            Save(3, 0, Position(1, "session", 7), row),
        ]
    )
    assert (zombie, behind, good) == (SaveOutcome.FENCED, SaveOutcome.BEHIND, SaveOutcome.OK)
    assert isinstance(ahead, StoreAhead)
    assert "partition 1: the store is at transaction 4" in str(ahead)
    assert [store.load(partition, [b"ann"]) for partition in range(4)] == [[None], [None], [None], [b"row"]]
    assert [store.due(partition, 5, 9) for partition in range(4)] == [[], [], [], [b"ann"]]


def everyone(store: Store, partition: int, limit: int) -> tuple[set[bytes], list[Position | None]]:
    """Everyone the index names, piece by piece, and the positions of the pieces."""
    named, positions, cursor, first = set(), [], b"", True
    while first or cursor:
        users, cursor, held = store.users_at(partition, cursor, limit)
        named.update(users)
        positions.append(held)
        first = False
    return named, positions


def test_everyone_is_named_in_pieces_whether_or_not_they_are_ever_due(store: Store) -> None:
    rows = [RowWrite(b"user-%d" % i, b"row", None if i % 2 else i) for i in range(300)]
    ready(store, rows)
    named, positions = everyone(store, 0, 7)
    assert named == {write.user for write in rows}
    assert set(positions) == {Position(0, "session", -1)}
    assert len(positions) > 1
    assert store.users_at(1, b"", 7) == ([], b"", None)


def verified(store: Store, partition: int, limit: int = 7) -> Position | None:
    """What a look at the row of each member finds: the worst of it."""
    cursor, first, worst = b"", True, None
    while first or cursor:
        cursor, held = store.verify(partition, cursor, limit)
        if held is None:
            return None
        worst = held if worst is None or held.lost > worst.lost else worst
        first = False
    return worst


def forget(
    store: Store, users: Sequence[bytes] = (), *, index: bool = False, meta: bool = False, partition: int = 0
) -> None:
    """Delete keys, as a server does that evicts them."""
    if isinstance(store, MemoryStore):
        store.forget(partition, users, index=index, meta=meta)
        return
    keys = [store._prefix(partition) + user for user in users]
    keys += [store._due_key(partition)] * index + [store._meta(partition)] * meta
    if keys:
        store._client.delete(*keys)


ANN, BOB, EVE = RowWrite(b"ann", b"a", 5), RowWrite(b"bob", b"b", None), RowWrite(b"eve", b"e", 7)


def lost(store: Store, *users: bytes) -> int | None:
    """What asking for these rows tells of a loss; None where the partition is not there."""
    _, held = store.load_at(0, users)
    return None if held is None else held.lost


def test_a_missing_row_of_a_member_is_not_a_new_user(store: Store) -> None:
    ready(store, [ANN, BOB, EVE])
    assert (lost(store, b"ann", b"bob"), lost(store, b"ann", b"new"), lost(store)) == (0, 0, 0)
    forget(store, [b"ann", b"bob"])
    assert store.load_at(0, [b"ann", b"new", b"bob", b"eve"]) == (
        [None, None, None, b"e"],
        Position(0, "session", -1, lost=2),
    )
    assert (lost(store, b"eve"), lost(store, b"new")) == (0, 0)  # who is not asked for is not missed yet
    assert store.load_all({0: [b"bob"], 1: [b"bob"]})[0] == ([None], Position(0, "session", -1, lost=1))
    assert store.read(b"ann", 0) == (None, Position(0, "session", -1, lost=1))
    assert store.read(b"new", 0) == (None, Position(0, "session", -1))
    assert verified(store, 0) == Position(0, "session", -1, lost=2)


def test_an_index_that_was_lost_is_missed_even_when_it_has_grown_again(store: Store) -> None:
    ready(store, [ANN, BOB])
    forget(store, index=True)
    held = Position(0, "session", -1, lost=2)
    assert store.position(0) == held
    assert store.load_at(0, [b"ann", b"bob"]) == ([b"a", b"b"], held)
    assert store.earliest_due_at(0) == (None, held)
    assert store.users_at(0, b"", 9) == ([], b"", held)
    assert store.claim(0, "session") == held
    assert store.save(0, 0, Position(1, "session", 1), [ANN, EVE]) is SaveOutcome.OK
    assert store.position(0) == Position(1, "session", 1, lost=2)
    assert store.save(0, 1, Position(2, "session", 2), [BOB, RowWrite(b"ann", None, None)]) is SaveOutcome.OK
    assert store.save(0, 2, Position(3, "session", 3), [RowWrite(b"zoe", None, None), EVE]) is SaveOutcome.OK
    assert (store.position(0), lost(store, b"eve")) == (Position(3, "session", 3, lost=2), 2)
    assert store.read(b"ann", 0)[1] == Position(3, "session", 3, lost=2)
    assert verified(store, 0) == Position(3, "session", 3, lost=2)


def test_rows_and_index_lost_together_are_missed(store: Store) -> None:
    ready(store, [ANN, BOB])
    forget(store, [b"ann", b"bob"], index=True)
    assert store.load_at(0, [b"ann", b"new"]) == ([None, None], Position(0, "session", -1, lost=2))
    forget(store, meta=True)
    assert store.load_at(0, [b"ann"]) == ([None], None)
    assert store.claim(0, "next") is None
    assert store.save(0, 0, Position(1, "session", 1), [ANN]) is SaveOutcome.MISSING


def test_a_position_that_was_lost_leaves_nobody_to_be_believed(store: Store) -> None:
    ready(store, [ANN, BOB])
    forget(store, meta=True)
    assert store.position(0) is None
    assert store.load_at(0, [b"ann"]) == ([b"a"], None)
    assert store.users_at(0, b"", 9)[2] is None
    assert store.verify(0, b"", 9)[1] is None
    assert store.due(0, 10, 10) == []
    store.index(0, [(b"ann", 1)])
    store.restore(0, Position(4, "next", 40), [[EVE]])
    assert store.load_at(0, [b"ann", b"eve"]) == ([None, b"e"], Position(4, "next", 40))
    assert everyone(store, 0, 9)[0] == {b"eve"}


def test_a_rebuild_makes_a_partition_whole_again(store: Store) -> None:
    ready(store, [ANN, BOB, EVE])
    forget(store, [b"ann"], index=True)
    store.restore(0, Position(0, "next", -1), [[ANN, BOB], [EVE, RowWrite(b"bob", None, None)]])
    assert (lost(store, b"ann", b"bob", b"eve"), store.due(0, 9, 9)) == (0, [b"ann", b"eve"])
    assert verified(store, 0) == Position(0, "next", -1)


def test_an_index_lost_during_a_rebuild_ends_it(store: Store) -> None:
    def chunks() -> Iterator[list[RowWrite]]:
        yield [ANN]
        forget(store, index=True)
        yield [BOB, EVE]

    with pytest.raises(StoreUnavailable, match="lost a part"):
        store.restore(0, Position(5, "session", 50), chunks())
    assert store.position(0) == Position(5, "session", 50, ready=False)


def test_a_row_lost_during_a_rebuild_is_missed_afterwards(store: Store) -> None:
    def chunks() -> Iterator[list[RowWrite]]:
        yield [ANN]
        forget(store, [b"ann"])
        yield [BOB]

    store.restore(0, Position(5, "session", 50), chunks())
    assert (lost(store, b"bob"), lost(store, b"ann")) == (0, 1)


def test_an_index_lost_before_a_save_in_pieces_ends_it(store: Store) -> None:
    ready(store, [ANN])
    forget(store, index=True)
    with pytest.raises(StoreUnavailable, match="lost a part"):
        store.follow(0, 0, Position(5, "session", 50), [[BOB], [EVE]])
    assert store.position(0) == Position(5, "session", 50, ready=False)


def test_a_user_of_whom_nothing_is_left_is_a_new_user_again(store: Store) -> None:
    ready(store, [ANN, BOB])
    store.save(0, 0, Position(1, "session", 1), [RowWrite(b"ann", None, 9), RowWrite(b"nobody", None, None)])
    assert store.load_at(0, [b"ann", b"nobody", b"bob"]) == ([None, None, b"b"], Position(1, "session", 1))
    assert store.due(0, 10, 10) == []


def test_a_server_with_good_settings_is_accepted(store: Store) -> None:
    store.check()
    store.check()


def test_a_partition_that_was_never_written_is_missing(store: Store) -> None:
    assert store.position(0) is None
    assert store.claim(0, "session") is None
    assert store.position(0) is None
    assert store.load(0, [b"ann"]) == [None]
    assert store.read(b"ann", 0) == (None, None)
    assert store.due(0, 10**15, 10) == []
    assert store.earliest_due_ms(0) is None
    assert store.load_at(0, [b"ann"]) == ([None], None)
    assert store.load_at(0, []) == ([], None)
    assert store.earliest_due_at(0) == (None, None)
    assert store.save(0, 0, Position(1, "session", 0), []) is SaveOutcome.MISSING


def test_a_saved_row_is_loaded_and_its_position_kept(store: Store) -> None:
    ready(store)
    assert store.save(0, 0, Position(1, "session", 17), [RowWrite(b"ann", b"row", 5)]) is SaveOutcome.OK
    assert store.load(0, [b"bob", b"ann"]) == [None, b"row"]
    assert store.position(0) == Position(1, "session", 17, ready=True)
    assert store.read(b"ann", 0) == (b"row", Position(1, "session", 17, ready=True))
    assert store.load_at(0, [b"bob", b"ann"]) == ([None, b"row"], Position(1, "session", 17))
    assert store.earliest_due_at(0) == (5, Position(1, "session", 17))


def test_nothing_to_load_is_nothing(store: Store) -> None:
    assert ready(store).load(0, []) == []


def test_a_batch_that_touched_nobody_still_moves_the_position(store: Store) -> None:
    ready(store, [RowWrite(b"ann", b"row", 5)])
    assert store.save(0, 0, Position(1, "session", 3), []) is SaveOutcome.OK
    assert store.position(0) == Position(1, "session", 3)
    assert store.load(0, [b"ann"]) == [b"row"]


def test_a_save_that_had_arrived_is_told_and_writes_nothing(store: Store) -> None:
    ready(store)
    store.save(0, 0, Position(1, "session", 0), [RowWrite(b"ann", b"first", None)])
    assert store.save(0, 0, Position(1, "session", 0), [RowWrite(b"ann", b"again", None)]) is SaveOutcome.ALREADY
    assert store.load(0, [b"ann"]) == [b"first"]


def test_a_former_session_is_fenced_and_writes_nothing(store: Store) -> None:
    ready(store, nonce="former")
    assert store.claim(0, "latter") == Position(0, "latter", -1)
    assert store.save(0, 0, Position(1, "former", 0), [RowWrite(b"ann", b"row", 5)]) is SaveOutcome.FENCED
    assert store.load(0, [b"ann"]) == [None]
    assert store.due(0, 10, 10) == []


def test_a_store_that_was_rolled_back_is_behind(store: Store) -> None:
    ready(store, seq=3)
    assert store.save(0, 7, Position(8, "session", 0), [RowWrite(b"ann", b"row", 5)]) is SaveOutcome.BEHIND
    assert store.load(0, [b"ann"]) == [None]


def test_a_store_ahead_of_its_writer_is_an_error_that_a_person_must_see(store: Store) -> None:
    ready(store, seq=9)
    with pytest.raises(StoreAhead, match="transaction 9"):
        store.save(0, 4, Position(5, "session", 0), [RowWrite(b"ann", b"row", 5)])
    assert store.load(0, [b"ann"]) == [None]


def test_a_catch_up_may_leap_over_several_transactions(store: Store) -> None:
    ready(store, seq=3)
    assert store.save(0, 3, Position(9, "session", 40), [RowWrite(b"ann", b"row", None)]) is SaveOutcome.OK
    assert store.position(0) == Position(9, "session", 40)


def test_a_catch_up_in_pieces_leaves_other_rows_alone_and_is_not_ready_before_its_end(store: Store) -> None:
    ready(store, [RowWrite(b"ann", b"old", 5), RowWrite(b"bob", b"old", 6), RowWrite(b"eve", b"old", 7)], seq=3)

    def chunks() -> Iterator[list[RowWrite]]:
        yield [RowWrite(b"ann", b"new", 2)]
        assert store.position(0) == Position(9, "session", 40, ready=False)
        assert store.due(0, 10, 10) == []
        assert store.save(0, 9, Position(10, "session", 0), []) is SaveOutcome.MISSING
        yield [RowWrite(b"ann", b"newer", 3), RowWrite(b"bob", None, None)]

    store.follow(0, 3, Position(9, "session", 40), chunks())
    assert store.load(0, [b"ann", b"bob", b"eve"]) == [b"newer", None, b"old"]
    assert store.due(0, 10, 10) == [b"ann", b"eve"]
    assert store.position(0) == Position(9, "session", 40, ready=True)


@pytest.mark.parametrize("seq, nonce", [(2, "session"), (4, "session"), (3, "thief")])
def test_a_catch_up_in_pieces_begins_only_where_its_session_left_the_store(store: Store, seq: int, nonce: str) -> None:
    ready(store, [RowWrite(b"ann", b"old", 5)], seq=3)
    with pytest.raises(StoreUnavailable):
        store.follow(0, seq, Position(9, nonce, 40), [[RowWrite(b"ann", b"new", 2)]])
    assert store.load(0, [b"ann"]) == [b"old"]
    assert store.position(0) == Position(3, "session", -1)


def test_a_catch_up_in_pieces_that_was_given_up_stays_unready(store: Store) -> None:
    def chunks() -> Iterator[list[RowWrite]]:
        yield [RowWrite(b"ann", b"new", 2)]
        raise RuntimeError("given up")

    ready(store, [RowWrite(b"ann", b"old", 5)], seq=3)
    with pytest.raises(RuntimeError):
        store.follow(0, 3, Position(9, "session", 40), chunks())
    assert store.claim(0, "next") == Position(9, "next", 40, ready=False)


def test_a_deleted_row_is_gone_and_no_longer_due(store: Store) -> None:
    ready(store, [RowWrite(b"ann", b"row", 5), RowWrite(b"bob", b"row", 6)])
    store.save(0, 0, Position(1, "session", 0), [RowWrite(b"ann", None, None)])
    assert store.load(0, [b"ann", b"bob"]) == [None, b"row"]
    assert store.due(0, 10, 10) == [b"bob"]


def test_users_are_due_earliest_first_then_by_their_id(store: Store) -> None:
    dues = {b"zoe": 1, b"bob": 3, b"ann": 3, b"\xff": 3, b"eve": 4, b"never": None}
    ready(store, [RowWrite(user, b"row", due_ms) for user, due_ms in dues.items()])
    assert store.due(0, 3, 10) == [b"zoe", b"ann", b"bob", b"\xff"]
    assert store.due(0, 3, 2) == [b"zoe", b"ann"]
    assert store.due(0, 3, 0) == []
    assert store.due(0, 0, 10) == []
    assert store.earliest_due_ms(0) == 1


def test_due_times_are_whole_milliseconds_of_any_day(store: Store) -> None:
    moments = [-2_208_988_800_001, -1, 0, 1_770_000_000_001, 9_007_199_254_740_991]
    for moment in moments:
        ready(store, [RowWrite(b"ann", b"row", moment)])
        assert store.earliest_due_ms(0) == moment
        assert store.due(0, moment - 1, 1) == []
        assert store.due(0, moment, 1) == [b"ann"]


def test_a_check_moves_due_times_alone(store: Store) -> None:
    ready(store, [RowWrite(b"ann", b"row", 5), RowWrite(b"bob", b"row", 6)])
    store.index(0, [(b"ann", 9), (b"bob", None), (b"nobody", 3), (b"stranger", None)])
    store.index(0, [])
    assert store.due(0, 10, 10) == [b"ann"]
    assert store.earliest_due_ms(0) == 9
    assert store.load(0, [b"ann", b"bob"]) == [b"row", b"row"]
    assert store.position(0) == Position(0, "session", -1)


def test_due_times_of_a_missing_partition_can_not_be_moved(store: Store) -> None:
    store.claim(0, "session")
    store.index(0, [(b"ann", 9)])
    ready(store)
    assert store.due(0, 10, 10) == []


def test_a_rebuild_forgets_what_was_there(store: Store) -> None:
    ready(store, [RowWrite(b"ann", b"old", 5), RowWrite(b"bob", b"old", 6)])
    store.restore(0, Position(8, "other", 80), [[RowWrite(b"bob", b"new", None)], [RowWrite(b"eve", b"new", 3)]])
    assert store.load(0, [b"ann", b"bob", b"eve"]) == [None, b"new", b"new"]
    assert store.due(0, 10, 10) == [b"eve"]
    assert store.position(0) == Position(8, "other", 80, ready=True)


def test_of_one_user_the_last_chunk_of_a_rebuild_counts(store: Store) -> None:
    chunks = [[RowWrite(b"ann", b"1", 1), RowWrite(b"bob", b"1", 1)], [RowWrite(b"ann", None, None)]]
    store.restore(0, Position(1, "session", 0), [*chunks, [RowWrite(b"bob", b"2", 7), RowWrite(b"bob", b"3", 8)]])
    assert store.load(0, [b"ann", b"bob"]) == [None, b"3"]
    assert store.due(0, 10, 10) == [b"bob"]
    assert store.earliest_due_ms(0) == 8


def test_a_partition_under_rebuild_says_so_and_lets_nobody_work(store: Store) -> None:
    ready(store, [RowWrite(b"ann", b"old", 1)])

    def chunks() -> Iterator[list[RowWrite]]:
        yield [RowWrite(b"ann", b"new", 2)]
        assert store.position(0) == Position(5, "session", 50, ready=False)
        assert store.read(b"ann", 0) == (b"new", Position(5, "session", 50, ready=False))
        assert store.due(0, 10, 10) == []
        assert store.earliest_due_ms(0) is None
        assert store.earliest_due_at(0) == (None, Position(5, "session", 50, ready=False))
        assert store.save(0, 5, Position(6, "session", 0), []) is SaveOutcome.MISSING
        store.index(0, [(b"ann", 9)])

    store.restore(0, Position(5, "session", 50), chunks())
    assert store.due(0, 10, 10) == [b"ann"]
    assert store.earliest_due_ms(0) == 2


def test_a_rebuild_that_was_given_up_stays_unready_until_the_next_one(store: Store) -> None:
    def chunks() -> Iterator[list[RowWrite]]:
        yield [RowWrite(b"ann", b"half", 2)]
        raise InterruptedError

    with pytest.raises(InterruptedError):
        store.restore(0, Position(5, "session", 50), chunks())
    assert store.claim(0, "next") == Position(5, "next", 50, ready=False)
    store.restore(0, Position(6, "next", 60), [[RowWrite(b"bob", b"row", None)]])
    assert store.load(0, [b"ann", b"bob"]) == [None, b"row"]
    assert store.position(0) == Position(6, "next", 60)


def test_a_rebuild_stops_when_another_session_takes_the_partition(store: Store) -> None:
    def chunks() -> Iterator[list[RowWrite]]:
        yield [RowWrite(b"ann", b"row", 2)]
        store.claim(0, "thief")
        yield [RowWrite(b"bob", b"row", 2)]

    with pytest.raises(StoreUnavailable, match="another session"):
        store.restore(0, Position(5, "session", 50), chunks())
    assert store.load(0, [b"bob"]) == [None]
    assert store.position(0) == Position(5, "thief", 50, ready=False)


def copy_of(store: Store) -> Callable[[], None]:
    """A copy of all that partition 0 holds, as a replica has it; the answer puts it back."""
    if isinstance(store, MemoryStore):
        held = deepcopy(store._partitions)
        return lambda: store._partitions.update(deepcopy(held))
    keys = [store._meta(0), store._due_key(0), *(key for keys in store._row_keys(0) for key in keys)]
    dumps = {key: store._client.dump(key) for key in keys}

    def put_back() -> None:
        now = [store._meta(0), store._due_key(0), *(key for keys in store._row_keys(0) for key in keys)]
        store._client.delete(*now)
        for key, dump in dumps.items():
            if dump is not None:
                store._client.restore(key, 0, dump)

    return put_back


@pytest.mark.parametrize("parts_kept", [0, 1, 2])
def test_a_rebuild_stops_when_the_server_falls_back_to_an_older_copy(store: Store, parts_kept: int) -> None:
    def chunks() -> Iterator[list[RowWrite]]:
        copies = [copy_of(store)]
        yield [RowWrite(b"ann", b"row", 2)]
        copies.append(copy_of(store))
        yield [RowWrite(b"bob", b"row", 2)]
        copies.append(copy_of(store))
        yield [RowWrite(b"eve", b"row", 2)]
        copies[parts_kept]()

    ready(store, [RowWrite(b"ann", b"old", 1)])
    with pytest.raises(StoreUnavailable, match="lost a part"):
        store.restore(0, Position(5, "session", 50), chunks())
    assert store.position(0) == Position(5, "session", 50, ready=False)


def test_partitions_know_nothing_of_each_other(store: Store) -> None:
    ready(store, [RowWrite(b"ann", b"zero", 1)])
    store.restore(1, Position(4, "other", 4), [[RowWrite(b"ann", b"one", 2)]])
    store.restore(0, Position(0, "session", -1), [])
    assert store.load(0, [b"ann"]) + store.load(1, [b"ann"]) == [None, b"one"]
    assert store.due(0, 10, 10) + store.due(1, 10, 10) == [b"ann"]
    assert store.position(1) == Position(4, "other", 4)


def test_thousands_of_rows_are_one_save(store: Store) -> None:
    users = [b"user-%05d" % i for i in range(9_001)]
    ready(store, [RowWrite(user, b"old", 1) for user in users])
    writes = [RowWrite(user, None if i % 3 == 0 else b"new", None if i % 2 else i) for i, user in enumerate(users)]
    assert store.save(0, 0, Position(1, "session", 0), writes) is SaveOutcome.OK
    assert store.load_at(0, users) == ([write.row for write in writes], Position(1, "session", 0))
    left = [write for write in writes if write.row is not None]
    assert store.due(0, 10_000, 10_000) == [write.user for write in left if write.due_ms is not None]
    assert everyone(store, 0, 1_000)[0] == {write.user for write in left}


def test_rows_and_users_are_any_bytes(store: Store) -> None:
    writes = [RowWrite(bytes([i]) * 3, bytes(range(i)), i) for i in range(256)]
    ready(store, writes)
    assert store.load(0, [write.user for write in writes]) == [write.row for write in writes]
    assert store.due(0, 300, 300) == [write.user for write in writes]


USERS = [b"ann", b"bob", b"\x00\xff*?[a]", b"{eve}:u:", b""]
users = st.sampled_from(USERS)
nonces = st.sampled_from(["a", "b"])
dues = st.none() | st.integers(-3, 6)
row_writes = st.lists(st.builds(RowWrite, users, st.none() | st.binary(max_size=3), dues), max_size=6)
seqs = st.integers(0, 4)
partitions = st.integers(0, 1)
written = st.builds(Position, seqs, nonces, seqs, st.booleans(), st.just(0))


class Twins(RuleBasedStateMachine):
    """Whatever is done to both stores, both say the same."""

    new_stores: Callable[[], tuple[MemoryStore, RedisStore]]

    @initialize()
    def begin(self) -> None:
        self.memory, self.redis = self.new_stores()

    def same(self, act: Callable[[Any], Any]) -> None:
        assert self.said(act, self.memory) == self.said(act, self.redis)

    def said(self, act: Callable[[Any], Any], store: Store) -> Any:
        try:
            return act(store)
        except (StoreAhead, StoreUnavailable, InterruptedError) as error:
            return type(error)

    @rule(partition=partitions, nonce=nonces)
    def claim(self, partition: int, nonce: str) -> None:
        self.same(lambda store: store.claim(partition, nonce))

    @rule(partition=partitions, writes=row_writes, leap=st.integers(1, 2))
    def save_what_comes_next(self, partition: int, writes: list[RowWrite], leap: int) -> None:
        held = self.memory.position(partition)
        if held is not None:
            self.save(partition, held.seq, Position(held.seq + leap, held.nonce, 7), writes)

    @rule(partition=partitions, expected=seqs, position=written, writes=row_writes)
    def save(self, partition: int, expected: int, position: Position, writes: list[RowWrite]) -> None:
        self.same(lambda store: store.save(partition, expected, position, writes))

    @rule(
        partition=partitions,
        position=written,
        chunks=st.lists(row_writes, max_size=3),
        mishap=st.sampled_from(["none", "none", "none", "given up", "taken"]),
    )
    def restore(self, partition: int, position: Position, chunks: list[list[RowWrite]], mishap: str) -> None:
        def pieces(store: Store) -> Iterator[list[RowWrite]]:
            yield from chunks
            if mishap == "given up":
                raise InterruptedError
            if mishap == "taken":
                store.claim(partition, "thief")

        self.same(lambda store: store.restore(partition, position, pieces(store)))

    @rule(partition=partitions, moves=st.lists(st.tuples(users, dues), max_size=4))
    def index(self, partition: int, moves: list[tuple[bytes, int | None]]) -> None:
        self.same(lambda store: store.index(partition, moves))

    @rule(partition=partitions, gone=st.sets(users), index=st.booleans(), meta=st.sampled_from([False, False, True]))
    def forget(self, partition: int, gone: set[bytes], index: bool, meta: bool) -> None:
        for store in (self.memory, self.redis):
            forget(store, sorted(gone), index=index, meta=meta, partition=partition)

    @rule(partition=partitions, until_ms=st.integers(-4, 7), limit=st.integers(0, 6), user=users)
    def look(self, partition: int, until_ms: int, limit: int, user: bytes) -> None:
        self.same(lambda store: store.position(partition))
        self.same(lambda store: store.load(partition, USERS))
        self.same(lambda store: store.read(user, partition))
        self.same(lambda store: store.due(partition, until_ms, limit))
        self.same(lambda store: store.earliest_due_ms(partition))
        self.same(lambda store: store.load_at(partition, USERS))
        self.same(lambda store: store.earliest_due_at(partition))
        self.same(lambda store: everyone(store, partition, 9))
        self.same(lambda store: verified(store, partition, 9))


def test_memory_and_valkey_agree_on_random_sequences(valkey: Server) -> None:
    class Driven(Twins):
        @staticmethod
        def new_stores() -> tuple[MemoryStore, RedisStore]:
            return MemoryStore(), fresh_redis_store(valkey, partitions=2)

        def teardown(self) -> None:
            self.redis.close()

    run_state_machine_as_test(Driven, settings=settings(max_examples=100, stateful_step_count=30, deadline=None))
