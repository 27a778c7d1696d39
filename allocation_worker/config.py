"""The settings: read here, from the environment and from files that it names, and nowhere else."""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from allocation_contracts import AllocationError
from allocation_contracts.amqp.urls import split
from allocation_worker.service_layer.retries import RetryPolicy

PREFIX = "ALLOCATION_"
# Not settings of the worker: they belong to the test kit.
TEST_KIT = frozenset({"ALLOCATION_TEST_SERVERS", "ALLOCATION_SERVERS_FOLDER"})

_FILE = "_FILE"
_FOLDER = "secrets_folder"

# Kubernetes sets these in each container for a Service whose name begins with "allocation".
_OF_KUBERNETES = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)"
)


class SettingsError(AllocationError):
    """Settings are missing, wrong or unknown. Its text has one sentence for each: which, why and what to do."""


class Settings(BaseSettings):
    """What an operator may set, each as ALLOCATION_<NAME>. Times are in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    amqp_url: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("amqp://guest:guest@localhost:5672/%2F",),
        description="The broker; several nodes of a cluster separated by commas.",
    )
    database_url: str = Field(
        default="postgresql://postgres@localhost:5432/allocation", description="The PostgreSQL database."
    )
    redis_url: str = Field(
        default="redis://localhost:6379/0", description="The Redis of the read model; only its own verbs need it."
    )
    management_url: str | None = Field(
        default=None,
        description="The broker's management API, such as `http://user:password@host:15672`; `topology` and `status` "
        "use it for what AMQP cannot show or set: bindings, policies, and what consumers hold.",
    )
    group_limit: int = Field(default=1000, ge=1, le=5000, description="The most messages that share a transaction.")
    prefetch: int = Field(
        default=2000,
        ge=1,
        le=65535,
        description="The most messages delivered and not yet acknowledged, per queue; at most 64 stock commands.",
    )
    retry_delays: Annotated[tuple[int, ...], NoDecode] = Field(
        default=(1, 5, 30),
        description="The pauses before a message that failed unexpectedly is tried again; a change needs `topology`.",
    )
    grace_attempts: int = Field(
        default=3,
        ge=0,
        le=100,
        description="How often an unknown SKU or line, or the arrival of a batch, is looked for again.",
    )
    grace_delay: int = Field(
        default=1, ge=1, le=3600, description="The pause before each of these; a change needs `topology`."
    )
    relay_window: int = Field(default=1000, ge=1, le=20000, description="The most events published, not yet confirmed.")
    relay_poll: float = Field(default=1.0, gt=0, le=60, description="How often the outbox is looked at, unwoken.")
    relay_lease: int = Field(
        default=30, ge=1, le=3600, description="How long the active relay may be silent before another takes over."
    )
    blocked_timeout: int = Field(
        default=300, ge=1, description="How long an alarm of the broker may block a publisher before it reconnects."
    )
    statement_timeout: int = Field(default=30, ge=1, le=3600, description="The longest that one statement may take.")
    lock_timeout: int = Field(default=5, ge=1, le=3600, description="The longest wait for a locked row.")
    history_days: int = Field(default=30, ge=1, description="How many days published events are kept.")
    inbox_days: int = Field(default=7, ge=1, description="How many days a repeated message_id is recognised.")
    lines_days: int = Field(
        default=0,
        ge=0,
        description="How many days a line is kept after it was shipped or cancelled, and a batch of which nothing is "
        "left; 0: for ever. Not fewer than the two settings before.",
    )
    hold_limit: int = Field(
        default=86_400, ge=1, le=86_400, description="The longest that stock is held for a line that was not ordered."
    )
    shutdown_timeout: int = Field(default=30, ge=1, le=600, description="How long SIGTERM waits for the last group.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="debug to error.")
    secrets_folder: Path | None = Field(
        default=None,
        description="A folder of files named like settings, such as `allocation_database_url`, that hold them.",
    )
    metrics_folder: Path | None = Field(
        default=None,
        description="A folder for text files with metrics, such as that of node exporter's textfile collector.",
    )
    metrics_interval: int = Field(
        default=15,
        ge=1,
        le=60,
        description="How often these files are written, and outbox, lines and queues looked at.",
    )
    health_folder: str | None = Field(
        default=None,
        description="Where the processes leave signs of life for `health`; default: `/tmp/allocation-worker-UID`, or "
        "systemd's `RUNTIME_DIRECTORY`. To be set in the environment only.",
    )

    _files: Mapping[str, Path] = PrivateAttr(default_factory=dict)

    @field_validator("amqp_url", mode="before")
    @classmethod
    def _split_urls(cls, value: object) -> object:
        return tuple(split(value)) if isinstance(value, str) else value

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _split_delays(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 86400 for part in parts):  # noqa: PLR2004 - a day
            raise ValueError("it must be whole seconds from 1 to 86400, separated by commas, such as 1,5,30")
        return tuple(map(int, parts))

    @field_validator("lines_days")
    @classmethod
    def _outlive_what_tells_of_lines(cls, value: int, given: ValidationInfo) -> int:
        least, other = max((given.data.get(name, 0), name) for name in ("inbox_days", "history_days"))
        if 0 < value < least:
            raise ValueError(f"it must be 0, or not fewer than {name_of(other)}, which is {least}")
        return value

    def source(self, field: str) -> str:
        """Return where the value of a setting comes from: `default`, `environment`, or the path of a file."""
        if field in self._files:
            return str(self._files[field])
        return "environment" if field in self.model_fields_set else "default"

    def reread(self, field: str) -> Self:
        """Return these settings with one of them as its file holds it now, if it comes from a file.

        Raises:
            SettingsError: The file cannot be read, or its value is wrong.
        """
        if field not in self._files:
            return self
        try:
            fresh = type(self)(**self.model_dump() | {field: _content(field, self._files[field])})
        except ValidationError as error:
            raise SettingsError(" ".join(_wrong(error))) from None
        fresh._files = self._files  # noqa: SLF001 - its own
        return fresh

    @property
    def retry_policy(self) -> RetryPolicy:
        return RetryPolicy(grace_attempts=self.grace_attempts, grace_delay=self.grace_delay, delays=self.retry_delays)


def load(**overrides: Any) -> Settings:  # noqa: ANN401 - pydantic checks them
    """Read the settings; those given here win over the environment, and that wins over the secrets folder.

    Raises:
        SettingsError: Some of them are wrong, or the environment has a name that is no setting; all are told.
    """
    files, faults = _files_given()
    values: dict[str, str] = {}
    for field, path in files.items():
        try:
            values[field] = _content(field, path)
        except SettingsError as error:
            faults.append(str(error))
    try:
        settings = Settings(**values | overrides)
    except ValidationError as error:
        raise SettingsError(" ".join([*faults, *_wrong(error)])) from None
    if faults:
        raise SettingsError(" ".join(faults))
    settings._files = {field: path for field, path in files.items() if field not in overrides}  # noqa: SLF001 - its own
    return settings


def opentelemetry_is_wanted() -> bool:
    """Return whether the environment asks for OpenTelemetry, by the variables that its SDK reads itself."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = [os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip() for signal in ("METRICS", "TRACES")]
    if exporters == ["none", "none"]:
        return False
    endpoints = [f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT" for signal in ("", "METRICS_", "TRACES_")]
    return any(os.environ.get(name) for name in endpoints) or any(name not in {"", "none"} for name in exporters)


def name_of(field: str) -> str:
    """Return the name of a setting in the environment."""
    return PREFIX + field.upper()


def _files_given() -> tuple[dict[str, Path], list[str]]:
    """Return the files that hold settings, by field, and the faults of all names that are given."""
    known = {name_of(field): field for field in Settings.model_fields}
    given = {name.upper(): name for name in sorted(os.environ) if name.upper().startswith(PREFIX)}
    files: dict[str, Path] = {}
    faults = []
    for upper, name in given.items():
        setting = upper.removesuffix(_FILE)
        # pydantic-settings reads names in any case, too.
        if upper in known or upper in TEST_KIT or _OF_KUBERNETES.fullmatch(upper.removeprefix(PREFIX)):
            continue
        if setting not in known or known[setting] == _FOLDER:
            faults.append(_no_setting(name, known))
        elif setting in given:
            faults.append(f"{setting} is given twice: by itself, and by {name}; remove one of them.")
        else:
            files[known[setting]] = Path(os.environ[name])
    if folder := os.environ.get(given.get(name_of(_FOLDER), "")):
        try:
            inside = sorted(path for path in Path(folder).iterdir() if path.name.upper().startswith(PREFIX))
        except OSError as error:
            inside = []
            faults.append(f"{name_of(_FOLDER)} is wrong: the folder {folder} cannot be read: {error.strerror}.")
        for path in inside:
            upper = path.name.upper()
            if upper not in known or known[upper] == _FOLDER:
                faults.append(_no_setting(str(path), known))
            elif upper not in given:
                files.setdefault(known[upper], path)
    return files, faults


def _no_setting(name: str, known: Mapping[str, str]) -> str:
    upper = Path(name).name.upper()
    ending = _FILE if upper.endswith(_FILE) else ""
    meant = get_close_matches(upper.removesuffix(_FILE), known, n=1, cutoff=0.85)
    advice = f"perhaps {meant[0]}{ending} was meant; rename" if meant and meant[0] != name_of(_FOLDER) else "rename"
    return f"{name} is no setting: {advice} it or remove it."


def _content(field: str, path: Path) -> str:
    """Return the text of a file that holds a setting, without white space around it.

    Raises:
        SettingsError: The file cannot be read, or is empty.
    """
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8"
        raise SettingsError(f"{name_of(field)} cannot be read from the file {path}: {why}.") from None
    if not text:
        raise SettingsError(f"{name_of(field)} cannot be read from the file {path}: it is empty.")
    return text


def _wrong(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        words = fault["msg"].removeprefix("Value error, ")
        yield f"{name_of(str(fault['loc'][0]))} is wrong: {words[0].lower()}{words[1:]}."
