"""Types that other teams generate from the schemas and asyncapi.yaml have good names, and take what the worker does."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from allocation_contracts import COMMANDS, EVENTS, ContractError, encode, read_command, read_event
from tools.examples import EXAMPLES

pytestmark = pytest.mark.docs

GENERATORS = Path(__file__).parents[2] / "contracts" / "generators"
MODELS = {**COMMANDS, **EVENTS}
LINE = {"orderid": "order-1", "sku": "RED-CHAIR"}
BATCH = {"batchref": "batch-1", "sku": "RED-CHAIR", "qty": 1}
ALLOCATED = {**LINE, "lineid": "", "qty": 1, "batchref": "batch-1", "eta": None, "sequence": 1}
REJECTED = {"command": "allocate.v1", "reason": "unknown-sku", "detail": "No.", "data": {}}

TAKEN: list[tuple[str, dict[str, Any]]] = [
    *((type_, json.loads(encode(message))) for type_, message in EXAMPLES.items()),
    *(
        ("allocate.v1", {**LINE, "qty": 1, **more})
        for more in (
            {},
            {"lineid": None},
            {"lineid": ""},
            {"qty": 2**31 - 1},
            {"colour": "red", "more": {"list": [1, None, {}]}},
            {"sku": "x" * 255, "orderid": "Bestellung 17/ä \N{GRINNING FACE}"},
        )
    ),
    ("deallocate.v1", LINE),
    *(("create-batch.v1", BATCH | more) for more in ({}, {"eta": None}, {"eta": "2028-02-29"}, {"eta": "9999-12-31"})),
    ("change-batch-quantity.v1", {"batchref": "batch-1", "qty": 0}),
    ("allocated.v1", ALLOCATED | {"sequence": 2**53 - 1, "warehouse": {"city": "Łódź"}}),
    ("out-of-stock.v1", {**LINE, "lineid": "1", "qty": 5, "largest_available": 0, "next_eta": None, "sequence": 2}),
    (
        "deallocated.v1",
        {**LINE, "lineid": "", "qty": 0, "batchref": None, "reason": "a-reason-of-tomorrow", "sequence": 3},
    ),
    ("command-rejected.v1", REJECTED | {"data": {"orderid": "order-1", "more": [1, None, {"a": {}}]}}),
]
"""Bodies that the worker takes or writes."""

WRONG_TYPES: list[tuple[str, dict[str, Any]]] = [
    *(
        ("allocate.v1", {**LINE, "qty": 1} | more)
        for more in ({"qty": "1"}, {"qty": None}, {"orderid": None}, {"lineid": 1}, {"sku": ["RED-CHAIR"]})
    ),
    ("allocate.v1", LINE),
    ("create-batch.v1", BATCH | {"eta": 20300131}),
    ("allocated.v1", {name: value for name, value in ALLOCATED.items() if name != "eta"}),
    ("command-rejected.v1", REJECTED | {"data": "text"}),
]
"""Bodies that are refused since a field is missing, or of another type."""

WRONG_VALUES: list[tuple[str, dict[str, Any]]] = [
    *(
        ("allocate.v1", {**LINE, "qty": 1} | more)
        for more in (
            {"qty": 0},
            {"qty": 1.5},
            {"qty": 2**31},
            {"orderid": ""},
            {"orderid": " order-1"},
            {"orderid": "order-1\n"},
            {"orderid": "or\x00der"},
            {"sku": "x" * 256},
            {"lineid": "1\t"},
        )
    ),
    *(
        ("create-batch.v1", BATCH | {"eta": eta})
        for eta in ("2030-02-29", "2030-13-01", "31.01.2030", "2030-01-31T00:00:00Z", "2030-01-31\n", "")
    ),
    ("command-rejected.v1", REJECTED | {"reason": "Not A Slug"}),
]
"""Bodies that are refused since a value is outside what its field may hold."""


def read(type_: str, body: dict[str, Any]) -> None:
    (read_command if type_ in COMMANDS else read_event)(type_, json.dumps(body).encode())


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of what the generators made, compiled."""
    run("npm", "run", "build", "--silent")
    return GENERATORS / "build"


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(
        command, cwd=GENERATORS, input=stdin, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def written(built: Path) -> dict[str, dict[str, Any]]:
    """What each generator's code writes of each body, by the body; None if it refuses it."""
    assert built.is_dir()
    messages = [(type_, json.dumps(body)) for type_, body in [*TAKEN, *WRONG_TYPES, *WRONG_VALUES]]
    stdin = json.dumps([(MODELS[type_].__name__, body) for type_, body in messages])
    verdicts = json.loads(run("node", "feed.mjs", stdin=stdin))
    return {type_ + body: verdict for (type_, body), verdict in zip(messages, verdicts, strict=True)}


def verdict(written: dict[str, dict[str, Any]], type_: str, body: dict[str, Any]) -> dict[str, Any]:
    return written[type_ + json.dumps(body)]


def known(type_: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body as a reader that drops unknown fields, and fills in what was left out, writes it again."""
    model = MODELS[type_]
    defaults = {name: field.default for name, field in model.model_fields.items() if not field.is_required()}
    return defaults | {name: value for name, value in body.items() if name in model.model_fields}


@pytest.mark.parametrize(("type_", "body"), TAKEN)
def test_what_the_worker_takes_is_taken_and_comes_out_unchanged(
    written: dict[str, dict[str, Any]], type_: str, body: dict[str, Any]
) -> None:
    read(type_, body)
    assert verdict(written, type_, body) == {"modelina": body, "quicktype": body, "zod": known(type_, body)}


@pytest.mark.parametrize(("type_", "body"), WRONG_TYPES)
def test_another_type_is_refused_by_all_that_check(
    written: dict[str, dict[str, Any]], type_: str, body: dict[str, Any]
) -> None:
    with pytest.raises(ContractError):
        read(type_, body)
    # What modelina writes for TypeScript checks nothing.
    assert verdict(written, type_, body) == {"modelina": body, "quicktype": None, "zod": None}


@pytest.mark.parametrize(("type_", "body"), WRONG_VALUES)
def test_a_wrong_value_is_refused_by_zod(written: dict[str, dict[str, Any]], type_: str, body: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        read(type_, body)
    assert verdict(written, type_, body)["zod"] is None


@pytest.mark.parametrize(
    ("file", "declaration"),
    [
        ("modelina.ts", "export class {} {{"),
        ("quicktype.ts", "export interface {} {{"),
        ("zod.ts", "export const {} ="),
    ],
)
def test_each_message_is_a_type_of_the_name_that_it_has_in_python(built: Path, file: str, declaration: str) -> None:
    lines = (built / file).read_text("utf-8").splitlines()
    for model in MODELS.values():
        assert sum(line.startswith(declaration.format(model.__name__)) for line in lines) == 1


def test_modelina_has_no_type_beside_those_of_the_messages(built: Path) -> None:
    text = (built / "modelina.ts").read_text("utf-8")
    assert text.count("export ") == len(MODELS)
    assert ": any;" not in text


@pytest.mark.parametrize(
    ("fields", "compiles"),
    [("qty: 3", True), ("qty: 3, lineid: null", True), ('qty: "3"', False), ("quantity: 3", False)],
)
def test_the_types_of_the_contracts_refuse_a_wrong_use(built: Path, fields: str, *, compiles: bool) -> None:
    use = built / "use.ts"
    use.write_text(
        'import type { Commands } from "allocation-contracts";\n'
        f'export const command: Commands["allocate.v1"] = {{ orderid: "order-1", sku: "RED-CHAIR", {fields} }};\n'
    )
    try:
        done = subprocess.run(
            ["npx", "tsc", "--noEmit"], cwd=GENERATORS, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        use.unlink()
    assert (done.returncode == 0) is compiles, done.stdout
