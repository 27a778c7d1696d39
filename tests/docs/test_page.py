"""The AsyncAPI document is valid by the specification's parser, and a reader finds each message on its page."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from allocation_contracts import COMMANDS, EVENTS, Command, Event
from tools.asyncapi import document

pytestmark = pytest.mark.docs

CONTRACTS = Path(__file__).parents[2] / "contracts"
MODELS: list[type[Command | Event]] = [*COMMANDS.values(), *EVENTS.values()]


def node(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", CONTRACTS / "docs" / script, *arguments], capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "new" / "index.html"
    done = node("build.mjs", CONTRACTS / "asyncapi.yaml", file)
    assert done.returncode == 0, done.stderr
    return file


@pytest.fixture(scope="module")
def seen(page: Path) -> dict[str, Any]:
    """What a reader sees in Chromium, who goes from the contents to each message and unfolds it."""
    done = node("look.mjs", page, page.with_name("picture.png"))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_parser_finds_nothing_to_say_about_the_document() -> None:
    done = node("validate.mjs", CONTRACTS / "asyncapi.yaml")
    assert json.loads(done.stdout) == {"diagnostics": [], "messages": [model.TYPE for model in MODELS]}
    assert done.returncode == 0, done.stderr


def test_the_parser_refuses_what_is_not_asyncapi(tmp_path: Path) -> None:
    broken = document()
    broken["channels"]["allocate"]["bindings"]["amqp"]["is"] = "pigeon"
    (tmp_path / "broken.yaml").write_text(json.dumps(broken))
    assert node("validate.mjs", tmp_path / "broken.yaml").returncode == 1
    done = node("build.mjs", tmp_path / "broken.yaml", tmp_path / "page.html")
    assert done.returncode == 1
    assert "is not valid AsyncAPI" in done.stderr
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("model", MODELS)
def test_a_reader_finds_each_message_from_the_contents(seen: dict[str, Any], model: type[Command | Event]) -> None:
    words = seen["found"][model.TYPE].splitlines()
    assert (model.__doc__ or "").partition("\n")[0] in words
    for name, field in model.model_fields.items():
        assert name in words
        assert (field.description or "").replace("`", "") in words  # the page shows code in another font


def test_a_reader_learns_where_each_message_goes(seen: dict[str, Any]) -> None:
    lines = seen["text"].splitlines()
    for model in MODELS:
        exchange = "allocation.commands" if model.TYPE in COMMANDS else "allocation.events"
        assert f"The routing key {model.ROUTING_KEY} of the exchange {exchange}." in lines


def test_no_request_leaves_the_machine_and_nothing_fails(seen: dict[str, Any], page: Path) -> None:
    assert seen["requests"] == [page.as_uri()]
    assert seen["errors"] == []


def test_nothing_on_the_page_leads_away_from_it(seen: dict[str, Any], page: Path) -> None:
    assert {address.partition("#")[0] for address in seen["addresses"]} == {page.as_uri(), "data:,"}


def test_the_page_can_be_read_without_scripts(page: Path) -> None:
    rendered = page.read_text("utf-8").partition("<script>")[0]
    for model in MODELS:
        assert f'id="message-{model.TYPE}"' in rendered
