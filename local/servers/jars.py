"""Kafka's jars: fetched once from Maven Central (or the user's mirror of it), each checked against a committed hash.

`kafka_jars.lock` names every jar with its SHA-256; `python -m local.servers.relock` writes it again for another
version. The jars rest in the user's cache folder, so that a second start, or a second checkout, fetches nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from schemas.errors import RescoreError

KAFKA_VERSION = "4.1.1"
MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"
MIRROR_VARIABLE = "MAVEN_MIRROR_URL"
LOCK = Path(__file__).with_name("kafka_jars.lock")
TRIES = 3
PARALLEL = 8
TIMEOUT_SECONDS = 60.0


class JarsUnavailable(RescoreError):
    """A jar could not be fetched, or what came is not what the lock file names. The message says what to do."""


class Jar(NamedTuple):
    """One line of the lock file: where the jar is in any Maven repository, and what it must be."""

    sha256: str
    path: str

    @property
    def name(self) -> str:
        """File name, which names artifact and version."""
        return self.path.rpartition("/")[2]


def locked(lock: Path = LOCK) -> list[Jar]:
    """The jars of the lock file, in the order of the class path.

    >>> any(jar.name == f"kafka_2.13-{KAFKA_VERSION}.jar" for jar in locked())
    True
    """
    lines = lock.read_text(encoding="ascii").splitlines()
    return [Jar(*line.split()) for line in lines if line and not line.startswith("#")]


def cache_folder() -> Path:
    """The user's cache folder for Rescore: `$XDG_CACHE_HOME/rescore`, else `~/.cache/rescore`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rescore"


def fetch() -> list[Path]:
    """Paths of all jars, those that were missing fetched first: 43 MB in some 5 s, then nothing.

    Several processes may do so at once. Raises `JarsUnavailable`.
    """
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    jars = locked()
    missing = [jar for jar in jars if not (folder / jar.name).is_file()]
    if missing:
        repository = repository_url()
        with ThreadPoolExecutor(PARALLEL) as pool:
            # Taken one by one, so that the first failure is raised here.
            for _ in pool.map(lambda jar: _fetch_one(jar, folder, repository), missing):
                pass
    return [folder / jar.name for jar in jars]


def _fetch_one(jar: Jar, folder: Path, repository: str) -> None:
    at_hand = Path.home() / ".m2" / "repository" / jar.path
    content = at_hand.read_bytes() if at_hand.is_file() else b""
    if hashlib.sha256(content).hexdigest() != jar.sha256:
        content = download(f"{repository}/{jar.path}")
    if (found := hashlib.sha256(content).hexdigest()) != jar.sha256:
        raise JarsUnavailable(
            f"{repository}/{jar.path} is not the file that {LOCK.name} names (SHA-256 {found}, wanted {jar.sha256}); "
            "do not use it: ask who runs that repository, or fetch from another one"
        )
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part", delete=False) as part:
        part.write(content)
    Path(part.name).replace(folder / jar.name)  # appears whole or not at all


def download(url: str) -> bytes:
    """What is at `url`; server errors are tried again. Raises `JarsUnavailable`."""
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
                return bytes(answer.read())
        except (OSError, urllib.error.URLError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or attempt == TRIES:
                raise JarsUnavailable(
                    f"cannot fetch {url}: {error}; check the network and proxy settings, or name a mirror of Maven "
                    f"Central in {MIRROR_VARIABLE} or ~/.m2/settings.xml"
                ) from error
        time.sleep(attempt)
    raise AssertionError("unreachable")


def repository_url(settings: Path | None = None) -> str:
    """Where to fetch from: $MAVEN_MIRROR_URL, else the mirror of `central` in Maven's settings, else Maven Central."""
    if named := os.environ.get(MIRROR_VARIABLE):
        return named.rstrip("/")
    path = settings or Path.home() / ".m2" / "settings.xml"
    if path.is_file():
        try:
            for mirror_of, url in _mirrors(path):
                if covers_central(mirror_of):
                    return url.rstrip("/")
        except ET.ParseError as error:
            raise JarsUnavailable(f"{path} is not valid XML: {error}; correct it") from None
    return MAVEN_CENTRAL


def _mirrors(settings: Path) -> Iterator[tuple[str, str]]:
    for element in ET.parse(settings).iter():
        if element.tag.rpartition("}")[2] == "mirror":
            values = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in element}
            if values.get("blocked") != "true" and values.get("url"):
                yield values.get("mirrorOf", ""), values["url"]


def covers_central(mirror_of: str) -> bool:
    """Whether Maven would send requests for Central to a mirror with this `mirrorOf`.

    >>> [covers_central(text) for text in ("central", "*", "external:*", "*,!central", "spring")]
    [True, True, True, False, False]
    """
    names = {name.strip() for name in mirror_of.split(",")}
    return "!central" not in names and bool(names & {"central", "*", "external:*"})


if __name__ == "__main__":
    try:
        print(f"{len(fetch())} jars of Apache Kafka {KAFKA_VERSION} are in {cache_folder()}")
    except JarsUnavailable as unavailable:
        sys.exit(f"local.servers.jars: {unavailable}")
