"""The manifests of docker/kubernetes, as kustomize builds them."""

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocation_worker.config import Settings

pytestmark = pytest.mark.manifests

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
VALIDATOR = ROOT / ".manifests" / "bin" / "python"
KUBERNETES = ("1.31", "1.37")
"""The oldest and the newest version whose schemas they are checked against."""

Manifest = dict[str, Any]


@cache
def built(kustomization: str) -> str:
    command = ["kubectl", "kustomize", str(kustomization)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def manifests(kustomization: str) -> list[Manifest]:
    return list(yaml.safe_load_all(built(kustomization)))


def faults(text: str) -> list[str]:
    command = [str(VALIDATOR), str(Path(__file__).with_name("validate.py")), *KUBERNETES]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


BASE = str(DOCKER / "kubernetes" / "base")
OPERATORS = str(DOCKER / "kubernetes" / "operators")


@pytest.fixture(scope="module")
def with_read_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An overlay as a company would write one."""
    folder = tmp_path_factory.mktemp("overlay")
    up = "/".join([".."] * len(folder.parts[1:]))
    kubernetes = f"{up}{DOCKER}/kubernetes"
    overlay = {
        "resources": [f"{kubernetes}/base"],
        "components": [f"{kubernetes}/read-model", f"{kubernetes}/keda"],
        "images": [{"name": "allocation-worker", "newName": "registry.example/allocation-worker", "newTag": "0.2.0"}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return str(folder)


@pytest.fixture(params=["base", "operators", "with read model"])
def every(request: pytest.FixtureRequest, with_read_model: str) -> str:
    return {"base": BASE, "operators": OPERATORS}.get(request.param, with_read_model)


def pods(kustomization: str) -> Iterator[tuple[str, Manifest]]:
    for each in manifests(kustomization):
        if each["kind"] in ("Deployment", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def deployments(kustomization: str) -> list[Manifest]:
    return [each for each in manifests(kustomization) if each["kind"] == "Deployment"]


def test_all_fit_the_schemas_of_their_kinds(every: str) -> None:
    assert faults(built(every)) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("readOnlyRootFilesystem:", "readOnlyRoot:"),
        ("periodSeconds: 10", "periodSeconds: often"),
        ("maxReplicaCount:", "maxReplicas:"),
        ("disableNonTLSListeners:", "disableNonTlsListeners:"),
        ("passwordSecret:", "passwordsecret:"),
    ],
)
def test_a_mistake_does_not_fit(right: str, wrong: str) -> None:
    text = built(OPERATORS)
    assert right in text
    assert faults(text.replace(right, wrong)) != []


def test_no_pod_may_do_what_it_does_not_need(every: str) -> None:
    for name, pod in pods(every):
        assert pod["automountServiceAccountToken"] is False, name
        security = pod["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, 10001, 10001), name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, (name, container["name"])
            assert container["resources"]["limits"].keys() == {"memory"}, (name, container["name"])


def test_the_user_is_that_of_the_image() -> None:
    assert "USER 10001:10001" in (DOCKER / "Dockerfile").read_text()


def test_probes_ask_health_and_a_server_that_is_away_restarts_nothing(every: str) -> None:
    for each in deployments(every):
        [container] = each["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["exec"]["command"] == ["allocation-worker", "health"]
        assert container["readinessProbe"]["exec"]["command"] == ["allocation-worker", "health", "--ready"]
        assert "tmp" in [mount["name"] for mount in container["volumeMounts"]]


def test_a_stop_may_take_longer_than_what_it_waits_for(every: str) -> None:
    needed = Settings.model_fields["shutdown_timeout"].default + 15
    for each in deployments(every):
        assert each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > needed


def test_one_relay_stands_by_and_maintenance_leaves_one(every: str) -> None:
    found = {each["metadata"]["name"]: each for each in manifests(every) if each["kind"] == "PodDisruptionBudget"}
    for each in deployments(every):
        budget = found[each["metadata"]["name"]]["spec"]
        assert budget["minAvailable"] == 1
        assert budget["selector"]["matchLabels"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
    [relay] = [each for each in deployments(every) if each["metadata"]["name"] == "allocation-relay"]
    assert relay["spec"]["replicas"] == 2


def test_the_network_policy_takes_all_our_pods_in(every: str) -> None:
    [policy] = [each for each in manifests(every) if each["kind"] == "NetworkPolicy"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]
    [expression] = policy["spec"]["podSelector"]["matchExpressions"]
    assert {name for name, _ in pods(every)} <= set(expression["values"])


def test_each_secret_and_config_map_that_is_used_is_named_in_the_guide_or_made_here(every: str) -> None:
    guide = (ROOT / "docs" / "howto" / "kubernetes.md").read_text("utf-8")
    made = {each["metadata"]["name"] for each in manifests(every) if each["kind"] == "ConfigMap"}
    users = {f"{each['metadata']['name']}-user-credentials" for each in manifests(every) if each["kind"] == "User"}
    authority = {f"{each['metadata']['name']}-ca" for each in manifests(every) if each["kind"] == "Cluster"}
    for name in set(referred(manifests(every))) - made - users - authority:
        assert f"`{name}`" in guide, name


def referred(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from referred(each)
    elif isinstance(value, dict):
        for field, inner in value.items():
            if field in ("secretName", "caSecretName"):
                yield inner
            elif field in ("secretKeyRef", "configMap", "passwordSecret"):
                yield inner["name"]
            elif field in ("secretTargetRef", "configMapTargetRef"):
                yield from (each["name"] for each in inner)
            else:
                yield from referred(inner)


def test_the_broker_gives_each_user_what_the_file_of_permissions_says() -> None:
    rules = json.loads((DOCKER / "permissions.json").read_text())["permissions"]
    topics = json.loads((DOCKER / "topic-permissions.json").read_text())["topic_permissions"]
    for kind, listed in (("Permission", rules), ("TopicPermission", topics)):
        expected = {rule["user"]: {k: v for k, v in rule.items() if k not in ("user", "vhost")} for rule in listed}
        found = {
            each["spec"]["userReference"]["name"]: each["spec"]["permissions"]
            for each in manifests(OPERATORS)
            if each["kind"] == kind
        }
        assert found
        assert found.items() <= expected.items()
    assert {each["metadata"]["name"] for each in manifests(OPERATORS) if each["kind"] == "User"} == {
        each["metadata"]["name"] for each in manifests(OPERATORS) if each["kind"] == "Permission"
    }


def test_the_broker_has_the_limits_of_the_file_of_limits() -> None:
    def settings(text: str) -> list[str]:
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    [broker] = [each for each in manifests(OPERATORS) if each["kind"] == "RabbitmqCluster"]
    limits = (DOCKER / "rabbitmq-limits.conf").read_text()
    assert settings(broker["spec"]["rabbitmq"]["additionalConfig"]) == settings(limits)
    assert broker["spec"]["tls"]["disableNonTLSListeners"] is True


def test_the_database_has_the_roles_that_the_grants_are_for() -> None:
    [database] = [each for each in manifests(OPERATORS) if each["kind"] == "Cluster"]
    roles = {role["name"]: role for role in database["spec"]["managed"]["roles"]}
    granted = (DOCKER / "sql" / "roles.sql").read_text()
    for group in ("allocation_consume", "allocation_relay", "allocation_project", "allocation_reader"):
        assert group in granted
        assert roles[group]["login"] is False
    assert all(f"allocation_{name}" in roles[f"shop_{name}"]["inRoles"] for name in ("consume", "relay", "reader"))
    assert database["spec"]["postgresql"]["synchronous"]["dataDurability"] == "required"


def test_addresses_are_encrypted_and_checked() -> None:
    addresses = [
        variable["value"]
        for _, pod in pods(OPERATORS)
        for container in containers(pod)
        for variable in container.get("env", [])
        if variable["name"].endswith("_URL")
    ]
    assert len(addresses) == 6
    for address in addresses:
        assert address.startswith("amqps://") or "sslmode=verify-full" in address
        assert "ca.crt" in address


def test_the_number_of_consumers_is_kedas_where_there_is_keda(with_read_model: str) -> None:
    for kustomization in (OPERATORS, with_read_model):
        [consume] = [each for each in deployments(kustomization) if each["metadata"]["name"] == "allocation-consume"]
        assert "replicas" not in consume["spec"]
        [scaled] = [each for each in manifests(kustomization) if each["kind"] == "ScaledObject"]
        queues = {trigger["metadata"]["queueName"] for trigger in scaled["spec"]["triggers"]}
        assert queues == {"allocation.orders", "allocation.stock"}
