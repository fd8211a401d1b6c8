"""Makes `.venv` with what the demo runs (`demo`), or with all that tests and development need too (`all`).

Runs under any Python of the system (3.11 to 3.13) before there is an environment, so the standard library has to do.
Steps run side by side as far as one does not need the other. Each says how long it took; what the tools print is kept
in `.venv/setup.log`, and its end is shown when a step fails.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
LOCKS = {"demo": "requirements-runtime.lock", "all": "requirements.lock"}
MARKS = {"demo": "ready-demo", "all": "ready"}
"""Touched when all is done. make compares their age with the files the environment is made from."""
OLDEST, NEWEST = (3, 11), (3, 13)
LINES_SHOWN = 25
LOOK_SECONDS = 0.1
CLEAR = "\r\x1b[K" if sys.stdout.isatty() else ""
"""Clears the line that counts the seconds of the steps under way; only a terminal has one."""


class StepFailed(Exception):
    """A step of the set-up ended with an error."""


class Step(NamedTuple):
    """Something to run: what a person reads, the command, and the names of the steps that must be done before."""

    name: str
    command: list[str]
    after: tuple[str, ...] = ()


def steps(extent: str) -> list[Step]:
    """The set-up of the demo, or of everything."""
    python, base = str(PYTHON), str(base_python())
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    jars, venv = "Apache Kafka, fetched", f"Python {version} in .venv"
    packages = "packages, each checked by hash"
    needs_venv = () if is_made_by(base_python(), VENV) else (venv,)
    found = [Step(jars, [base, "-m", "local.servers.jars"])]
    if needs_venv:
        found.append(Step(venv, [base, "-m", "venv", "--clear", str(VENV)]))
    found += [
        Step(packages, [python, "-m", "local.packages", str(ROOT / LOCKS[extent])], needs_venv),
        Step("machine code of the scores", [python, "-m", "streams.processing.warm", "step"], (packages,)),
        Step("machine code of the messages", [python, "-m", "streams.processing.warm", "others"], (packages,)),
    ]
    if extent == "all":
        found.append(
            Step("Apache Kafka, prepared for quick starts", [python, "-m", "local.servers.kafka"], (packages, jars))
        )
    return found


class Running:
    """A step under way."""

    def __init__(self, step: Step) -> None:
        self.step, self.began = step, time.monotonic()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `finish` or `kill`
        self.process = subprocess.Popen(
            step.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said
        )

    def finish(self) -> None:
        """Print the line of a step that has ended and keep what it said. Raises StepFailed where it failed."""
        print(f"{CLEAR}  {self.step.name:<40} {time.monotonic() - self.began:6.1f} s", flush=True)
        self._said.seek(0)
        said = self._said.read()
        self._said.close()
        if VENV.exists():  # the jars may be there before the environment is
            with LOG.open("ab") as log:
                log.write(said)
        if code := self.process.returncode:
            shown = "\n".join(said.decode(errors="replace").splitlines()[-LINES_SHOWN:])
            raise StepFailed(f"{self.step.name}: failed with exit code {code}. The end of what it said:\n{shown}")

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self._said.close()


def run(*steps: Step) -> None:
    """Run steps, each as soon as those before it are done. Raises StepFailed, and ends the others then."""
    waiting, running, done = list(steps), list[Running](), set[str]()
    began = time.monotonic()
    try:
        while waiting or running:
            for step in [step for step in waiting if done.issuperset(step.after)]:
                waiting.remove(step)
                running.append(Running(step))
            time.sleep(LOOK_SECONDS)
            if CLEAR:
                names = " · ".join(one.step.name.partition(",")[0] for one in running)
                print(f"{CLEAR}  {time.monotonic() - began:.0f} s  {names}", end="", flush=True)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                done.add(one.step.name)
                one.finish()
    finally:
        for one in running:
            one.kill()


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


def main() -> None:
    """Every step, then the mark that all is ready."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(f"Rescore runs on Python 3.11, 3.12 and 3.13; this is {sys.version.split()[0]}: make setup PYTHON=...")
    extent = sys.argv[1] if len(sys.argv) > 1 else "all"
    started = time.monotonic()
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ.pop("PYTHONHOME", None)
    what = "what the demo needs" if extent == "demo" else "everything"
    print(f"Setting up {what} in .venv, once; the next time there is nothing to do", flush=True)
    try:
        run(*steps(extent))
    except StepFailed as failure:
        sys.exit(f"\n{failure}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command goes on where this stopped")
    for mark in [MARKS["demo"], MARKS[extent]]:
        (VENV / mark).touch()
    print(f"Ready after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
