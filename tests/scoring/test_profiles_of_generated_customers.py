"""Profiles against what generated customers were made to be: nobody told the profiles."""

from __future__ import annotations

from collections import defaultdict
from datetime import date

import msgspec
import pytest

from local.generator.events import events, population
from local.generator.tables import PERSONA_NAMES
from schemas.batch import Record
from schemas.decode import Decoder, decode
from schemas.known_schemas import StaticRegistry
from state.layout import decode_row
from state.table import Table
from state.versions import Policy
from streams.scoring.step import Clocks, step
from streams.versions.known import Known
from streams.versions.packaged_profiles import packaged_profiles


@pytest.fixture(scope="module")
def customers() -> dict[str, list[set[str]]]:
    """The profiles of each customer after four months, by what they were made to be."""
    people = population(5, 150, date(2025, 1, 1), 120)
    records = [
        Record("transactions", 0, offset, event.timestamp_ms, event.key.encode(), msgspec.json.encode(event.value))
        for offset, event in enumerate(events(people))
        if event.topic == "transactions" and not isinstance(event.value, bytes)
        if event.value["transaction_currency"] == "EUR"
    ]
    records.sort(key=lambda record: record.timestamp_ms)
    versions, decoder = Known.first(Policy()).versions, Decoder(StaticRegistry(), 1)
    rows: dict[bytes, bytes | None] = {}
    for start in range(0, len(records), 4_000):
        part = records[start : start + 4_000]
        batch = decode(part, 0, decoder)
        users = [*batch.users, *(user for user in rows if user not in set(batch.users))]
        table = Table.of(users, [rows.get(user) for user in users])
        done = step(table, batch, versions, Clocks(part[-1].timestamp_ms))
        rows |= {user: done.table.row(i) for i, user in enumerate(users)}
    names = {profile.key: profile.profile_id for profile in packaged_profiles()}
    found = defaultdict(list)
    for user, packed in rows.items():
        persona = PERSONA_NAMES[people.people.persona[people.user_ids.index(user.decode())]]
        assert packed is not None
        found[persona].append({names[mark.key] for mark in decode_row(packed).profiles if mark.held})
    return found


@pytest.mark.parametrize(
    "profile, personas, share_min",
    [("farmer", {"farmer"}, 0.6), ("cash_user", {"pensioner"}, 0.3), ("public_transport_commuter", {"student"}, 0.8)],
)
def test_whom_a_profile_is_for_has_it(customers, profile: str, personas: set[str], share_min: float) -> None:
    meant = [held for persona in personas for held in customers[persona]]
    assert len(meant) >= 8
    assert sum(profile in held for held in meant) >= share_min * len(meant)


@pytest.mark.parametrize("profile, personas", [("farmer", {"farmer"}), ("cash_user", {"pensioner"})])
def test_whom_a_profile_is_not_for_hardly_ever_has_it(customers, profile: str, personas: set[str]) -> None:
    others = [held for persona, all_held in customers.items() if persona not in personas for held in all_held]
    assert sum(profile in held for held in others) <= 0.05 * len(others)


def test_nobody_has_a_sensitive_profile(customers) -> None:
    sensitive = {profile.profile_id for profile in packaged_profiles() if profile.sensitive}
    assert not any(held & sensitive for all_held in customers.values() for held in all_held)
