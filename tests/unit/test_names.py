"""Each class name has one definition."""

import ast
from collections import defaultdict
from pathlib import Path

from allocation_contracts.commands import COMMANDS
from allocation_contracts.events import EVENTS

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "allocation_worker",
    "contracts/allocation_contracts",
    "contracts/tools",
    "bench",
    "chaos",
    "demo",
    "harness",
)

# A message is a class of the contract and a class of the domain: the wire and the rules change apart from each other.
SAME_MESSAGE_ON_THE_WIRE_AND_IN_THE_DOMAIN = {model.__name__ for model in (*COMMANDS.values(), *EVENTS.values())}


def test_no_two_classes_have_one_name() -> None:
    homes = defaultdict(list)
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(file.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    homes[node.name].append(str(file.relative_to(ROOT)))
    shared = {name: files for name, files in homes.items() if len(files) > 1}
    allowed = {
        name: ["allocation_worker/domain", "contracts/allocation_contracts"]
        for name in SAME_MESSAGE_ON_THE_WIRE_AND_IN_THE_DOMAIN
    }
    assert {name: [str(Path(file).parent) for file in files] for name, files in shared.items()} == allowed
