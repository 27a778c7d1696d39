"""Checks manifests against the schemas of their kinds; it runs in an environment of its own, .manifests.

    python validate.py VERSION... < manifests.yaml

Kinds of Kubernetes: the API's own schemas, for each of the versions, unknown fields refused (kubernetes-validate).
Kinds of KEDA: the models that cloudcoil generated from its CRDs; a field that they don't know is a fault.
Kinds of RabbitMQ's operators and of CloudNativePG: `shapes.yaml`, which is ours.
"""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from cloudcoil.models.keda import v1alpha1 as keda

Manifest = dict[str, Any]

SHAPES = yaml.safe_load((Path(__file__).parent / "shapes.yaml").read_text())
WORDS = {"text": str, "number": int, "flag": bool}


def main(versions: list[str]) -> int:
    faults = [fault for each in yaml.safe_load_all(sys.stdin) for fault in faults_of(each, versions)]
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


def faults_of(manifest: Manifest, versions: list[str]) -> Iterator[str]:
    kind, group = manifest["kind"], manifest["apiVersion"].partition("/")[0]
    name = f"{kind} {manifest['metadata']['name']}"
    if group == "keda.sh":
        yield from (f"{name}: {fault}" for fault in _of_model(getattr(keda, kind), manifest))
    elif group in ("rabbitmq.com", "postgresql.cnpg.io"):
        if kind not in SHAPES:
            yield f"{name}: shapes.yaml does not know this kind"
        else:
            shape = {"apiVersion": "text", "kind": "text", "metadata": "anything", "spec": SHAPES[kind]}
            yield from (f"{name}: {fault}" for fault in _of_shape(shape, manifest, ""))
    else:
        for version in versions:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                yield f"{name}: {version}: {getattr(error, 'message', error)}"


def _of_model(model: Any, manifest: Manifest) -> Iterator[str]:
    try:
        read = model.model_validate(manifest).model_dump(by_alias=True, exclude_unset=True, mode="json")
    except ValueError as error:
        yield str(error)
        return
    yield from _lost(manifest["spec"], read["spec"], "spec")


def _lost(given: Any, read: Any, path: str) -> Iterator[str]:
    if isinstance(given, dict):
        for field, value in given.items():
            if field in read:
                yield from _lost(value, read[field], f"{path}.{field}")
            else:
                yield f"{path}.{field} is unknown"
    elif isinstance(given, list):
        for number, (each, again) in enumerate(zip(given, read, strict=True)):
            yield from _lost(each, again, f"{path}[{number}]")


def _of_shape(shape: Any, value: Any, path: str) -> Iterator[str]:
    """A mapping has these fields and no others, a list holds things of one shape; `!` marks what must be there."""
    if isinstance(shape, dict):
        yield from _of_fields(shape, value, path) if isinstance(value, dict) else [f"{path} is no mapping"]
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for number, each in enumerate(value):
            yield from _of_shape(shape[0], each, f"{path}[{number}]")
    elif shape in WORDS:
        if type(value) is not WORDS[shape]:
            yield f"{path} is not a {shape}"
    elif shape != "anything" and value not in shape.split("|"):
        yield f"{path} is none of {shape}"


def _of_fields(shape: Manifest, value: Manifest, path: str) -> Iterator[str]:
    known = {field.removesuffix("!"): inner for field, inner in shape.items()}
    yield from (f"{path}.{field} is missing" for field in known if f"{field}!" in shape and field not in value)
    for field, inner in value.items():
        if field in known:
            yield from _of_shape(known[field], inner, f"{path}.{field}")
        else:
            yield f"{path}.{field} is unknown"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
