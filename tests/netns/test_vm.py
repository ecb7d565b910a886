"""`outrider vm`: a VM's sidecar from its `sidecar.env`, with real packets, and nothing left when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2

from tests.support.configs import ROUTER, cluster, typed
from tests.support.mesh import parsed
from tests.support.namespaces import Host, Network, Version, default_route
from tests.support.origin import Origin
from tests.support.outrider import ROOT
from tests.support.xds_server import XdsServer

VERSIONS: list[Version] = [4, 6]
VIP = "10.99.0.1"
TEMPLATE = """\
node: {{id: "{{NODE_ID}}", cluster: cluster, locality: {{zone: "{{ENVOY_ZONE}}"}}}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {{ENVOY_ADMIN_PORT}}}}}}}}
dynamic_resources:
  lds_config: {{resource_api_version: V3, ads: {{}}}}
  cds_config: {{resource_api_version: V3, ads: {{}}}}
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{{google_grpc: {{target_uri: "unix:{socket}", stat_prefix: xds}}}}]
"""
# The app's user is another one than the proxy's.
APP = ("setpriv", "--reuid", "65534", "--clear-groups")


class Vm:
    """The command in a host, with its files in a folder."""

    def __init__(self, host: Host, folder: Path, socket: str) -> None:
        self.host, self.folder = host, folder
        self.env = folder / "sidecar.env"
        self.env.write_text(
            "# of the test\nENVOY_USER=root\nSERVICE_CIDR='10.99.0.0/16'\nGCP_PROJECT_NUMBER='111222333444'\n"
            f"VPC_NETWORK_NAME='default'\nLOG_DIR='{folder}/logs'\nLOG_LEVEL='info'\nTRACING_ENABLED='false'\n"
            f"XDS_SERVER_CERT='{__file__}'\n"
        )
        self.template = folder / "template.yaml"
        self.template.write_text(TEMPLATE.format(socket=socket))

    def words(self, verb: str, *words: str) -> tuple[str, ...]:
        return (
            *("env", f"PYTHONPATH={ROOT}", "GCE_METADATA_HOST=127.0.0.1:1", "no_proxy=*"),
            *(sys.executable, "-m", "proxy", "vm", verb, "--env", str(self.env)),
            *("--template", str(self.template), "--run-dir", str(self.folder / "run"), *words),
        )

    def __call__(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.host.run(*self.words(verb, *words), timeout=90, check=False)

    def curl(self, address: str, *user: str) -> str:
        """What the address says to a user; "" if nothing."""
        command = ("curl", "-s", "--noproxy", "*", "--max-time", "2", f"http://{address}/")
        return self.host.run(*user, *command, check=False).stdout


def rules(host: Host) -> list[str]:
    listings = [host.saved(version) for version in VERSIONS]
    return [line for text in listings for line in text.splitlines() if not line.startswith("#")]


def said(text: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()


def interception(port: int) -> object:
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="in",
        route_config={
            "virtual_hosts": [
                {
                    "name": "vip",
                    "domains": [VIP],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "replicas"}}],
                }
            ]
        },
        http_filters=[{"name": "router", "typed_config": typed(ROUTER)}],
    )
    tree = {
        "name": "TRAFFICDIRECTOR_INTERCEPTION_PORT",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    return parsed(listener_pb2.Listener(), tree)


@pytest.fixture
def hosts() -> Iterator[tuple[Network, Host, Host]]:
    with Network() as network:
        vm, other = network.hosts("vm", "other")
        network.lan(vm, other)
        default_route(vm, other)
        yield network, vm, other


def test_a_started_vm_has_its_services_and_a_stopped_one_is_as_before(
    hosts: tuple[Network, Host, Host], tmp_path: Path
) -> None:
    network, host, other = hosts
    network.keep(other, lambda: Origin(said("replica"), host="0.0.0.0", port=8080))
    network.keep(other, lambda: Origin(said("plain"), host="0.0.0.0", port=80))
    server = network.keep(host, lambda: XdsServer(address=str(tmp_path / "xds")))
    replicas = cluster("replicas", 8080)
    endpoint = replicas["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["address"]["socket_address"]["address"] = other.ip()
    server.set(parsed(cluster_pb2.Cluster(), replicas), interception(15001))
    vm = Vm(host, tmp_path, str(tmp_path / "xds"))
    before = rules(host)
    try:
        assert vm("status").returncode == 3
        started = vm("start", "--", "--concurrency", "1")
        assert started.returncode == 0, started.stderr
        assert "projects/111222333444/networks/default/nodes/" in started.stdout
        # The proxy's own user and other destinations are left alone.
        assert vm.curl(VIP, *APP) == "replica"
        assert vm.curl(VIP) == ""
        assert vm.curl(other.ip(), *APP) == "plain"
        status = vm("status")
        assert status.returncode == 0, status.stdout
        assert "ready: yes\nrules: present\n" in status.stdout
        # Once more is no error, and changes nothing.
        assert "runs already" in vm("start").stdout

        host.run("iptables", "-t", "nat", "-F", "OUTPUT")
        broken = vm("status")
        assert broken.returncode == 4
        assert "rules: present" not in broken.stdout
        assert "has ended" in vm("stop").stdout
        assert rules(host) == before

        assert vm("start").returncode == 0
        os.killpg(int((tmp_path / "run" / "pid").read_text().split()[0]), signal.SIGKILL)
        dead = vm("status")
        assert dead.returncode == 1
        assert dead.stdout.startswith("proxy: dead")
        assert "captured connections are refused" in dead.stdout
    finally:
        stopped = vm("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert "the proxy was not running" in stopped.stdout
    assert rules(host) == before
    assert vm.curl(VIP, *APP) == ""
    assert vm.curl(other.ip(), *APP) == "plain"
    assert vm("status").returncode == 3
    assert vm("stop").returncode == 0


def test_a_start_that_fails_leaves_nothing(hosts: tuple[Network, Host, Host], tmp_path: Path) -> None:
    _network, host, _other = hosts
    vm = Vm(host, tmp_path, "/nonexistent")
    before = rules(host)

    def fails(*words: str) -> str:
        done = vm("start", *words)
        assert done.returncode == 1, done.stdout
        assert rules(host) == before
        assert sorted(one.name for one in tmp_path.iterdir()) == ["sidecar.env", "template.yaml"]
        return done.stderr

    assert "the proxy is not ready after 3 s" in fails("--timeout", "3")
    # A signal while it waits for the proxy.
    words = vm.words("start")
    starting = host.spawn(*words)
    deadline = time.monotonic() + 30
    while not (tmp_path / "run" / "pid").exists():
        assert time.monotonic() < deadline
        assert starting.poll() is None
        time.sleep(0.01)
    starting.terminate()
    assert starting.wait(30) == 1
    assert rules(host) == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["sidecar.env", "template.yaml"]

    good = vm.template.read_text()
    vm.template.write_text(good + "nonsense: 1\n")
    assert "nonsense" in fails()
    vm.template.write_text(good)
    vm.env.write_text("ENVOY_PROT=1\n")
    assert fails() == f"{vm.env}:1: ENVOY_PROT: unknown variable; did you mean ENVOY_PORT?\n"
