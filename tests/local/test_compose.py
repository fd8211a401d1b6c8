"""docker-compose.yml and the Dockerfile agree with the settings, the commands and the embedded servers."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.servers.jars import KAFKA_VERSION
from local.servers.kafka import DEFAULTS as KAFKA_DEFAULTS
from local.servers.valkey import DEFAULTS as VALKEY_DEFAULTS
from streams.settings import load

ROOT = Path(__file__).parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("rescore:")]


def test_it_is_kafka_valkey_the_topics_and_workers():
    assert set(SERVICES) == {"kafka", "valkey", "topics-init", "worker", "worker-1"}
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert not set(COMPOSE) - {"name", "services", "volumes"} - {key for key in COMPOSE if key.startswith("x-")}


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_our_services_are_accepted_and_reach_the_other_services(name):
    settings = load(SERVICES[name]["environment"]).settings
    host, _, port = settings.kafka.bootstrap_servers.partition(":")
    assert f"PLAINTEXT://{host}:{port}" in SERVICES[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert settings.redis.url.get_secret_value().startswith("redis://valkey:6379/")


def test_two_workers_have_two_slots():
    workers = [service["environment"] for service in SERVICES.values() if service.get("command") == ["worker"]]
    assert len({load(environment).settings.slot for environment in workers}) == len(workers) == 2


@pytest.mark.parametrize("name", OURS)
def test_the_commands_exist(name):
    command = [sys.executable, "-m", "streams", *SERVICES[name]["command"], "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "Usage: rescore " + " ".join(SERVICES[name]["command"]) in told.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_is_waited_for_says_when_it_is_healthy(name):
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        if condition["condition"] == "service_healthy":
            assert SERVICES[other]["healthcheck"]["test"][0] == "CMD"
        else:
            assert condition["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_alone_and_volumes_are_declared(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    assert {volume.split(":")[0] for volume in SERVICES[name].get("volumes", [])} <= set(COMPOSE["volumes"])


def test_kafka_has_the_settings_of_the_embedded_one():
    environment = SERVICES["kafka"]["environment"]
    named = {key.removeprefix("KAFKA_").lower().replace("_", "."): value for key, value in environment.items()}
    shared = set(named) & set(KAFKA_DEFAULTS)
    assert len(shared) >= 8
    assert {key: named[key] for key in shared} == {key: KAFKA_DEFAULTS[key] for key in shared}


def test_valkey_has_the_settings_of_the_embedded_one():
    command = SERVICES["valkey"]["command"]
    given = {name.removeprefix("--"): value for name, value in zip(command[1::2], command[2::2], strict=True)}
    assert given.items() <= VALKEY_DEFAULTS.items()
    assert given["appendonly"] == "yes"


def test_the_image_is_made_of_files_that_are_there():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    copied = [shlex.split(line)[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]
    assert not [name for names in copied for name in names if not (ROOT / name).exists()]
    assert {"schemas", "state", "streams", "local"} <= {name for names in copied for name in names}
    assert any(line.startswith("USER rescore") for line in lines)
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(r"^setuptools==\S+ \\$", lock, re.MULTILINE), "the builder that the Dockerfile takes from it"
