"""`--simulate-seed N` replays one seed and prints its story, step by step."""

from __future__ import annotations

import pytest

STORY = "test_a_seed_tells_the_same_story_every_time"


@pytest.fixture
def simulated_seed(request: pytest.FixtureRequest) -> int | None:
    """The seed named on the command line, if any."""
    seed: int | None = request.config.getoption("--simulate-seed")
    return seed


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A seed that was named is all that is played."""
    if config.getoption("--simulate-seed") is not None:
        others = [item for item in items if item.name != STORY]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.name == STORY]
