"""What `make setup` does, as far as it can be told without doing it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from local import environment
from local.environment import NEWEST, OLDEST, ROOT, StepFailed, base_python, is_made_by, run, steps


def test_every_step_runs_a_module_that_is_there():
    modules = [command[command.index("-m") + 1] for _, command in steps()]
    assert len(modules) == len(steps())
    assert not [name for name in modules if importlib.util.find_spec(name) is None]


def test_it_takes_the_versions_of_python_that_the_project_supports():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest, above = (".".join(map(str, version)) for version in (OLDEST, (NEWEST[0], NEWEST[1] + 1)))
    assert project["requires-python"] == f">={lowest},<{above}"


def test_an_environment_is_kept_only_if_this_python_made_it(tmp_path: Path):
    venv.create(tmp_path / "mine", symlinks=True, with_pip=False)
    assert is_made_by(base_python(), tmp_path / "mine")
    assert not is_made_by(base_python(), tmp_path / "none")
    other = tmp_path / "mine" / "bin" / "python"
    other.unlink()
    other.symlink_to("/usr/bin/true")
    assert not is_made_by(base_python(), tmp_path / "mine")


def test_a_step_tells_its_time(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "LOG", tmp_path / "setup.log")
    run("a step", [sys.executable, "-c", "print('said to the log')"])
    told = capsys.readouterr().out
    assert told.startswith("  a step ... ")
    assert told.endswith(" s\n")
    assert (tmp_path / "setup.log").read_text() == "said to the log\n"


def test_a_step_that_fails_shows_what_it_said(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(environment, "LOG", tmp_path / "setup.log")
    with pytest.raises(StepFailed, match=r"exit code 3(?s:.*)no room on the disk"):
        run("a step", [sys.executable, "-c", "import sys; print('no room on the disk'); sys.exit(3)"])


def test_make_alone_lists_every_target_of_the_contract():
    told = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[1] for line in told.splitlines() if line.startswith("  make ")}
    assert {"setup", "demo", "test", "check", "bench", "docs", "clean"} <= listed


def test_a_python_that_does_not_fit_is_refused_with_what_to_do(tmp_path: Path):
    tree = tmp_path / "tree"
    (tree / "local").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "local/environment.py", "local/kafka_jars.lock"):
        (tree / name).symlink_to(ROOT / name)
    told = subprocess.run(
        ["make", "setup", "PYTHON=/nowhere/python3"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert told.returncode == 2
    assert "found none at /nowhere/python3" in told.stderr
    assert "make setup PYTHON=" in told.stderr
    assert not (tree / ".venv").exists()


def test_continuous_integration_runs_what_people_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "exec make test"
