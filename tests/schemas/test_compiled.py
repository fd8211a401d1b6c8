"""The cache of compiled code follows the sources, which numba's own does not."""

from __future__ import annotations

import shutil
from pathlib import Path

from schemas.compiled import CACHE_FOLDER, ROOT, SOURCES, compiled, digest_of_sources


def copy_of_sources(to: Path) -> None:
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__", "*.avsc"))


def test_the_digest_is_that_of_the_sources_and_changes_with_any_of_them(tmp_path: Path) -> None:
    copy_of_sources(tmp_path)
    before = digest_of_sources(tmp_path)
    assert before == digest_of_sources(tmp_path)
    for folder in SOURCES:
        edited = min((tmp_path / folder).glob("*.py"))
        edited.write_bytes(edited.read_bytes() + b"\n")
        after = digest_of_sources(tmp_path)
        assert after != before
        before = after


def test_compiled_code_is_kept_in_the_folder_of_this_digest() -> None:
    assert CACHE_FOLDER is not None
    assert CACHE_FOLDER.is_dir()


def test_division_by_zero_is_numpys() -> None:
    @compiled
    def ratio(a: float, b: float) -> float:
        return a / b

    assert ratio(1.0, 0.0) == float("inf")
