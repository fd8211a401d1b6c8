"""The cache of compiled code follows the sources, which numba's own does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from schemas.compiled import ROOT, compiled, digest_of

CALLER = "from schemas.compiled import compiled\nfrom state import rates\nfrom state.words import (\n    FACTOR,\n)\n"
CALLER += "@compiled\ndef total(x):\n    return rates.rate(x) * FACTOR\nprint(total(3))\n"
RATE = "from schemas.compiled import compiled\n@compiled\ndef rate(x):\n    return x + 1\n"


def write(root: Path, **modules: str) -> None:
    for name, source in modules.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def test_a_modules_digest_changes_with_every_source_it_draws_on_and_with_no_other(tmp_path: Path) -> None:
    def digest_with(edited: str) -> str:
        root = tmp_path / edited  # sources are read once in a process: an edit is another tree
        sources = {"caller": CALLER, "rates": RATE, "words": "FACTOR = 2\n", "other": ""}
        sources[edited] = sources.get(edited, "") + "\n"
        write(root, **{f"state__{name}": source for name, source in sources.items()})
        return digest_of(root / "state" / "caller.py", root)

    unedited = digest_with("unrelated")
    assert digest_with("other") == unedited
    assert len({unedited, digest_with("caller"), digest_with("rates"), digest_with("words")}) == 4


def run(root: Path) -> str:
    return subprocess.run(
        [sys.executable, str(root / "run.py")], cwd=root, capture_output=True, text=True, check=True,
        env={"NUMBA_CACHE_DIR": str(root / "cache"), "HOME": str(root)},
    ).stdout.strip()  # fmt: skip


def test_an_edited_callee_and_an_edited_constant_are_noticed_though_cached(tmp_path: Path) -> None:
    write(tmp_path, run="import state.caller\n", state__caller=CALLER, state__rates=RATE, state__words="FACTOR = 2\n")
    write(tmp_path, schemas__compiled=(ROOT / "schemas" / "compiled.py").read_text())
    assert run(tmp_path) == "8"
    assert list((tmp_path / "cache" / "caller").rglob("*.nbi"))
    assert run(tmp_path) == "8"
    write(tmp_path, state__rates=RATE.replace("x + 1", "x + 7"))
    assert run(tmp_path) == "20"
    write(tmp_path, state__words="FACTOR = 3\n")
    assert run(tmp_path) == "30"


def test_division_by_zero_is_numpys() -> None:
    @compiled
    def ratio(a: float, b: float) -> float:
        return a / b

    assert ratio(1.0, 0.0) == float("inf")
