"""What benchmarks stand on: pasts and streams that are what a worker and a publisher would have made."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from local.bench.engines import Load, bare_pipe
from local.bench.page import BEGIN, END, write
from local.bench.population import PATTERNS_A_STEP, first_versions, grow, grown, take_past, user_name
from local.bench.stream import in_pieces, publish_transactions, transaction_values
from local.bench.throughput import BenchOptions, run
from local.bench.world import Place, Positions, make_topics, running, world_of
from local.generator.columns import benchmark_columns
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


def test_a_worker_is_measured_on_customers_with_a_past(kafka, valkey, tmp_path: Path):
    here = world_of(kafka.bootstrap_servers, valkey.url, tmp_path, APP="bench-a", TOPIC_PREFIX="bench-a.")
    found = run(here, BenchOptions(users=200, events=60_000, bare=False, patterns=300), tmp_path, lambda words: None)
    (ours,) = found.engines
    assert 0 < ours.pieces[0].events <= 48_000
    assert ours.events_per_cpu_second > 0
    assert found.counted["dead_letters"] == found.counted["inversions"] == 0
    assert 0 < found.counted["rows_written"] < found.counted["records_taken"] <= 60_000
    assert found.store_bytes_per_user > 400


def test_the_bare_pipe_takes_every_record_of_its_topic(kafka, valkey, tmp_path: Path):
    here = world_of(kafka.bootstrap_servers, valkey.url, tmp_path, APP="bench-b", TOPIC_PREFIX="bench-b.")
    place, positions = Place("bench-b.transactions", here.partitions), Positions(here.bootstrap_servers)
    columns = benchmark_columns(1, 3_000, 100, CLOCK_MS, CLOCK_MS + DAY_MS)
    publish_transactions(here.bootstrap_servers, place.topic, columns)
    engine = bare_pipe(here, Load(place.topic, 100, alike=True))
    make_topics(here.bootstrap_servers, engine.topics, here.partitions)
    with running(engine.name, engine.command, here.environment, tmp_path) as started:
        started.until(lambda: positions.committed(engine.group, place) == 3_000, 200, "done")
        assert started.cpu_seconds() > 0
        assert started.memory_mb() > 50
    assert sum(positions.published(Place(topic, here.partitions)) > 0 for topic in engine.topics) == 2


def _engine(name: str, speed: int) -> dict[str, object]:
    return {"name": name, "says": "sums", "events_per_cpu_second": speed, "events_per_wall_second": 5, "memory_mb": 1}


def test_the_page_shows_what_was_measured_and_keeps_the_rest(tmp_path: Path):
    found = {
        "options": {"events": 1_000, "rounds": 1, "users": 20, "zipf": None},
        "cores": 2,
        "load_before": 0.1,
        "at": "2026-11-21T12:00:00",
        "engines": [_engine("rescore", 60_000), _engine("bare pipe", 120_000), _engine("other", 30_000)],
        "left_out": {"flink": "no Maven here"},
        "steps": {"merge": 0.5},
        "counted": {"records_taken": 800, "score_changes": 100, "rows_written": 300},
    }
    (tmp_path / "zipf.json").write_text(json.dumps(found))
    page, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        assert write(tmp_path, page, picture) == ["zipf"]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| **rescore** | sums | 60,000 | 5 | 50% |  |" in text
    assert "| other | sums | 30,000 | 5 | 25% | 2.00 x |" in text
    assert "Left out: flink: no Maven here" in text
    bars = {bar.get("class"): int(bar.get("width")) for bar in ET.parse(picture).iter() if bar.tag.endswith("rect")}
    assert bars["bare"] == 2 * bars["ours"] == 4 * bars["other"]


def test_a_page_without_a_place_for_figures_is_refused(tmp_path: Path):
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(ValueError, match="no place"):
        write(tmp_path, tmp_path / "page.md", tmp_path / "picture.svg")
