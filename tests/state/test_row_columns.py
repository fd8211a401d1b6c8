"""After-images as columns against the same after-images in a list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import FOREVER_MS
from state.row_columns import RowColumns
from state.store import RowWrite

users = st.sampled_from([b"ann", b"bob", b"cem", b"", "žofie".encode()])
writes = st.lists(
    st.builds(RowWrite, users, st.none() | st.binary(max_size=9), st.none() | st.integers(0, 2**50)), max_size=9
)


@given(writes)
def test_columns_say_what_the_writes_said_the_last_of_each_user(given_writes: list[RowWrite]) -> None:
    last = {write.user: write for write in given_writes}
    columns = RowColumns.of(given_writes)
    assert list(columns) == list(last.values())
    assert columns == list(last.values())
    assert columns.names.cut() == list(last)
    assert RowColumns.of(columns) is columns
    dues = [write.due_ms for write in last.values() if write.due_ms is not None]
    assert columns.earliest_due_ms == min(dues, default=FOREVER_MS)
