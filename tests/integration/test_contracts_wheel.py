"""The wheel of the contracts installs alone, with pydantic but without pika or the worker."""

import subprocess
import sys
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CONTRACTS = Path(__file__).parents[2] / "contracts"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=CONTRACTS)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment into which the wheel was installed, beside a copy of pydantic as it is here."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    [site] = environment.glob("lib/python*/site-packages")
    for name in needed("pydantic"):
        copy(name, site)
    interpreter = environment / "bin" / "python"
    # No index: what the wheel requires is there, or it fails.
    run(sys.executable, "-m", "uv", "pip", "install", "--no-index", "--offline", "--python", interpreter, wheel)
    return interpreter


def needed(name: str) -> set[str]:
    """The distribution and all that it requires."""
    wanted = [Requirement(text) for text in requires(name) or []]
    names = {each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})}
    return {name}.union(*(needed(each) for each in names))


def copy(name: str, site: Path) -> None:
    for file in distribution(name).files or []:
        if ".." not in file.parts and file.suffix != ".pyc":
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(str(file.locate())).read_bytes())


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_requires_pydantic_and_offers_pika(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
        names = archive.namelist()
    required = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    assert [Requirement(each).name for each in required] == ["pydantic", "pika"]
    assert "extra" in str(Requirement(required[1]).marker)
    assert "allocation_contracts/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"allocation_contracts"}


def test_it_carries_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        [licence] = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
        assert "License-Expression: MIT" in archive.read(metadata).decode().splitlines()
        assert archive.read(licence) == (CONTRACTS.parent / "LICENSE").read_bytes()


def test_the_generators_and_the_compatibility_check_are_not_in_it(wheel: Path) -> None:
    tools = {file.name for file in (CONTRACTS / "tools").glob("*.py")} - {"__init__.py"}
    with zipfile.ZipFile(wheel) as archive:
        assert tools.isdisjoint(Path(name).name for name in archive.namelist())


def test_a_message_can_be_built_and_read_with_nothing_else_installed(python: Path) -> None:
    program = """
import allocation_contracts as contracts
line = contracts.Allocate(orderid="order-17", sku="RED-CHAIR", qty=3)
properties = contracts.command_properties(line, message_id="order-17/1", app_id="shop")
assert contracts.read_command(properties["type"], contracts.encode(line)) == line
print(contracts.COMMANDS_EXCHANGE, line.ROUTING_KEY, line.QUEUE, contracts.encode(line).decode())
"""
    assert run(python, "-I", "-W", "error", "-c", program) == (
        'allocation.commands allocate allocation.orders {"orderid":"order-17","sku":"RED-CHAIR","qty":3,"lineid":""}\n'
    )


def test_without_pika_the_publisher_says_what_to_install(python: Path) -> None:
    program = """
try:
    import allocation_contracts.amqp
except ImportError as error:
    print(error)
"""
    assert "install allocation-contracts[pika]" in run(python, "-I", "-c", program)


def test_it_carries_the_schemas_the_types_and_the_asyncapi_document_and_no_build_tools(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for folder in ("schemas", "typescript"):
            carried = {Path(name).name: archive.read(name) for name in names if f"/{folder}/" in name}
            assert carried == {file.name: file.read_bytes() for file in (CONTRACTS / folder).iterdir()}
        asyncapi = archive.read("allocation_contracts/asyncapi.yaml")
    assert asyncapi == (CONTRACTS / "asyncapi.yaml").read_bytes()
    assert {Path(name).parts[0] for name in names if ".dist-info" not in name} == {"allocation_contracts"}
