"""Each protection is switched off in turn, and a test must notice: else it would prove nothing.

Where no test of its own is named, the simulation has to stumble within so many seeds.
"""

from __future__ import annotations

import pytest

from tests.crash.protections import PROTECTIONS, Protection, caught, wrong_seeds

SEEDS = range(1, 400)


@pytest.mark.parametrize("protection", PROTECTIONS, ids=[protection.name for protection in PROTECTIONS])
def test_a_protection_that_is_switched_off_is_missed(protection: Protection, monkeypatch: pytest.MonkeyPatch) -> None:
    protection.switch_off(monkeypatch)
    if protection.notices is None:
        assert any(wrong_seeds(SEEDS)), protection.without
    else:
        assert caught(protection.notices, *protection.arguments), protection.without


@pytest.mark.parametrize("protection", PROTECTIONS, ids=[protection.name for protection in PROTECTIONS])
def test_the_test_that_misses_it_is_content_while_it_is_there(protection: Protection) -> None:
    if protection.notices is not None:
        protection.notices(*protection.arguments)
