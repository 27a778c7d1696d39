"""The base of commands and events: a frozen, strict model with a type and a routing key."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from allocation_contracts.errors import ContractError, show
from allocation_contracts.fields import Rule


class Message(BaseModel):
    """The body of a message.

    It is frozen, never coerces (`"1"`, `1.0` and `true` are no integers) and ignores unknown fields.

    Attributes:
        TYPE: The AMQP property `type`, such as `allocate.v1`.
        ROUTING_KEY: The type without its version, such as `allocate`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    TYPE: ClassVar[str]
    ROUTING_KEY: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.ROUTING_KEY = cls.TYPE.rpartition(".v")[0]


M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """Return a message as it is sent.

    Returns:
        Compact UTF-8 JSON, its fields in the order declared: the same message gives the same bytes.
    """
    return message.__pydantic_serializer__.to_json(message)


def model_of(type_: str | None, models: Mapping[str, type[M]]) -> type[M]:
    """Return the model for the property `type`.

    Raises:
        ContractError: `missing-type` for None or "", `unknown-type` for a type that is not in `models`.
    """
    if not type_:
        raise missing_type(models)
    model = models.get(type_)
    if model is None:
        raise ContractError("unknown-type", f"The type {show(type_)} is unknown; send one of {', '.join(models)}.")
    return model


def missing_type(models: Collection[str]) -> ContractError:
    """Return the error that names the types that are known."""
    return ContractError("missing-type", f"The property type is missing; send one of {', '.join(models)}.")


def validate(model: type[M], data: dict[str, Any]) -> M:
    """Return the message in a JSON object.

    Raises:
        ContractError: `invalid-body`, naming the first field that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ContractError("invalid-body", _sentence(model, error)) from error


def _sentence(model: type[Message], error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0])
    words = next(rule.words for rule in model.model_fields[name].metadata if isinstance(rule, Rule))
    if first["type"] == "missing":
        return f'"{name}" is missing in {model.TYPE}; it must be {words}.'
    return f'"{name}" in {model.TYPE} must be {words}, got {show(first["input"])}.'
