"""Sidecars as Istio configures them: they come up with what pilot-agent and istiod give them, and talk by mTLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from tests.support.certs import Authority
from tests.support.client import get
from tests.support.istio import clusters, listeners
from tests.support.istio.bootstrap import FLAGS, bootstrap
from tests.support.mesh import parsed
from tests.support.origin import Origin
from tests.support.outrider import Outrider
from tests.support.ports import free_port
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, LDS = ResourceType.CLUSTER, ResourceType.LISTENER
SERVICE = "outbound|80||app.default.svc.cluster.local"
SERVER = "spiffe://cluster.local/ns/default/sa/server"
CLIENT = "spiffe://cluster.local/ns/default/sa/client"


class PilotAgentProxy(Outrider):
    """Started with the flags of pilot-agent, and no others."""

    @classmethod
    def default_arguments(cls) -> list[str]:
        return list(FLAGS)


class Sidecar:
    """One proxy with its agent: a control plane and a server of secrets, each on a unix socket."""

    def __init__(self, directory: Path, authority: Authority, identity: str, app: Origin) -> None:
        directory.mkdir()
        self.status_port, self.mesh_port, self.outbound_port = free_port(), free_port(), free_port()
        self.xds = XdsServer(address=str(directory / "XDS"))
        self.sds = XdsServer(address=str(directory / "SDS"))
        self.app = app
        self._secrets = secrets(authority, identity)
        self._config = bootstrap(str(directory / "XDS"), str(directory / "SDS"), self.status_port, app.port)
        self.proxy: Any = None

    def __enter__(self) -> Self:
        self.xds.__enter__()
        self.sds.__enter__()
        self.sds.set(*self._secrets)
        self.proxy = PilotAgentProxy(json.dumps(self._config), listeners=(), wait=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self.proxy is not None:
            self.proxy.close()
        self.sds.__exit__()
        self.xds.__exit__()

    def push(self, *messages: Any) -> None:
        self.xds.set(*messages)


def secrets(authority: Authority, identity: str) -> list[Any]:
    """What the agent serves: its own certificate as `default`, the mesh's authority as `ROOTCA`."""
    issued = authority.issue(identity)
    own = secret_pb2.Secret(name="default")
    own.tls_certificate.certificate_chain.inline_bytes = issued.certificate.read_bytes()
    own.tls_certificate.private_key.inline_bytes = issued.key.read_bytes()
    root = secret_pb2.Secret(name="ROOTCA")
    root.validation_context.trusted_ca.inline_bytes = authority.certificate.read_bytes()
    return [own, root]


def cluster(tree: dict[str, Any]) -> Any:
    return parsed(cluster_pb2.Cluster(), tree)


def inbound(sidecar: Sidecar) -> list[Any]:
    return [
        *map(cluster, clusters.builtin_clusters()),
        cluster(clusters.inbound_cluster("inbound|80||", sidecar.app.port)),
        parsed(listener_pb2.Listener(), listeners.virtual_inbound(sidecar.mesh_port, "inbound|80||")),
    ]


def outbound(sidecar: Sidecar, port: int, *, tls: bool = True) -> list[Any]:
    return [
        *map(cluster, clusters.builtin_clusters()),
        cluster(clusters.service_cluster(SERVICE, [SERVER])),
        parsed(endpoint_pb2.ClusterLoadAssignment(), clusters.service_endpoints(SERVICE, port, tls=tls)),
        parsed(listener_pb2.Listener(), listeners.virtual_outbound(free_port())),
        parsed(listener_pb2.Listener(), listeners.outbound("0.0.0.0_80", sidecar.outbound_port, "80")),
        parsed(route_pb2.RouteConfiguration(), clusters.routes("80", SERVICE)),
    ]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def app() -> Iterator[Origin]:
    with Origin() as one:
        yield one


def test_two_sidecars_talk_by_mtls_and_http_is_seen_as_http(
    tmp_path: Path, authority: Authority, app: Origin
) -> None:
    with (
        Sidecar(tmp_path / "server", authority, SERVER, app) as server,
        Sidecar(tmp_path / "client", authority, CLIENT, app) as client,
    ):
        server.push(*inbound(server))
        client.push(*outbound(client, server.mesh_port))
        server.proxy.wait_ready(30)
        client.proxy.wait_ready(30)
        for sidecar in (server, client):
            for kind in (CDS, LDS):
                sidecar.xds.wait_for(lambda sidecar=sidecar, kind=kind: sidecar.xds.acked(kind))
                assert sidecar.xds.nacks(kind) == []
        assert get(client.outbound_port, host="app").status == 200
        (request,) = app.requests
        fields = {name.lower(): value for name, value in request.fields}
        assert f"URI={CLIENT}" in fields["x-forwarded-client-cert"]
        assert not any(name.startswith("x-envoy-peer-metadata") for name in fields)
        assert get(client.status_port, "/healthz/ready").status == 200

        log = server.proxy.log()
        assert "stats.PluginConfig has no effect: there are no metrics of Istio" in log


def test_endpoints_without_a_sidecar_are_reached_in_plain_text(
    tmp_path: Path, authority: Authority, app: Origin
) -> None:
    with Sidecar(tmp_path / "client", authority, CLIENT, app) as client:
        client.push(*outbound(client, app.port, tls=False))
        client.proxy.wait_ready(30)
        assert get(client.outbound_port, host="app").status == 200
        assert len(app.requests) == 1


def test_a_server_with_another_identity_is_not_trusted(
    tmp_path: Path, authority: Authority, app: Origin
) -> None:
    with (
        Sidecar(tmp_path / "server", authority, CLIENT, app) as server,
        Sidecar(tmp_path / "client", authority, CLIENT, app) as client,
    ):
        server.push(*inbound(server))
        client.push(*outbound(client, server.mesh_port))
        server.proxy.wait_ready(30)
        client.proxy.wait_ready(30)
        assert get(client.outbound_port, host="app").status == 503
        assert not app.requests
