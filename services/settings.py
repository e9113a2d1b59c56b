"""What an operator may set: by argument, environment variable or TOML file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from services.database_url import is_readable

ENV_PREFIX = "BANDIT_"
CONFIG_VARIABLE = "BANDIT_CONFIG"
DEFAULT_FILE = Path("bandit-router.toml")
MASK = "********"


class BadSettings(Exception):
    """A setting that cannot be used; the message names its key, what is allowed and its source."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """
    One setting as it is in force.

    value   as text, secrets masked
    source  "argument", the environment variable's name, the file's path, or "default"
    """

    key: str
    value: str
    source: str


def _setting(default: object, allowed: str, **limits: Any) -> Any:
    """A field with the words that tell an operator what it takes."""
    return Field(default=default, description=allowed, **limits)


class Settings(BaseSettings):
    """
    Every setting of every process; the description of a field says what is allowed.

    An explicit argument wins over the environment (`BANDIT_PORT`), that over the TOML file
    (`port = 50051`; its path is `BANDIT_CONFIG`, else `bandit-router.toml` if there is one), and
    that over the default.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    database_url: SecretStr | None = _setting(
        None,
        "a postgresql:// URL, percent-encoded; absent: `up` starts a Postgres of its own",
    )
    host: str = _setting(
        "127.0.0.1", "an address to listen on, or unix:PATH of a socket", min_length=1
    )
    port: int = _setting(50051, "from 0 to 65535; 0: any free port", ge=0, le=65535)
    tls_certificate: Path | None = _setting(
        None, "a PEM file with the service's certificate and its chain; absent: no TLS"
    )
    tls_key: Path | None = _setting(None, "a PEM file with the key of tls_certificate")
    tls_client_ca: Path | None = _setting(
        None, "a PEM file of the authorities that callers' certificates are signed by"
    )
    allow_plaintext: bool = _setting(
        False, "true or false: whether others than this machine may call without TLS"
    )
    workers: int = _setting(1, "from 1 to 256 router processes", ge=1, le=256)
    data_dir: Path | None = _setting(
        None, "a folder for the Postgres that `up` starts; absent: a temporary one"
    )
    poll_interval_ms: int = _setting(500, "from 10 to 60000", ge=10, le=60_000)
    learner_interval_ms: int = _setting(50, "from 1 to 60000", ge=1, le=60_000)
    snapshot_interval_minutes: int = _setting(60, "from 1 to 10080", ge=1, le=10_080)
    max_message_bytes: int = _setting(
        4 * 1024 * 1024, "from 65536 to 268435456", ge=65_536, le=268_435_456
    )
    max_batch: int = _setting(1024, "from 1 to 65536", ge=1, le=65_536)
    max_calls: int = _setting(2000, "from 1 to 1000000", ge=1, le=1_000_000)
    max_connection_age_s: int | None = _setting(
        None,
        "from 1 to 604800 seconds after which a connection takes no new calls; absent: never",
        ge=1,
        le=604_800,
    )
    max_streams: int = _setting(
        200, "from 1 to 100000 streams at once of one key", ge=1, le=100_000
    )
    commit_wait_ms: int = _setting(250, "from 10 to 60000", ge=10, le=60_000)
    offline_buffer: int = _setting(100_000, "from 1 to 10000000", ge=1, le=10_000_000)
    offline_buffer_mib: int = _setting(512, "from 16 to 1048576", ge=16, le=1_048_576)
    log_format: Literal["console", "json"] = _setting("console", "console or json")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "debug, info, warning or error"
    )
    metrics_port: int | None = _setting(
        None,
        "from 0 to 65535, for Prometheus; 0: any free port; absent: no metrics are told",
        ge=0,
        le=65535,
    )
    metrics_host: str = _setting("127.0.0.1", "an address to tell metrics at", min_length=1)
    otlp_endpoint: str | None = _setting(
        None,
        "the http:// or https:// URL of a collector of traces, OTLP over gRPC, without a password;"
        " absent: no traces",
        pattern=r"^https?://[^@]+$",
    )
    retention_days: int | None = _setting(
        None,
        "from 7 to 36500 days that decisions and outcomes are kept; absent: for ever",
        ge=7,
        le=36_500,
    )
    grace_s: float = _setting(5.0, "from 0 to 600 seconds", ge=0, le=600, allow_inf_nan=False)

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not is_readable(url.get_secret_value()):
            raise ValueError("not a postgresql:// URL")
        return url

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        file = TomlConfigSettingsSource(settings_cls, toml_file=_config_file())
        return init_settings, env_settings, file

    @classmethod
    def load(cls, **explicit: object) -> Self:
        """The settings in force; an argument of None counts as not given.  Raises BadSettings."""
        given = {key: value for key, value in explicit.items() if value is not None}
        origins = _origins(given)
        try:
            return cls(**cast("dict[str, Any]", given))
        except ValidationError as error:
            raise _bad_settings(error, origins) from None

    @classmethod
    def effective(cls, **explicit: object) -> list[EffectiveSetting]:
        """Every setting in force with where it came from.  Raises BadSettings."""
        given = {key: value for key, value in explicit.items() if value is not None}
        settings = cls.load(**given)
        origins = _origins(given)
        return [
            EffectiveSetting(key, _shown(getattr(settings, key)), origins.get(key, "default"))
            for key in cls.model_fields
        ]

    @property
    def database_dsn(self) -> str:
        """The database's URL, secrets and all.  Raises BadSettings where none is set."""
        if self.database_url is None:
            raise BadSettings(
                "database_url",
                f"database_url: must be set, for example by {ENV_PREFIX}DATABASE_URL",
            )
        return self.database_url.get_secret_value()


def _config_file() -> Path | None:
    """The TOML file to read, if any."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise BadSettings(CONFIG_VARIABLE, f"{CONFIG_VARIABLE}: there is no file {named}")
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _origins(explicit: Mapping[str, object]) -> dict[str, str]:
    """Where each key that is set anywhere takes its value from."""
    file = _config_file()
    origins: dict[str, str] = {}
    try:
        in_file = TomlConfigSettingsSource(Settings, toml_file=file)() if file is not None else {}
    except ValueError as error:  # the parser's error, for its syntax or its encoding
        raise BadSettings(str(file), f"{file}: is not a TOML file: {error}") from None
    origins |= dict.fromkeys(in_file, str(file))
    origins |= {key: f"{ENV_PREFIX}{key.upper()}" for key in EnvSettingsSource(Settings)()}
    origins |= dict.fromkeys(explicit, "argument")
    return origins


def _bad_settings(error: ValidationError, origins: Mapping[str, str]) -> BadSettings:
    problem = error.errors()[0]
    key = str(problem["loc"][0])
    origin = origins.get(key, "default")
    field = Settings.model_fields.get(key)
    if field is None:
        known = ", ".join(sorted(Settings.model_fields))
        return BadSettings(key, f"{key} (from {origin}): is no setting; they are {known}")
    # The value of a secret is told to nobody, and a URL may hold a password.
    got = "" if key in ("database_url", "otlp_endpoint") else f", not {problem['input']!r}"
    return BadSettings(key, f"{key} (from {origin}): must be {field.description}{got}")


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return MASK
    return "" if value is None else str(value)
