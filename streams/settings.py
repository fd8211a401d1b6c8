"""Settings: what a deployment decides, typed, checked, and each with its origin.

A value comes from the first of: the environment (`RESCORE_...`, `__` nests), a file named by `RESCORE_..._FILE` (for
secrets), `rescore.toml`, the default. Names that do not exist are refused with the nearest one that does, because a
setting that is silently ignored is found on the day it was needed. Nothing here reads the environment by itself: the
composition root passes it in.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from state.errors import RefusedSettings

PREFIX = "RESCORE_"
PATH_OF_TOML = "rescore.toml"
MASK = "********"
NOT_SETTINGS = frozenset({"RESCORE_CONFIG"})
"""Environment names that begin with the prefix and are read before the settings are."""
NOT_SETTINGS_PREFIXES = ("RESCORE_TEST_",)

SECRET_KEY = re.compile(r"password|secret|\.pem$|passphrase|token|sasl\.oauthbearer\.config|sasl\.jaas", re.IGNORECASE)
"""librdkafka's keys whose value must never be shown."""
SECRET_IN_URL = re.compile(r"(?<=://)([^/@\s]*):([^@\s]*)@")


IDS = r"^[A-Za-z0-9_, -]*$"
"""Topic ids as Kafka spells them."""


class Part(BaseModel):
    """A group of settings: immutable, and no name is accepted that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Part):
    """How to reach Kafka, and how records find their partition."""

    bootstrap_servers: str = Field(default="127.0.0.1:9092", min_length=1, description="host:port, comma separated")
    partitioner: Literal["murmur2", "crc32"] = Field(
        default="murmur2", description="how a key finds its partition; murmur2 is the Java client's"
    )
    transaction_timeout_seconds: float = Field(
        default=15.0, gt=0, le=900, description="a dead worker blocks readers this long"
    )
    session_timeout_seconds: float = Field(
        default=6.0, ge=6, le=300, description="a worker that left for good is replaced after"
    )
    librdkafka: dict[str, str] = Field(
        default_factory=dict,
        description="any key of librdkafka, passed through to every client (security.protocol, sasl.*, ssl.* ...)",
    )

    @field_validator("librdkafka", mode="before")
    @classmethod
    def _keys_with_dots(cls, keys: Any) -> Any:
        if not isinstance(keys, dict):
            return keys
        return {key.lower().replace("_", "."): str(value) for key, value in _flat_dots(keys)}

    @field_validator("librdkafka")
    @classmethod
    def _not_ours(cls, keys: dict[str, str]) -> dict[str, str]:
        for key, remedy in OWNED_KEYS.items():
            if key in keys:
                raise ValueError(f"{key} is not yours to set here: {remedy}")
        return keys


OWNED_KEYS: dict[str, str] = {
    "bootstrap.servers": "use kafka.bootstrap_servers",
    "transactional.id": "it is <app>.<slot>; use `app` and `slot`",
    "group.id": "it is `app`",
    "group.instance.id": "it is <app>.<slot>; use `app` and `slot`",
    "isolation.level": "reading uncommitted records would break exactly-once",
    "enable.auto.commit": "offsets are committed in the batch's transaction",
    "partitioner": "use kafka.partitioner",
    "session.timeout.ms": "use kafka.session_timeout_seconds",
    "transaction.timeout.ms": "use kafka.transaction_timeout_seconds",
    "enable.idempotence": "exactly-once needs it on",
    "acks": "exactly-once needs all",
}


class RedisSettings(Part):
    """How to reach Redis or Valkey."""

    url: SecretStr = Field(default=SecretStr("redis://127.0.0.1:6379/0"), description="redis://, rediss:// or unix://")
    connect_timeout_seconds: float = Field(default=2.0, gt=0, description="until a connection stands")
    timeout_seconds: float = Field(default=5.0, gt=0, description="of one call; then the outcome counts as unknown")
    require_append_only: bool = Field(
        default=True,
        description="refuse a server without append-only file; false where a rebuild after each restart is fine",
    )

    @field_validator("url")
    @classmethod
    def _scheme(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url


class RegistrySettings(Part):
    """A schema registry, if there is one. Without it records carry their schema's fingerprint and need none."""

    url: str | None = Field(default=None, description="http(s)://...; absent: Avro single-object encoding")
    username: str | None = Field(default=None, description="of the registry, where it asks for one")
    password: SecretStr | None = Field(
        default=None, description="of the registry; better RESCORE_REGISTRY__PASSWORD_FILE"
    )


