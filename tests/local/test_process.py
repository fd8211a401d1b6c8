"""Nothing is left behind, however the owner of a server ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.servers.process import PORTS, Server, StartFailed, free_port
from local.servers.valkey import Valkey

ROOT = Path(__file__).parent.parent.parent

OWNER = """
import os, signal, sys, threading
from pathlib import Path
from local.servers.valkey import Valkey
# Started in the background of a shell, or under nohup, a process inherits that these are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
folder = sys.argv[1] or None
started = []
thread = threading.Thread(target=lambda: started.append(Valkey.start(folder)))
thread.start()
thread.join()  # a server outlives the thread that started it
valkey = started[0]
{then}
print(valkey.pid, valkey.folder, valkey.port, flush=True)
sys.stdin.readline()
{last}
"""


class Owner:
    """A Python process that owns a Valkey, and what it said of it."""

    def __init__(self, folder: str = "", then: str = "", last: str = "") -> None:
        script = OWNER.format(then=then, last=last)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, folder], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        pid, self.folder, port = self.process.stdout.readline().split()
        self.server = int(pid)
        self.port = int(port)

    def ends(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(20)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def owner() -> Iterator[Callable[..., Owner]]:
    made: list[Owner] = []

    def make(**options: str) -> Owner:
        made.append(Owner(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def gone(pid: int) -> bool:
    """Whether no process has this id, one that has ended and waits to be asked for its exit code not counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return Path("/proc/self").exists()


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda how: how.name
)
def test_server_and_temporary_folder_are_gone_when_the_owner_ends(owner, eventually, how):
    one = owner()
    assert not gone(one.server)
    assert Path(one.folder).is_dir()
    one.ends(how)
    eventually(lambda: gone(one.server), "the end of the server")
    eventually(lambda: not Path(one.folder).exists(), "the end of its folder")


def test_a_crash_of_the_owner_leaves_nothing_either(owner, eventually):
    one = owner(last="os.abort()")
    one.process.communicate("\n", timeout=20)
    assert one.process.returncode == -signal.SIGABRT
    eventually(lambda: gone(one.server), "the end of the server")
    eventually(lambda: not Path(one.folder).exists(), "the end of its folder")


def test_a_folder_of_the_users_stays_when_the_owner_is_killed(owner, eventually, tmp_path):
    one = owner(folder=str(tmp_path / "mine"))
    one.ends(signal.SIGKILL)
    eventually(lambda: gone(one.server), "the end of the server")
    assert list(Path(one.folder).iterdir())


def test_a_restarted_server_is_watched_as_the_first_was(owner, eventually):
    one = owner(then="valkey.kill(); valkey.restart()")
    one.ends(signal.SIGKILL)
    eventually(lambda: gone(one.server), "the end of the server")
    eventually(lambda: not Path(one.folder).exists(), "the end of its folder")


def test_a_folder_is_gone_when_the_owner_ends_between_kill_and_restart(owner, eventually):
    one = owner(then="pid = valkey.pid; valkey.kill(); type(valkey).pid = pid")
    assert gone(one.server)
    one.ends(signal.SIGKILL)
    eventually(lambda: not Path(one.folder).exists(), "the end of its folder")


def test_forked_copies_of_the_owner_do_not_keep_the_server(owner, eventually):
    one = owner(then="copy = os.fork() or (os.close(1), os.read(0, 1))")
    one.ends(signal.SIGKILL)  # the copy lives on: it waits for our end of its standard input
    eventually(lambda: gone(one.server), "the end of the server")


def test_a_folder_is_free_again_when_its_owner_was_killed(owner, eventually, tmp_path):
    one = owner(folder=str(tmp_path))
    with pytest.raises(StartFailed, match="in use"):
        Valkey.start(tmp_path)
    one.ends(signal.SIGKILL)
    eventually(lambda: gone(one.server), "the end of the server")
    with Valkey.start(tmp_path) as valkey:
        assert valkey.running


def test_ports_are_outside_the_range_of_outgoing_connections():
    assert free_port() in PORTS
    range_file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if range_file.exists():
        assert PORTS.stop <= int(range_file.read_text().split()[0])


def test_a_server_that_does_not_run_has_no_id(tmp_path):
    class Never(Server):
        name = "never"

        def _command(self) -> list[str]:
            return []

        def _answers(self) -> bool:
            return False

    with pytest.raises(RuntimeError, match="does not run"):
        _ = Never(tmp_path, None).pid
