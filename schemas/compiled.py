"""`compiled`: the one way functions of ours are compiled, with a cache on disk that can be trusted.

Numba's own cache looks at the file a function stands in and does not notice an edited callee, or a constant, in
another module. So the cache folder carries a digest of every source that compiled code may draw on, and of the versions
of numba and numpy: other sources, another folder. Set `NUMBA_CACHE_DIR` to keep it elsewhere than in the user's cache.

>>> @compiled
... def double(x):
...     return 2 * x
>>> double(21)
42
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

_settings: Any = numba.config  # filled in as numba is imported, unseen by type checkers

ROOT = Path(__file__).parent.parent
SOURCES = ("schemas", "state", "streams/scoring")
"""Folders whose modules hold compiled functions, or constants that these freeze."""

FOLDERS_KEPT = 8
"""Caches of other versions of the sources that are left alone; older ones are removed when a new one is made."""


def digest_of_sources(root: Path = ROOT) -> str:
    """Sixteen hexadecimal digits that differ when compiled code may differ. Reads about a hundred files, a few ms."""
    digest = hashlib.blake2b(
        f"{numba.__version__} {np.__version__} {platform.python_version()}".encode(), digest_size=8
    )
    for folder in SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _cache_folder() -> Path | None:
    """The folder for these sources, made if need be; None where the user has none that can be written."""
    parent = Path(_settings.CACHE_DIR or Path.home() / ".cache" / "rescore") / "compiled"
    folder = parent / digest_of_sources()
    try:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _remove_old(parent)
        probe = folder / ".writable"
        probe.touch()
    except OSError:
        return None
    return folder


def _remove_old(parent: Path) -> None:
    by_age = sorted(parent.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in by_age[FOLDERS_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


CACHE_FOLDER = _cache_folder()
if CACHE_FOLDER is not None:
    _settings.CACHE_DIR = str(CACHE_FOLDER)


def compiled(function: Function) -> Function:
    """Compile to machine code at the first call, or take it from the cache. Division by zero is numpy's: inf or NaN."""
    # What was typed in has no file, and so no place in the cache.
    has_file = Path(function.__code__.co_filename).is_file()
    compile_it = numba.njit(cache=has_file and CACHE_FOLDER is not None, error_model="numpy")
    return cast("Function", compile_it(function))
