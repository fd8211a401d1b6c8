"""What runs beside Rescore on the same topic: the bare pipe and other engines, each a process of its own.

The others keep one sum of the amounts of each customer and write it out for each transaction: far less than a
worker of Rescore does. They are programs in `benchmarks/`, made with what is on this machine; one that cannot be made
here is left out, and the reason told.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from local.bench.world import ROOT, World

PROGRAMS = ROOT / "benchmarks"
WINDOWS_EVENTS_MAX = 200_000


class NotHere(Exception):
    """This engine cannot be made on this machine. The message says why."""


class Load(NamedTuple):
    """What the engines take: a topic, of so many customers, all alike or some busier than others."""

    topic: str
    users: int
    alike: bool


@dataclass(frozen=True, slots=True)
class Engine:
    """One that takes the topic: how it is started, and under which group it says how far it is.

    `events_max` bounds what a slow one is given of each round; `topics` are those it writes to.
    """

    name: str
    says: str
    group: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    events_max: int = sys.maxsize
    start_seconds: float = 120.0
    is_rescore: bool = False


def rescore(here: World) -> Engine:
    """The worker, as it is shipped."""
    return Engine(
        "rescore",
        "every score, exactly once, rows in Redis",
        here.settings.app,
        (sys.executable, "-m", "streams", "worker"),
        start_seconds=300.0,
        is_rescore=True,
    )


def bare_pipe(here: World, load: Load) -> Engine:
    """The least that the protocol costs from Python."""
    script = PROGRAMS / "bare_pipe.py"
    if not script.is_file():
        raise NotHere(f"{script} is not there: run this from a checkout of the project")
    arguments = (here.bootstrap_servers, here.redis_url, load.topic, str(here.partitions), "bare-pipe", str(load.users))
    return Engine(
        "bare pipe",
        "no thinking: consume, decode, MGET, one transaction, MSET",
        "bare-pipe",
        (sys.executable, str(script), *arguments),
        topics=("bare-images", "bare-changes"),
    )


Maker = Callable[[World, Load, Path], list[Engine]]
"""Makes the engines of one kind for a load; what is kept goes to the folder. Raises NotHere."""


def kafka_streams(here: World, load: Load, folder: Path) -> list[Engine]:
    """Kafka Streams with its defaults, exactly once (v2), its state in memory and in RocksDB.

    Once as a running total by hand, the cheapest sum there is, and once as its own rolling one: sliding windows of 30
    days in RocksDB. Those keep a window for each transaction and look at all of a customer's, who so costs the square
    of what they do: where some are busy it would not come to an end, and is left out. (In memory it had not
    taken a million transactions of a million customers in eight minutes.)
    """
    lib = built("kafka_streams", folder)
    kinds = [
        ("total", "memory", "", "one running total", sys.maxsize),
        ("total", "rocksdb", "", "one running total", sys.maxsize),
    ]
    if load.alike:
        says = "one rolling sum of 30 days by its sliding windows"
        kinds.append(("rolling", "rocksdb", " windows", says, WINDOWS_EVENTS_MAX))
    return [
        Engine(
            f"kafka-streams {kept}{more}",
            f"{says}, exactly once v2, state in {'memory' if kept == 'memory' else 'RocksDB'}",
            f"streams-{kind}-{kept}",
            (
                *java(lib),
                here.bootstrap_servers,
                load.topic,
                f"streams-{kind}-{kept}-out",
                f"streams-{kind}-{kept}",
                kept,
                str(here.folder / f"streams-{kind}-{kept}"),
                kind,
            ),
            topics=(f"streams-{kind}-{kept}-out",),
            events_max=events_max,
        )
        for kind, kept, more, says, events_max in kinds
    ]


def flink(here: World, load: Load, folder: Path) -> list[Engine]:
    """Flink with its state on the heap; what it says becomes visible with each checkpoint."""
    lib = built("flink", folder)
    opened = ("--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED")
    return [
        Engine(
            f"flink {every_ms} ms",
            f"one running total, exactly once, state on the heap, a checkpoint every {every_ms:,} ms",
            f"flink-{every_ms}",
            (
                *java(lib, *opened),
                here.bootstrap_servers,
                load.topic,
                f"flink-{every_ms}-out",
                f"flink-{every_ms}",
                str(every_ms),
                str(here.folder / f"flink-{every_ms}"),
            ),
            topics=(f"flink-{every_ms}-out",),
        )
        for every_ms in (1_000, 100)
    ]


def java(lib: Path, *options: str) -> tuple[str, ...]:
    """A Java program of `benchmarks/`: 4 GB at most, and the garbage collector the machine's Java chooses."""
    path = f"{lib.parent / 'classes'}:{lib}/*"
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ("java", "-Xmx4g", quiet, *options, "-classpath", path, "bench.RollingSum")


