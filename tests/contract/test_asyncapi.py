"""contracts/asyncapi.yaml agrees with the models."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from allocation_contracts import (
    COMMANDS,
    COMMANDS_EXCHANGE,
    EVENTS,
    EVENTS_EXCHANGE,
    Command,
    CommandProperties,
    Event,
    EventProperties,
    read_command_properties,
    read_event_properties,
)
from harness.checker.answers import OUTCOMES
from tests.fakes.messages import FakeProperties
from tools.asyncapi import document, main, text
from tools.examples import EXAMPLES
from tools.schemas import schema_of

FILE = Path(__file__).parents[2] / "contracts" / "asyncapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
MODELS: list[type[Command | Event]] = [*COMMANDS.values(), *EVENTS.values()]


def follow(reference: dict[str, str]) -> Any:
    node: Any = DOCUMENT
    for step in reference["$ref"].removeprefix("#/").split("/"):
        node = node[step]
    return node


def operation_of(model: type[Command | Event]) -> dict[str, Any]:
    [operation] = [each for each in DOCUMENT["operations"].values() if each["title"] == model.TYPE]
    return dict(operation)


def test_the_document_in_the_tree_is_the_models() -> None:
    assert FILE.read_text("utf-8") == text(), "contracts/asyncapi.yaml is not what the models say: run `make schemas`"
    assert document() == DOCUMENT


@pytest.mark.parametrize("model", MODELS)
def test_each_message_has_its_place_on_the_broker(model: type[Command | Event]) -> None:
    operation = operation_of(model)
    channel = follow(operation["channel"])
    assert operation["action"] == ("receive" if model.TYPE in COMMANDS else "send")
    assert channel["address"] == model.ROUTING_KEY
    assert channel["bindings"]["amqp"]["exchange"] == {
        "name": COMMANDS_EXCHANGE if model.TYPE in COMMANDS else EVENTS_EXCHANGE,
        "type": "topic",
        "durable": True,
        "autoDelete": False,
    }
    message = follow(follow(operation["messages"][0]))
    assert message["bindings"]["amqp"]["messageType"] == model.TYPE
    assert message["correlationId"]["location"] == "$message.header#/correlation_id"


@pytest.mark.parametrize("model", COMMANDS.values())
def test_each_command_tells_its_queue_and_its_outcomes(model: type[Command]) -> None:
    description = operation_of(model)["description"]
    assert f"`{model.QUEUE}`" in description
    assert {type_ for type_ in EVENTS if f"`{type_}`" in description} == OUTCOMES[model.TYPE]


@pytest.mark.parametrize("model", MODELS)
def test_each_example_is_valid_by_its_schemas(model: type[Command | Event]) -> None:
    message = DOCUMENT["components"]["messages"][model.TYPE]
    [example] = message["examples"]
    assert model.model_validate_json(json.dumps(example["payload"])) == EXAMPLES[model.TYPE]
    for validator, schema, instance in (
        (Draft7Validator, follow(message["payload"]), example["payload"]),
        (Draft202012Validator, schema_of(model), example["payload"]),
        (Draft7Validator, follow(message["headers"]), example["headers"]),
    ):
        validator.check_schema(schema)
        validator(schema, format_checker=validator.FORMAT_CHECKER).validate(instance)


@pytest.mark.parametrize("model", MODELS)
def test_each_example_has_the_properties_that_the_reader_takes(model: type[Command | Event]) -> None:
    properties = DOCUMENT["components"]["messages"][model.TYPE]["examples"][0]["headers"]
    read: CommandProperties | EventProperties = (
        read_command_properties if model.TYPE in COMMANDS else read_event_properties
    )(
        FakeProperties(
            message_id=properties["message_id"],
            type=properties["type"],
            content_type=properties["content_type"],
            correlation_id=properties["correlation_id"],
            headers=properties,
        )
    )
    assert read.type == model.TYPE


def test_it_writes_the_same_file_every_time(tmp_path: Path) -> None:
    assert main([str(tmp_path / "asyncapi.yaml")]) == 0
    assert (tmp_path / "asyncapi.yaml").read_text("utf-8") == text()


def test_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: " in capsys.readouterr().err
