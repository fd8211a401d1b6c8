"""Makes `.venv` from the lock file and everything the demo and the tests need. What `make setup` runs.

Runs under any Python of the system (3.11 to 3.13) before there is an environment, so the standard library has to do.
A line a step, with its time; what the tools print is kept in `.venv/setup.log` and shown when a step fails.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
READY = VENV / "ready"
"""Touched when all is done. make compares its age with the files the environment is made from."""
OLDEST, NEWEST = (3, 11), (3, 13)
LINES_SHOWN = 25


class StepFailed(Exception):
    """A step of the set-up ended with an error."""


def steps() -> list[tuple[str, list[str]]]:
    """(what a person reads, command) in order."""
    python = str(PYTHON)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return [
        (
            "packages, each checked by hash",
            [*pip, "install", "--require-hashes", "-r", str(ROOT / "requirements.lock")],
        ),
        (
            "rescore itself, at .venv/bin/rescore",
            [*pip, "install", "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)],
        ),
        ("Apache Kafka", [python, "-m", "local.kafka"]),
        ("machine code of the scores", [python, "-m", "streams.warm"]),
    ]


def run(name: str, command: list[str]) -> None:
    """Run a step with a line that tells its time, counting seconds on a terminal. Raises StepFailed."""
    live = sys.stdout.isatty()
    started = time.monotonic()
    if not live:
        print(f"  {name} ...", end="", flush=True)
    with LOG.open("a+b") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while process.poll() is None:
                if live:
                    print(f"\r  {name:<40} {time.monotonic() - started:6.1f} s ", end="", flush=True)
                time.sleep(0.1)
        except BaseException:
            process.kill()
            process.wait()
            raise
        log.seek(0)  # read through this handle: making .venv anew takes the file away
        said = log.read().decode(errors="replace").splitlines()
    seconds = time.monotonic() - started
    print(f"\r  {name:<40} {seconds:6.1f} s" if live else f" {seconds:.1f} s", flush=True)
    if process.returncode:
        shown = "\n".join(said[-LINES_SHOWN:])
        raise StepFailed(f"{name}: failed with exit code {process.returncode}. The end of {LOG}:\n{shown}")


def base_python() -> Path:
    """The Python that runs this, or that the environment which runs this was made by."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def is_made_by(python: Path, venv: Path) -> bool:
    """Whether an environment works, and was made by this Python. One made by two cannot import half of its library."""
    try:
        lines = (venv / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    made_by = dict(line.split(" = ", 1) for line in lines if " = " in line).get("executable")
    return made_by == str(python) and (venv / "bin" / "python").resolve() == python


def make_venv() -> None:
    """An environment of this Python; one that another made is replaced."""
    if not is_made_by(base_python(), VENV):
        VENV.mkdir(exist_ok=True)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        run(f"Python {version} in .venv", [str(base_python()), "-m", "venv", "--clear", str(VENV)])


def main() -> None:
    """Every step, then the mark that all is ready."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(f"Rescore runs on Python 3.11, 3.12 and 3.13; this is {sys.version.split()[0]}: make setup PYTHON=...")
    started = time.monotonic()
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ.pop("PYTHONHOME", None)
    print("Setting up Rescore (once; the next time there is nothing to do)", flush=True)
    try:
        make_venv()
        for name, command in steps():
            run(name, command)
    except StepFailed as failure:
        sys.exit(f"\n{failure}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; `make setup` goes on where this stopped")
    READY.touch()
    print(f"Ready after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
