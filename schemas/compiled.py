"""`compiled`: the one way functions of ours are compiled, with a cache on disk that can be trusted.

Numba's own cache looks at the file a function stands in and does not notice an edited callee, or a constant, in
another module. So each module has a cache folder whose name carries a digest of its source and of all sources of ours
that it imports, directly or not, and of the versions of Python, numba and numpy: other sources, another folder.
`NUMBA_CACHE_DIR` moves the folders out of the user's cache.

>>> @compiled
... def double(x):
...     return 2 * x
>>> double(21)
42
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

_settings: Any = numba.config  # filled in as numba is imported, unseen by type checkers

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "state", "streams", "local")
CACHE_PARENT = Path(_settings.CACHE_DIR or Path.home() / ".cache" / "rescore" / "compiled")

FOLDERS_KEPT = 8
"""Caches of other versions of a module that are left alone; older ones are removed when a new one is made."""

_IMPORT = re.compile(
    rf"^\s*(?:from|import)\s+((?:{'|'.join(PACKAGES)})[\w.]*)(?:\s+import\s+(\([^)]*\)|.*))?", re.MULTILINE
)


def compiled(function: Function) -> Function:
    """Compile to machine code at the first call, or take it from the cache. Division by zero is numpy's: inf or NaN.

    Such a function makes no arrays, it works on those it is given. So it need not count who holds them, in memory that
    all cores share, which took an eighth of a batch's time: whoever calls it from Python holds them meanwhile.
    """
    file = Path(function.__code__.co_filename)
    folder = _cache_folder(file) if file.is_file() else None  # what was typed in has no file, and so no cache
    before, _settings.CACHE_DIR = _settings.CACHE_DIR, str(folder or "")
    try:
        options: dict[str, Any] = {"cache": folder is not None, "error_model": "numpy", "_nrt": False}
        made = numba.njit(**options)(function)
    finally:
        _settings.CACHE_DIR = before
    return cast("Function", made)


def compile_for(function: Callable[..., Any], *arguments: Any) -> None:
    """Compile a function for arguments of these types without calling it, or find it in the cache.

    >>> @compiled
    ... def half(x):
    ...     return x / 2
    >>> compile_for(half, 1)
    >>> [str(types) for types in half.signatures]
    ['(int64,)']
    """
    type_of: Callable[[Any], Any] = numba.typeof
    cast("Any", function).compile(tuple(map(type_of, arguments)))


def digest_of(file: Path, root: Path = ROOT) -> str:
    """Sixteen hexadecimal digits that differ when code compiled for this module may differ. Reads each source once."""
    versions = f"{numba.__version__} {np.__version__} {platform.python_version()}"
    digest = hashlib.blake2b(versions.encode(), digest_size=8)
    for path in sorted(_closure(file, root)):
        name = path.relative_to(root) if path.is_relative_to(root) else path
        digest.update(str(name).encode() + b"\0" + _source(path) + b"\0")
    return digest.hexdigest()


def _closure(file: Path, root: Path) -> set[Path]:
    """The module's file and those of all modules of ours that it imports, directly or not."""
    found, waiting = set[Path](), [file]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path, root)
    return found


def _imported(path: Path, root: Path) -> Iterator[Path]:
    for module, names in _IMPORT.findall(_source(path).decode("utf-8")):
        inside = root.joinpath(*module.split("."))
        candidates = [inside.with_suffix(".py"), inside / "__init__.py"]
        candidates += [inside / f"{name}.py" for name in re.findall(r"\w+", names)]
        yield from (candidate for candidate in candidates if candidate.is_file())


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _cache_folder(file: Path) -> Path | None:
    """The folder for this module as it is now, made if need be; None where none can be written."""
    parent = CACHE_PARENT / file.stem
    folder = parent / digest_of(file)
    try:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _remove_old(parent)
        (folder / ".writable").touch()
    except OSError:
        return None
    return folder


def _remove_old(parent: Path) -> None:
    by_age = sorted(parent.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in by_age[FOLDERS_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


@compiled
def copy_into(target: Any, source: Any) -> None:
    """Copy the first axis over. Unlike `target[:] = source` it makes no array to be safe where the two overlap."""
    for i in range(len(target)):
        target[i] = source[i]


def _called_at(_context: Any, _address: Any, _first: Any, _second: Any, _third: Any) -> Any:
    def call(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        whole = ir.IntType(64)
        function = ir.FunctionType(whole, [whole, whole, whole]).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], function), arguments[1:])

    return types.int64(types.int64, types.int64, types.int64, types.int64), call


call_at: Any = intrinsic(_called_at)
"""`call_at(address, a, b, c)`, within compiled functions: call a C function of three words that answers one.

The address is told when it runs, so that what calls it can be kept on disk. Nothing is checked: a wrong address ends
the process.
"""
