"""What the README says is what there is."""

from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

import allocation_contracts as contracts
from allocation_worker.config import PREFIX, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_stands_there_with_its_default_and_its_description(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.default is not PydanticUndefined
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    shown = f"{default:g}" if isinstance(default, float) else default
    assert f"| `{PREFIX}{name.upper()}` | `{shown}` | {field.description} |" in README


@pytest.mark.parametrize("model", [*contracts.COMMANDS.values(), *contracts.EVENTS.values()])
def test_each_message_stands_there_with_its_routing_key_and_its_fields(model: type[contracts.Command]) -> None:
    [row] = [line for line in README.splitlines() if line.startswith(f"| `{model.TYPE}` | `{model.ROUTING_KEY}` |")]
    assert all(f"`{field}`" in row for field in model.model_fields)


def test_each_path_it_names_exists() -> None:
    tree = README.split("## Where things are")[1].split("```")[1]
    for line in tree.splitlines():
        first = line.split()[:1]
        if first and first[0].endswith("/"):
            base = ROOT / "allocation_worker" if line.startswith("  ") else ROOT
            assert (base / first[0]).is_dir(), line
