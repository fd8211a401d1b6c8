"""Jars come from where the user's Maven would take them, and only as the lock file names them."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local.servers import jars
from local.servers.jars import Jar, JarsUnavailable, fetch, locked, repository_url

PATH = "org/example/thing/1.0/thing-1.0.jar"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """A test has no log."""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A Maven repository: its folder and its address."""
    folder = tmp_path / "repository"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has nothing yet."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.delenv("MAVEN_MIRROR_URL", raising=False)
    return folder


@pytest.fixture
def publish(
    home: Path, repository: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[bytes, bytes], Path]:
    """Puts a jar into the repository and a hash into the lock file; gives the file's place in the repository."""

    def put(content: bytes, hashed: bytes) -> Path:
        file = repository[0] / PATH
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        lock = home / "jars.lock"
        lock.write_text(f"# made for a test\n{hashlib.sha256(hashed).hexdigest()}  {PATH}\n")
        monkeypatch.setattr(locked, "__defaults__", (lock,))
        monkeypatch.setenv("MAVEN_MIRROR_URL", repository[1] + "/")
        return file

    return put


def test_a_jar_is_fetched_once(publish):
    file = publish(b"jar", b"jar")
    (fetched,) = fetch()
    assert fetched.read_bytes() == b"jar"
    file.unlink()
    assert fetch() == [fetched]
    assert [path.name for path in fetched.parent.iterdir()] == ["thing-1.0.jar"]


def test_a_jar_that_is_not_what_the_lock_names_is_refused_and_not_kept(publish):
    publish(b"another jar", b"jar")
    with pytest.raises(JarsUnavailable, match="do not use it"):
        fetch()
    assert not list(jars.cache_folder().rglob("*.jar"))


def test_a_jar_that_is_not_there_is_told_with_what_to_do(publish):
    publish(b"jar", b"jar").unlink()
    with pytest.raises(JarsUnavailable, match="MAVEN_MIRROR_URL"):
        fetch()


def test_what_maven_has_fetched_is_used_if_it_is_the_same(publish, home):
    file = publish(b"jar", b"jar")
    file.unlink()
    at_hand = home / ".m2" / "repository" / PATH
    at_hand.parent.mkdir(parents=True)
    at_hand.write_bytes(b"jar")
    assert fetch()[0].read_bytes() == b"jar"


SETTINGS = """<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors>
<mirror><id>blocked</id><mirrorOf>*</mirrorOf><url>http://0.0.0.0/</url><blocked>true</blocked></mirror>
<mirror><id>other</id><mirrorOf>spring</mirrorOf><url>https://spring.example.org/</url></mirror>
<mirror><id>ours</id><mirrorOf>external:*,!spring</mirrorOf><url>https://maven.example.org/central/</url></mirror>
</mirrors></settings>"""


def test_the_mirror_of_the_users_maven_settings_is_used(home):
    assert repository_url() == jars.MAVEN_CENTRAL
    (home / ".m2").mkdir()
    (home / ".m2" / "settings.xml").write_text(SETTINGS)
    assert repository_url() == "https://maven.example.org/central"


def test_settings_that_can_not_be_read_are_told(home):
    (home / ".m2").mkdir()
    (home / ".m2" / "settings.xml").write_text("<settings>")
    with pytest.raises(JarsUnavailable, match="not valid XML"):
        repository_url()


def test_the_lock_file_names_one_version_of_kafka_and_nothing_twice():
    named = locked()
    assert len({jar.name for jar in named}) == len(named)
    assert all(len(jar.sha256) == 64 and jar.path.endswith(".jar") for jar in named)
    kafkas = {jar.path.split("/")[4] for jar in named if jar.path.startswith("org/apache/kafka/")}
    assert kafkas == {jars.KAFKA_VERSION}
    assert Jar("", PATH).name == "thing-1.0.jar"
