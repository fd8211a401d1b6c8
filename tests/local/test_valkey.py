"""The embedded Valkey: scripts, an append-only file that survives SIGKILL, settings that replace ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from local.servers.process import StartFailed
from local.servers.valkey import Valkey


def client(valkey: Valkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url, protocol=3)


def test_it_speaks_resp3_and_runs_scripts_and_functions(valkey):
    with client(valkey) as connection:
        assert connection.execute_command("HELLO", "3")[b"proto"] == 3
        assert connection.eval("return redis.call('PING')", 0) == b"PONG"
        library = "#!lua name=testing\nserver.register_function('double', function(k, a) return a[1] * 2 end)"
        assert connection.function_load(library, replace=True) == b"testing"
        assert connection.fcall("double", 0, "21") == 42


def test_what_was_written_is_there_after_a_kill_and_a_restart(tmp_path: Path):
    with Valkey.start(tmp_path, settings={"appendfsync": "always"}) as valkey:
        with client(valkey) as connection:
            connection.set("user", "row")
        url = valkey.url
        valkey.kill()
        assert not valkey.running
        valkey.restart()
        assert valkey.url == url
        with client(valkey) as connection:
            assert connection.get("user") == b"row"


def test_settings_replace_ours():
    with Valkey.start(settings={"appendonly": "no", "maxmemory": "100mb"}) as valkey, client(valkey) as connection:
        assert connection.config_get("appendonly") == {"appendonly": "no"}
        assert connection.config_get("maxmemory") == {"maxmemory": str(100 * 2**20)}
        assert connection.config_get("bind") == {"bind": "127.0.0.1"}


def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path):
    with pytest.raises(StartFailed, match="nonsense"):
        Valkey.start(tmp_path, settings={"nonsense": "yes"})


def test_two_servers_do_not_share_a_folder(tmp_path: Path):
    with Valkey.start(tmp_path), pytest.raises(StartFailed, match="in use"):
        Valkey.start(tmp_path)
