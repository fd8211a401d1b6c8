"""Settings: where each comes from, what is refused and with which words, what is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from state.errors import RefusedSettings
from streams.settings import MASK, Settings, load


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _toml(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "some.toml"
    path.write_text(text)
    return {"RESCORE_CONFIG": str(path)}


def test_without_anything_the_defaults_hold_and_stay_on_this_machine() -> None:
    loaded = load({"PATH": "/bin"})
    assert loaded.settings == Settings()
    assert loaded.origins == {}
    assert {one.origin for one in loaded.listed()} == {"default"}
    assert loaded.settings.kafka.bootstrap_servers.startswith("127.0.0.1:")
    assert loaded.settings.metrics.host == "127.0.0.1"


def test_the_environment_goes_over_its_file_and_both_over_toml(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("redis://from-file:1\n")
    environment = _toml(
        tmp_path, 'app = "toml"\nclock = "records"\n[redis]\nurl = "redis://from-toml:1"\n[batch]\nrecords_max = 7\n'
    )
    loaded = load(environment | {"RESCORE_APP": "env", "RESCORE_REDIS__URL_FILE": str(secret)})
    assert (loaded.settings.app, loaded.settings.clock, loaded.settings.batch.records_max) == ("env", "records", 7)
    assert loaded.settings.redis.url.get_secret_value() == "redis://from-file:1"
    assert loaded.origins["app"] == "RESCORE_APP"
    assert loaded.origins["redis.url"] == "file named by RESCORE_REDIS__URL_FILE"
    assert loaded.origins["clock"] == environment["RESCORE_CONFIG"]
    direct = load(environment | {"RESCORE_REDIS__URL_FILE": str(secret), "RESCORE_REDIS__URL": "redis://direct:1"})
    assert direct.settings.redis.url.get_secret_value() == "redis://direct:1"


def test_rescore_toml_of_the_working_directory_is_read_where_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "rescore.toml").write_text("partitions = 3\n")
    assert load({}).settings.partitions == 3


def test_any_key_of_librdkafka_passes_through_from_both_sides(tmp_path: Path) -> None:
    environment = _toml(tmp_path, '[kafka.librdkafka]\n"ssl.ca.location" = "/ca.pem"\nsecurity.protocol = "SSL"\n')
    loaded = load(environment | {"RESCORE_KAFKA__LIBRDKAFKA__SECURITY_PROTOCOL": "SASL_SSL"})
    assert loaded.settings.kafka.librdkafka == {"ssl.ca.location": "/ca.pem", "security.protocol": "SASL_SSL"}
    assert loaded.origins["kafka.librdkafka.security.protocol"] == "RESCORE_KAFKA__LIBRDKAFKA__SECURITY_PROTOCOL"


@pytest.mark.parametrize(
    "environment, says",
    [
        ({"RESCORE_CLOK": "wall"}, "RESCORE_CLOK: there is no setting 'clok' (did you mean 'clock'?)"),
        ({"RESCORE_KAFKA__BOOTSTRAP": "x"}, "did you mean 'kafka.bootstrap_servers'?"),
        ({"RESCORE_CLOCK": "moon"}, "clock: Input should be 'wall' or 'records' (from RESCORE_CLOCK)"),
        ({"RESCORE_BATCH__USERS_MAX": "5000"}, "less than or equal to 1000"),
        ({"RESCORE_KAFKA__LIBRDKAFKA__ACKS": "1"}, "exactly-once needs all"),
        ({"RESCORE_POLICY__TIME_ZONE": "Europe/Prag"}, "did you mean 'Europe/Prague'?"),
        ({"RESCORE_REDIS__URL": "localhost:6379"}, "must begin with redis://"),
        ({"RESCORE_REDIS__URL_FILE": "/nowhere"}, "RESCORE_REDIS__URL_FILE names /nowhere, which cannot be read"),
        ({"RESCORE_CONFIG": "/nowhere.toml"}, "there is no settings file /nowhere.toml"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_with_what_to_do(environment: dict[str, str], says: str) -> None:
    with pytest.raises(RefusedSettings) as refused:
        load(environment)
    assert says in refused.value.what
    assert refused.value.remedy


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(RefusedSettings) as refused:
        load({"RESCORE_CLOCK": "moon", "RESCORE_PARTITIONS": "0"})
    assert "clock" in refused.value.what
    assert "partitions" in refused.value.what


def test_a_refusal_does_not_repeat_a_secret() -> None:
    with pytest.raises(RefusedSettings) as refused:
        load({"RESCORE_REDIS__URL": "http://user:pa55@host"})
    assert "pa55" not in str(refused.value)


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    loaded = load(
        {
            "RESCORE_REDIS__URL": "redis://user:pa55@host:6379/1",
            "RESCORE_REGISTRY__PASSWORD": "pa55",
            "RESCORE_REGISTRY__URL": "http://user:pa55@registry",
            "RESCORE_EXAMPLES_KEY": "pa55",
            "RESCORE_KAFKA__LIBRDKAFKA__SASL_PASSWORD": "pa55",
            "RESCORE_KAFKA__LIBRDKAFKA__SSL_KEY_PEM": "pa55",
            "RESCORE_KAFKA__LIBRDKAFKA__SASL_USERNAME": "seen",
        }
    )
    shown = {one.name: one.value for one in loaded.listed()}
    assert shown["redis.url"] == f"redis://user:{MASK}@host:6379/1"
    assert shown["kafka.librdkafka.sasl.username"] == "seen"
    assert "pa55" not in repr(loaded.listed())
    assert "pa55" not in repr(loaded.settings.redis) + repr(loaded.settings.registry.password)


def test_every_setting_says_what_it_is() -> None:
    undescribed = [one.name for one in load({}).listed() if not one.description]
    assert undescribed == []


def test_the_environment_is_never_read_behind_the_callers_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "RESCORE_APP", "sneaky")
    assert load({}).settings.app == "rescore"
