"""Whatever is published: each bad record lands in its dead-letter topic once, byte for byte; the partition goes on."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest

from schemas.codec import Encoder, StaticRegistry, decode_value, encode_value
from schemas.definitions import parsed
from tests.integration.deployment import Deployment, deployment

NOW_MS = time.time_ns() // 1_000_000
ENCODER = Encoder(StaticRegistry())


def fields(**changed: Any) -> dict[str, Any]:
    """A good transaction, changed."""
    good = {
        "event_id": "e-1", "user_id": "ann", "transaction_state": "SUCCEEDED", "transaction_currency": "EUR",
        "user_balance": 100.0, "transaction_amount": 50.0, "user_created": "2024-01-01", "user_category": "WEB",
        "transaction_date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW_MS / 1000)),
    }  # fmt: skip
    return good | changed


def avro(**changed: Any) -> bytes:
    """The same in Avro."""
    return encode_value("Transaction", fields(**changed), ENCODER)


def in_json(**changed: Any) -> bytes:
    """The same in JSON."""
    return json.dumps(fields(**changed)).encode()


def unknown_schema() -> bytes:
    """Good Avro behind the fingerprint of a schema nobody knows."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parsed("Transaction"), fields())
    return b"\xc3\x01" + b"12345678" + stream.getvalue()


BAD: dict[str, tuple[bytes | None, bytes, str]] = {
    "truncated Avro": (b"ann", avro()[:25], "UNDECODABLE"),
    "unknown schema": (b"ann", unknown_schema(), "UNKNOWN_SCHEMA"),
    "wrong type": (b"ann", in_json(transaction_amount="fifty"), "WRONG_TYPE"),
    "not a number": (b"ann", avro(transaction_amount=float("nan")), "NOT_A_NUMBER"),
    "null key": (None, avro(), "NULL_KEY"),
    "another's key": (b"bob", avro(), "KEY_IS_NOT_USER"),
    "10 MB": (b"ann", in_json(description="x" * 10_000_000), "TOO_LARGE"),
    "year 2999": (b"ann", in_json(transaction_date="2999-01-01T00:00:00Z"), "EVENT_TIME_IN_FUTURE"),
    "unknown currency": (b"ann", in_json(transaction_currency="XTS", event_id="later"), "UNKNOWN_CURRENCY"),
    "unknown state": (b"ann", in_json(transaction_state="MAYBE"), "UNKNOWN_STATE"),
    "nothing but noise": (b"ann", bytes(range(255, -1, -1)), "UNDECODABLE"),
    "unfinished JSON": (b"ann", in_json()[:-1], "UNDECODABLE"),
    "no user": (b"ann", b"{}", "MISSING_FIELD"),
}


@pytest.fixture(scope="module")
def live(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """A live deployment with one worker."""
    folder = tmp_path_factory.mktemp("live")
    name = f"bad{os.getpid()}"
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, PARTITIONS="1") as made:
        made.start_worker()
        yield made
        made.stop()


def changes_of(live: Deployment, user: bytes) -> list[dict[str, Any]]:
    registry = StaticRegistry()
    return [decode_value("ScoreChange", r.value or b"", registry) for r in live.read("score-changes") if r.key == user]


@pytest.mark.timeout(600)
def test_each_bad_record_is_a_dead_letter_once_with_its_bytes_and_its_reason_and_comes_back_when_mended(live) -> None:
    live.send("transactions", [(key, value, NOW_MS) for key, value, _ in BAD.values()])
    live.send("transactions", [(b"eve", avro(user_id="eve"), NOW_MS)])
    live.wait(lambda: bool(changes_of(live, b"eve")), "the partition goes on")
    letters = live.read("transactions.dlq")
    assert [(letter.key, letter.value) for letter in letters] == [(key, value) for key, value, _ in BAD.values()]
    reasons = [dict(letter.headers or [])["__streams.errors.exception"].decode() for letter in letters]
    assert reasons == [code for _, _, code in BAD.values()]
    for offset, letter in enumerate(letters):
        headers = dict(letter.headers or [])
        assert headers["__streams.errors.offset"] == str(offset).encode()
        assert len(headers["__streams.errors.message"]) > 20

    assert live.rescore("dlq", "list", check=False).stdout.count("UNKNOWN_CURRENCY") == 1
    assert changes_of(live, b"ann") == []
    rate = {"currency": "XTS", "base_currency": "EUR", "effective_at": "2026-01-01", "rate": 2.0}
    live.send("fx-rates", [(b"XTS", encode_value("FxRate", rate, ENCODER), NOW_MS)])
    # A rate is in force 30 s after it was written; the letter comes back behind that.
    begun = time.monotonic()
    live.wait(lambda: time.monotonic() - begun > 31, "the rate is in force")
    # Not its place among the letters: where they came in two transactions, a marker lies between.
    where = letters[reasons.index("UNKNOWN_CURRENCY")].offset
    live.rescore("dlq", "replay", f"{live.settings.topic('transactions')}/0/{where}")
    live.wait(lambda: bool(changes_of(live, b"ann")), "the letter has come back")
    assert changes_of(live, b"ann")[0]["cause"]["event_id"] == "later"
    assert len(live.read("transactions.dlq")) == len(BAD) + 1  # and the note that it was replayed
    again = live.rescore("dlq", "replay", f"{live.settings.topic('transactions')}/0/{where}", check=False)
    assert again.returncode != 0


def test_a_json_line_of_a_console_producer_is_an_event_like_others(live) -> None:
    live.send("transactions", [(b"json-ann", in_json(user_id="json-ann"), NOW_MS)])
    live.wait(lambda: bool(changes_of(live, b"json-ann")), "a change")


@pytest.mark.parametrize(
    "setting,value,words",
    [
        ("RESCORE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1", "RESCORE_KAFKA__BOOTSTRAP_SERVERS"),
        ("RESCORE_REDIS__URL", "redis://127.0.0.1:1/0", "RESCORE_REDIS__URL"),
        ("RESCORE_CLOCK", "records", "topics"),
        ("RESCORE_CLOCK", "sundial", "wall"),
        ("RESCORE_PARTITONS", "3", "partitions"),
        ("RESCORE_TOPIC_PREFIX", "nowhere.", "rescore topics apply"),
    ],
)
def test_wrong_settings_are_refused_at_start_with_what_to_do(live, setting, value, words) -> None:
    wrong = Deployment(live.bootstrap_servers, live.redis_url, live.name, live.folder, {**live.more, setting: value})
    done = wrong.rescore("worker", check=False)
    assert done.returncode in (1, 3, 4)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
