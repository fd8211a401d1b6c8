"""What benchmarks stand on: pasts and streams that are what a worker and a publisher would have made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from local.bench_population import PATTERNS_A_STEP, first_versions, grow, grown, take_past, user_name
from local.bench_stream import in_pieces, transaction_values
from local.generator_columns import benchmark_columns
from schemas.codec import Encoder, StaticRegistry, encode_value
from schemas.times import iso_of
from state.layout import decode_row

CLOCK_MS = 1_767_247_200_000
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def population():
    return grow(CLOCK_MS, patterns=300)


def test_a_customer_gets_the_row_its_own_past_would_have_made(population):
    users = [user_name(number) for number in range(0, 4_000, 97)]
    patterns = population.patterns_of(users).tolist()
    table = take_past(users, patterns, CLOCK_MS, first_versions())
    rows = {user: table.row(i) for i, user in enumerate(table.users)}
    dues = dict(zip(table.users, table.due_ms.tolist(), strict=True))
    for user, pattern in zip(users, patterns, strict=True):
        assert rows[user] == population.row(pattern)
        assert dues[user] == population.due_ms[pattern]


def test_the_typical_customer_has_100_transactions_on_some_87_days_and_two_loans(population):
    rows = [decode_row(row) for row in population.rows()]
    assert {row.transactions for row in rows} == {100}
    assert {len(row.loans) for row in rows} == {2}
    assert 85 < np.mean([len(row.days) for row in rows]) < 89
    assert all(row.clock_ms <= CLOCK_MS < row.due_ms for row in rows)


def test_customers_can_be_chosen_whose_time_comes_by_a_given_midnight(population):
    users = [user_name(number) for number in range(1_000)]
    midnight_ms = max(int(population.due_ms[population.phases == phase].min()) for phase in range(30))
    assert (population.due_ms[population.patterns_of(users, due_until_ms=midnight_ms)] <= midnight_ms).all()
    assert (population.due_ms[population.patterns_of(users)] > midnight_ms).any()


def test_too_few_patterns_for_a_given_midnight_are_told(population):
    with pytest.raises(ValueError, match="grow more patterns"):
        population.patterns_of([user_name(0)], due_until_ms=CLOCK_MS)


def test_a_population_is_kept_for_the_next_time(tmp_path: Path):
    first = grown(CLOCK_MS, tmp_path, patterns=PATTERNS_A_STEP // 10)
    again = grown(CLOCK_MS, tmp_path, patterns=PATTERNS_A_STEP // 10)
    assert first.rows() == again.rows()
    assert (first.due_ms == again.due_ms).all()


@pytest.mark.parametrize("zipf", [None, 1.1])
def test_values_made_in_bulk_are_those_made_one_by_one(zipf: float | None):
    columns = benchmark_columns(3, 500, 40, CLOCK_MS, CLOCK_MS + 3 * DAY_MS, zipf)
    encoder = Encoder(StaticRegistry())
    for i, value in enumerate(transaction_values(columns)):
        fields = {
            "event_id": f"m-{columns.number[i]:010d}",
            "user_id": user_name(int(columns.user[i])).decode(),
            "transaction_state": "SUCCEEDED",
            "transaction_currency": "EUR",
            "user_balance": int(columns.balance_cents[i]) / 100,
            "transaction_amount": int(columns.amount_cents[i]) / 100,
            "user_created": "2024-01-01",
            "user_category": "WEB",
            "transaction_date": iso_of(int(columns.time_ms[i])),
        }
        assert value == encode_value("Transaction", fields, encoder)


def test_pieces_of_a_stream_are_the_stream():
    columns = benchmark_columns(3, 1_000, 40, CLOCK_MS, CLOCK_MS + DAY_MS)
    pieces = list(in_pieces(columns, 3))
    assert [len(piece.user) for piece in pieces] == [333, 333, 334]
    assert np.concatenate([piece.number for piece in pieces]).tolist() == list(range(1_000))