class MetricsSettings(Part):
    """Where a worker answers /metrics, /livez and /readyz."""

    host: str = Field(default="127.0.0.1", description="loopback only, unless you open it")
    port: int = Field(default=9464, ge=0, le=65535, description="0: a free port, told at start")


class BatchSettings(Part):
    """Limits of one batch, which is one Kafka transaction."""

    records_max: int = Field(default=10_000, ge=1, le=100_000, description="of all partitions together")
    users_max: int = Field(
        default=1_000, ge=1, le=1_000, description="of a partition; one Redis call holds all of them"
    )
    partitions_max: int | None = Field(
        default=None, ge=1, description="that share a batch while little waits; unset: half of a worker's partitions"
    )
    wait_seconds: float = Field(
        default=0.01, gt=0, le=10, description="a poll waits at most this long for the first record"
    )


class PolicySettings(Part):
    """What the first worker writes into the packaged policy; afterwards the policy on the topic is what counts."""

    base_currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$", description="ISO 4217; amounts are summed in it")
    time_zone: str = Field(
        default="UTC",
        description="IANA name; days begin in it, times without a zone are read in it; fixed for the life of the state",
    )

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"unknown time zone {name!r}{_nearest(name, available_timezones())}")
        return name


class LearningSettings(Part):
    """What the first worker writes into the learning policy, if anything; afterwards the one on the topic counts."""

    epoch_seconds: int = Field(
        default=0, ge=0, le=31 * 86_400, description="models learn when so much time has passed; 0: nothing is learned"
    )
    adopt: Literal["daily", "each_epoch"] = Field(
        default="daily", description="new weights come into force at the turn of the day, or after each epoch"
    )
    examples_min: int = Field(default=200, ge=1, description="before learned weights replace the packaged ones")
    rescore_everyone: bool = Field(
        default=True, description="everyone is scored again then; else each customer at the next event"
    )
    texts_one_in: int = Field(
        default=128, ge=0, description="transactions of which one teaches to read descriptions; 0: none does"
    )


class ChangedTopicsSettings(Part):
    """What a person decided about topics that were created again: ids of the new ones, as the halted partition says."""

    from_beginning: str = Field(
        default="", pattern=IDS, description="topic ids, comma separated: take these inputs from their first record on"
    )
    same_offsets: str = Field(
        default="", pattern=IDS, description="likewise: the same records at the same offsets, as in a moved cluster"
    )

    def ids(self, name: Literal["from_beginning", "same_offsets"]) -> frozenset[str]:
        """The ids of one of the two.

        >>> sorted(ChangedTopicsSettings(same_offsets="a, b").ids("same_offsets"))
        ['a', 'b']
        """
        return frozenset(one.strip() for one in str(getattr(self, name)).split(",") if one.strip())