def built(name: str, folder: Path) -> Path:
    """Build a Java program with Maven, once for each version of its sources; the folder of its libraries."""
    sources = PROGRAMS / name
    if not sources.is_dir():
        raise NotHere(f"{sources} is not there: run this from a checkout of the project")
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise NotHere(f"it is built with Java 17 and Maven; there is no `{program}` on this machine")
    into = folder / f"{name}-{_digest(sources)}"
    if not (into / "built").exists():
        command = ["mvn", "-q", "-B", "-f", str(sources / "pom.xml"), f"-Dinto={into}", "package"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise NotHere(f"Maven cannot build it: {(done.stdout + done.stderr).strip()[-300:]}")
        (into / "built").touch()
    return into / "lib"


def _digest(sources: Path) -> str:
    """Of all files of a program."""
    files = sorted(path for path in sources.rglob("*") if path.is_file() and "target" not in path.parts)
    return hashlib.blake2b(b"".join(path.read_bytes() for path in files), digest_size=6).hexdigest()


def quix(here: World, load: Load, folder: Path) -> list[Engine]:
    """Quix Streams, its state in RocksDB, which is its only one."""
    return [
        Engine(
            "quix",
            "one running total, exactly once, state in RocksDB",
            "quix-sum",
            (*_python("quix_sum", folder), here.bootstrap_servers, load.topic, "quix-out", str(here.folder / "quix")),
            topics=("quix-out",),
            events_max=200_000,
        )
    ]


def faust(here: World, load: Load, folder: Path) -> list[Engine]:
    """faust-streaming as it promises exactly once, and as it comes."""
    python = _python("faust_sum", folder)
    return [
        Engine(
            f"faust {promise}",
            f"one running total, {promise.replace('_', ' ')}",
            f"faust-{promise}",
            (*python, here.bootstrap_servers, load.topic, str(here.partitions), promise, str(here.folder / promise)),
            topics=(f"faust-{promise}-out",),
            events_max=10_000,
        )
        for promise in ("exactly_once", "at_least_once")
    ]


def _python(name: str, folder: Path) -> tuple[str, str]:
    """The Python and the script of a program whose packages are in an environment of their own, made once."""
    script, wanted = PROGRAMS / f"{name}.py", PROGRAMS / f"{name}.txt"
    if not script.is_file():
        raise NotHere(f"{script} is not there: run this from a checkout of the project")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.blake2b(wanted.read_bytes(), digest_size=6).hexdigest()
    environment = folder / f"{name}-{version}-{digest}"
    python = environment / "bin" / "python"
    if not (environment / "made").exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(environment)],
            [str(python), "-m", "pip", "install", "-q", "-r", str(wanted)],
        ):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise NotHere(f"its environment cannot be made: {(done.stdout + done.stderr).strip()[-300:]}")
        (environment / "made").touch()
    return str(python), str(script)


PEERS: dict[str, Maker] = {"kafka-streams": kafka_streams, "flink": flink, "quix": quix, "faust": faust}
"""By the name `--peers` knows it by."""
