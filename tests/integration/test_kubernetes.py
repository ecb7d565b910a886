"""deploy/kubernetes: what Kubernetes takes, what the proxy takes, and that the two say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from iptables.cli import main as capture
from proxy.__main__ import main as outrider
from tests.support.outrider import ROOT

FOLDER = ROOT / "deploy/kubernetes"
MANIFESTS = ["sidecar.yaml", "native-sidecar.yaml", "traffic-director.yaml"]
ADMIN = 15000


def documents(name: str) -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all((FOLDER / name).read_text())}


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = documents(name)["Deployment"]["spec"]["template"]["spec"]
    return found


def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in (*spec["initContainers"], *spec["containers"])}


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_kubernetes_takes_every_field(name: str, version: str) -> None:
    for document in documents(name).values():
        kubernetes_validate.validate(document, version, strict=True)


def test_the_template_of_istio_is_part_of_a_pod() -> None:
    values = yaml.safe_load((FOLDER / "istio/values.yaml").read_text())
    template = yaml.safe_load(values["sidecarInjectorWebhook"]["templates"]["outrider"])
    kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", **template}, "1.33", strict=True)
    config = yaml.safe_load(template["metadata"]["annotations"]["proxy.istio.io/config"])
    assert config == {"binaryPath": "/opt/outrider/bin/outrider"}
    assert "/opt/outrider" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_bootstrap_is_valid_and_the_probes_ask_its_admin_server(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = documents(name)["ConfigMap"]["data"]["envoy.yaml"]
    (tmp_path / "envoy.yaml").write_text(text)
    proxy = containers(pod(name))["outrider"]
    environment = {"POD_IP": "10.0.0.7", "POD_UID": "0000"}
    arguments = proxy["args"]
    for key, value in environment.items():
        arguments = [argument.replace(f"$({key})", value) for argument in arguments]
    assert [one["name"] for one in proxy.get("env", [])] == (list(environment) if "$(" in str(proxy) else [])
    arguments[arguments.index("-c") + 1] = str(tmp_path / "envoy.yaml")
    assert outrider([*arguments, "--mode", "validate"]) == 0, capsys.readouterr()
    assert yaml.safe_load(text)["admin"]["address"]["socket_address"]["port_value"] == ADMIN
    for probe in ("readinessProbe", *(["startupProbe"] if "startupProbe" in proxy else [])):
        assert proxy[probe]["httpGet"] == {"path": "/ready", "port": ADMIN}
    assert f":{ADMIN}/" in str(proxy["lifecycle"]["preStop"]["exec"]["command"])


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_rules_leave_out_the_proxy_and_the_probes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = containers(pod(name))
    verb, *flags = found["outrider-init"]["args"]
    assert verb == "iptables"
    assert capture(["plan", "--print", *flags]) == 0
    rules = capsys.readouterr().out
    uid = found["outrider"]["securityContext"]["runAsUser"]
    assert f"-m owner --uid-owner {uid} -j RETURN" in rules
    assert "REDIRECT --to-ports 15001" in rules
    if "-A PREROUTING" in rules:
        assert f"-A ISTIO_INBOUND -p tcp --dport {ADMIN} -j RETURN" in rules


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_pod_waits_for_the_drain(name: str) -> None:
    spec = pod(name)
    proxy = containers(spec)["outrider"]
    drain = int(proxy["args"][proxy["args"].index("--drain-time-s") + 1])
    script = proxy["lifecycle"]["preStop"]["exec"]["command"][-1]
    compile(script, "preStop", "exec")
    waited = int(script.partition("time.sleep(")[2].partition(")")[0])
    assert waited + drain < spec["terminationGracePeriodSeconds"]


def test_a_native_sidecar_starts_before_the_workload() -> None:
    spec = pod("native-sidecar.yaml")
    rules, proxy = spec["initContainers"]
    assert (rules["name"], proxy["restartPolicy"]) == ("outrider-init", "Always")
    assert [one["name"] for one in spec["containers"]] == ["app"]