class LogSettings(Part):
    """What a worker writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="what is worth a line")
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text on a terminal, json elsewhere"
    )


def _none_if_blank(value: Any) -> Any:
    return None if value == "" else value


class Settings(Part):
    """All settings of a Rescore process. `load` is the way to get one."""

    app: str = Field(
        default="rescore",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="name of this deployment: consumer group, transactional ids and Redis keys begin with it",
    )
    clock: Literal["wall", "records"] = Field(
        default="wall",
        description="wall: live topics, the broker stamps records; records: history, the event time is the stamp",
    )
    slot: Annotated[int | None, BeforeValidator(_none_if_blank)] = Field(
        default=None,
        ge=0,
        le=9999,
        description="stable number of this worker; absent: the lowest free one on this machine",
    )
    partitions: int = Field(
        default=6, ge=1, le=10_000, description="of each topic `topics apply` creates; cannot change later"
    )
    replication_factor: int = Field(
        default=-1, ge=-1, description="of each topic `topics apply` creates; -1: the broker's default"
    )
    topic_prefix: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="put before the name of every topic"
    )
    retention_days: int = Field(
        default=-1,
        ge=-1,
        description=(
            "of inputs, dead letters, journal and training examples; -1: for ever, and no erasure can be proven "
            "(400 is recommended)"
        ),
    )
    record_bytes_max: int = Field(
        default=1_000_000, ge=1_000, le=100_000_000, description="a larger input record is a dead letter"
    )
    topic_record_bytes_max: int = Field(
        default=16_000_000,
        ge=1_000,
        le=500_000_000,
        description="of the input topics `topics apply` makes: the broker refuses a larger record to its producer",
    )
    examples_key: SecretStr | None = Field(
        default=None, description="key of the hash that stands for a user in training examples"
    )
    failpoint: str | None = Field(
        default=None, description="for crash tests: die at a step of the protocol, STEP[:NTH[:SIGNAL]]"
    )
    data_folder: Path | None = Field(
        default=None, description="where the embedded Kafka and Valkey keep data; absent: temporary"
    )
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    registry: RegistrySettings = RegistrySettings()
    metrics: MetricsSettings = MetricsSettings()
    batch: BatchSettings = BatchSettings()
    policy: PolicySettings = PolicySettings()
    learning: LearningSettings = LearningSettings()
    changed_topics: ChangedTopicsSettings = ChangedTopicsSettings()
    log: LogSettings = LogSettings()

    @field_validator("retention_days")
    @classmethod
    def _kept_at_all(cls, days: int) -> int:
        if days == 0:
            raise ValueError("0 would delete records before they are taken; -1 keeps them for ever")
        return days

    def topic(self, name: str) -> str:
        """The topic's name in this deployment.

        >>> Settings(topic_prefix="dev.").topic("loans")
        'dev.loans'
        """
        return self.topic_prefix + name


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of `rescore config show`."""

    name: str
    value: str  # masked where it is a secret
    origin: str
    description: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings together with where each came from."""

    settings: Settings
    origins: dict[str, str]

    def listed(self) -> list[Setting]:
        """Every setting in the order of its declaration, secrets masked."""
        return list(_listed(self.settings, (), self.origins))


def load(environment: Mapping[str, str]) -> Loaded:
    """Settings of the environment and a TOML file over the defaults.

    The file is the one that `RESCORE_CONFIG` (`rescore --config`) names, which then must exist, or `rescore.toml` in
    the working directory if it is there. Raises `RefusedSettings` that names every mistake at once
    and what to do about it.

    >>> loaded = load({"RESCORE_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092"})
    >>> loaded.settings.kafka.bootstrap_servers, loaded.origins["kafka.bootstrap_servers"]
    ('kafka:9092', 'RESCORE_KAFKA__BOOTSTRAP_SERVERS')
    """
    named = environment.get("RESCORE_CONFIG", "")
    layers = [*_layers_of_environment(environment), _layer_of_toml(Path(named or PATH_OF_TOML), required=bool(named))]
    mistakes: list[str] = []
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for values in layers:
        for name, (value, origin) in values.items():
            declared = _declared(name)
            if declared is None:
                mistakes.append(f"{origin}: there is no setting {name!r}{_nearest(name, _names())}")
            elif declared not in origins:
                _put(merged, declared.split(".", 2), value)
                origins[declared] = origin
    if mistakes:
        raise RefusedSettings("; ".join(mistakes), "correct or remove them; `rescore config show` lists all names")
    try:
        return Loaded(Settings.model_validate(merged), origins)
    except ValidationError as error:
        raise RefusedSettings(*_explain(error, origins)) from None


Layer = dict[str, tuple[Any, str]]
"""Dotted name -> (value, origin)."""


def _layers_of_environment(environment: Mapping[str, str]) -> list[Layer]:
    """What the environment says itself, and what the files it names say."""
    direct: Layer = {}
    files: Layer = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS or variable.startswith(NOT_SETTINGS_PREFIXES):
            continue
        name = variable.removeprefix(PREFIX).lower().replace("__", ".")
        if name.endswith("_file") and _declared(name) is None:
            files[name.removesuffix("_file")] = (_text_of(environment[variable], variable), f"file named by {variable}")
        else:
            direct[name] = (environment[variable], variable)
    return [direct, files]


def _text_of(path: str, variable: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedSettings(f"{variable} names {path}, which cannot be read: {error}", "correct the path") from None


def _layer_of_toml(path: Path, required: bool) -> Layer:
    if not path.is_file():
        if required:
            raise RefusedSettings(f"there is no settings file {path}", "correct the path or leave it out")
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RefusedSettings(f"{path} is not valid TOML: {error}", "correct that line") from None
    return {name: (value, str(path)) for name, value in _flat_dots(tables)}


def _flat_dots(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", deep) for inner, deep in _flat_dots(value))
        else:
            yield name, value


LIBRDKAFKA = "kafka.librdkafka."


def _declared(name: str) -> str | None:
    """The declared spelling of a dotted name; None where no such setting is declared."""
    if name.startswith(LIBRDKAFKA) and len(name) > len(LIBRDKAFKA):
        return LIBRDKAFKA + name.removeprefix(LIBRDKAFKA).replace("_", ".")
    return name if name in _names() else None


def _names() -> list[str]:
    return [name for name, _ in _declarations(Settings, ())]


def _declarations(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, declaration in model.model_fields.items():
        inner = declaration.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _declarations(inner, (*above, name))
        else:
            yield ".".join((*above, name)), declaration.description or ""


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _explain(error: ValidationError, origins: Mapping[str, str]) -> tuple[str, str]:
    """What is wrong in words, and what to do. Values are not repeated: one of them may be a secret."""
    parts = []
    for mistake in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in mistake["loc"])
        message = mistake["msg"].removeprefix("Value error, ")
        parts.append(f"{name}: {message} (from {origins.get(name, 'the settings given')})")
    return "; ".join(parts), "correct them; `rescore config show` says where each setting comes from"


def _listed(part: BaseModel, above: tuple[str, ...], origins: Mapping[str, str]) -> Iterator[Setting]:
    for name, declaration in type(part).model_fields.items():
        value = getattr(part, name)
        path = (*above, name)
        dotted = ".".join(path)
        if isinstance(value, BaseModel):
            yield from _listed(value, path, origins)
        elif isinstance(value, dict):
            for key, text in sorted(value.items()):
                shown = MASK if SECRET_KEY.search(key) else text
                inner = f"{dotted}.{key}"
                yield Setting(inner, shown, origins.get(inner, "default"), "passed through to librdkafka")
        else:
            yield Setting(dotted, _shown(dotted, value), origins.get(dotted, "default"), _described(declaration))


def _described(declaration: Any) -> str:
    text: str = declaration.description or ""
    choices = get_args(declaration.annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        listed = " | ".join(choices)
        return f"{listed}; {text}" if text else listed
    return text


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, SecretStr):
        # An address is worth seeing; only the password in it is a secret.
        return SECRET_IN_URL.sub(rf"\1:{MASK}@", value.get_secret_value()) if name.endswith(".url") else MASK
    if isinstance(value, bool):
        return str(value).lower()
    return SECRET_IN_URL.sub(rf"\1:{MASK}@", str(value))
