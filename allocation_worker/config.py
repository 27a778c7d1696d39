"""The settings: read here, from the environment, and nowhere else."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from allocation_contracts import AllocationError
from allocation_contracts.amqp.urls import split
from allocation_worker.service_layer.retries import RetryPolicy

PREFIX = "ALLOCATION_"


class SettingsError(AllocationError):
    """A setting is missing or wrong. Its text is one sentence that says which, why and what to do."""


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
    grace_attempts: int = Field(default=3, ge=0, le=100, description="How often an unknown SKU is looked for again.")
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
    shutdown_timeout: int = Field(default=30, ge=1, le=600, description="How long SIGTERM waits for the last group.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="debug to error.")

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

    @property
    def retry_policy(self) -> RetryPolicy:
        return RetryPolicy(grace_attempts=self.grace_attempts, grace_delay=self.grace_delay, delays=self.retry_delays)


def load(**overrides: Any) -> Settings:  # noqa: ANN401 - pydantic checks them
    """Read the settings; those given here win over the environment.

    Raises:
        SettingsError: One of them is wrong.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        words = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name} is wrong: {words[0].lower()}{words[1:]}.") from None
