"""What `make setup` does, as far as it can be told without doing it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from local import environment
from local.environment import LOCKS, NEWEST, OLDEST, ROOT, Step, StepFailed, base_python, is_made_by, run, steps
from local.packages import INSTALLER, pinned, uv_settings


@pytest.mark.parametrize("extent", LOCKS)
def test_every_step_runs_a_module_that_is_there_after_steps_that_are_there(extent: str):
    found = steps(extent)
    modules = [step.command[step.command.index("-m") + 1] for step in found]
    assert not [name for name in modules if importlib.util.find_spec(name) is None]
    names = [step.name for step in found]
    assert [step.name for step in found if not set(step.after) <= set(names)] == []


def test_the_demo_installs_what_runs_alone_and_tests_everything():
    locks = {
        extent: [step.command[-1] for step in steps(extent) if "local.packages" in step.command] for extent in LOCKS
    }
    assert locks == {
        "demo": [str(ROOT / "requirements-runtime.lock")],
        "all": [str(ROOT / "requirements.lock")],
    }


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


@pytest.fixture
def log(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(environment, "VENV", tmp_path)
    monkeypatch.setattr(environment, "LOG", tmp_path / "setup.log")
    return tmp_path / "setup.log"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_step_tells_its_time(log: Path, capsys):
    run(Step("a step", python("print('said to the log')")))
    told = capsys.readouterr().out
    assert re.fullmatch(r"  a step +\d+\.\d s\n", told)
    assert log.read_text() == "said to the log\n"


def test_steps_run_side_by_side_but_each_after_those_it_needs(log: Path, tmp_path: Path, capsys):
    # Each of the first two waits for the other one to have started.
    wait = "import pathlib, sys, time\nmine, other = map(pathlib.Path, sys.argv[1:])\nmine.touch()\n"
    wait += "while not other.exists(): time.sleep(0.01)"
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    check = f"import pathlib; assert pathlib.Path({a!r}).exists() and pathlib.Path({b!r}).exists()"
    run(
        Step("last", python(check), ("one", "two")),
        Step("one", [*python(wait), a, b]),
        Step("two", [*python(wait), b, a]),
    )
    assert capsys.readouterr().out.splitlines()[-1].startswith("  last ")


def test_a_step_that_fails_shows_what_it_said_and_ends_the_others(log: Path):
    fails = Step("fails", python("import sys; print('no room on the disk'); sys.exit(3)"))
    with pytest.raises(StepFailed, match=r"exit code 3(?s:.*)no room on the disk"):
        run(fails, Step("for ever", python("import time; time.sleep(600)")), Step("never", python("1/0"), ("fails",)))


def test_make_alone_lists_every_target_of_the_contract():
    told = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[1] for line in told.splitlines() if line.startswith("  make ")}
    assert {"setup", "demo", "test", "check", "bench", "docs", "clean"} <= listed


def test_a_python_that_does_not_fit_is_refused_with_what_to_do(tmp_path: Path):
    tree = tmp_path / "tree"
    (tree / "local" / "servers").mkdir(parents=True)
    names = ("environment.py", "packages.py", "servers/kafka_jars.lock")
    for name in ("Makefile", "requirements.lock", "pyproject.toml", *(f"local/{name}" for name in names)):
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


def test_what_installs_the_others_is_pinned_with_hashes_too():
    lines = list(pinned((ROOT / "requirements.lock").read_text(encoding="utf-8"), INSTALLER))
    assert {line.partition("==")[0] for line in lines if "==" in line} == set(INSTALLER)
    assert sum("--hash=sha256:" in line for line in lines) >= len(INSTALLER)


def test_uv_looks_where_pip_was_told_to_look(tmp_path: Path):
    pip = f":env:.find-links='{tmp_path} /nowhere'\nglobal.cert='/c.pem'\nglobal.index-url='https://a/simple'\nx.y='z'"
    wanted = {"UV_FIND_LINKS": str(tmp_path), "SSL_CERT_FILE": "/c.pem", "UV_DEFAULT_INDEX": "https://a/simple"}
    assert uv_settings(pip, {}) == wanted
    assert "UV_DEFAULT_INDEX" not in uv_settings(pip, {"UV_DEFAULT_INDEX": "https://mine"})


def test_continuous_integration_runs_what_people_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "exec make test"
