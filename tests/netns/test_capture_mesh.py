"""All of it at once: an app's plain `curl http://VIP/` between hosts whose traffic is captured in both directions.

The rules lead it to a sidecar that a control plane has configured, which balances it over two replicas with mutual
TLS, one reached by IPv4 and one by IPv6; their sidecars take it from the rules of their hosts. The sidecars run as
root here, so it is root whose connections are not captured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

from tests.support.capture import Capture
from tests.support.certs import Authority, Issued
from tests.support.configs import (
    Json,
    address,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    route,
    typed,
    virtual_host,
)
from tests.support.http_text import Message
from tests.support.mesh import ADS, mesh_bootstrap, parsed
from tests.support.namespaces import Host, Network, Version
from tests.support.origin import Origin, OriginConnection
from tests.support.outrider import Outrider
from tests.support.xds_server import XdsServer

FILTERS = "envoy.extensions.filters."
TLS = "envoy.extensions.transport_sockets.tls.v3."
VIPS: dict[Version, str] = {4: "240.0.0.2", 6: "fd00:99::2"}
APP, OUTBOUND, INBOUND = 8080, 15001, 15006
CLIENT, SERVER = "spiffe://cluster.local/ns/default/sa/client", "spiffe://cluster.local/ns/default/sa/server"
FLAGS = ["-u", "0", "-g", "0", "-i", "*", "-b", "*", "--ipv6=true"]
REQUESTS = 6


def tls(authority: Authority, issued: Issued, peer: str) -> Json:
    return {
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(issued.certificate)},
                "private_key": {"filename": str(issued.key)},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(authority.certificate)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
        },
    }


def captured(name: str, port: int, *chains: Json, **fields: object) -> Json:
    """A listener on both IP versions that knows where its connections were going."""
    destination = {"name": "dst", "typed_config": typed(f"{FILTERS}listener.original_dst.v3.OriginalDst")}
    where = {"address": "::", "port_value": port, "ipv4_compat": True}
    return {
        "name": name,
        "address": {"socket_address": where},
        "listener_filters": [destination],
        "filter_chains": list(chains),
        **fields,
    }


def client_resources(
    authority: Authority, issued: Issued, replicas: list[str], log_path: Path
) -> list[object]:
    """Listener, route, cluster and endpoints, as a control plane sends them."""
    log = file_log("%REQ(:AUTHORITY)% %RESPONSE_CODE% %UPSTREAM_CLUSTER% %DOWNSTREAM_LOCAL_ADDRESS%")
    log["typed_config"]["path"] = str(log_path)
    manager = connection_manager({"name": "unused", "virtual_hosts": []}, access_log=[log])
    manager["typed_config"].pop("route_config")
    manager["typed_config"]["rds"] = {"route_config_name": "routes", "config_source": ADS}
    vips = [
        {"address_prefix": vip, "prefix_len": 32 if version == 4 else 128} for version, vip in VIPS.items()
    ]
    other = typed(f"{FILTERS}network.tcp_proxy.v3.TcpProxy", stat_prefix="other", cluster="elsewhere")
    listener = captured(
        "outbound",
        OUTBOUND,
        {"filter_chain_match": {"prefix_ranges": vips}, "filters": [manager]},
        default_filter_chain={"filters": [{"name": "tcp", "typed_config": other}]},
    )
    context = typed(f"{TLS}UpstreamTlsContext", common_tls_context=tls(authority, issued, SERVER))
    secured = {
        "name": "app",
        "type": "EDS",
        "connect_timeout": "5s",
        "eds_cluster_config": {"eds_config": ADS},
        "transport_socket": {"name": "tls", "typed_config": context},
    }
    elsewhere = {"name": "elsewhere", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    hosts = [{"endpoint": {"address": address(APP, replica)}} for replica in replicas]
    return [
        parsed(cluster_pb2.Cluster(), secured),
        parsed(cluster_pb2.Cluster(), elsewhere),
        parsed(
            endpoint_pb2.ClusterLoadAssignment(),
            {"cluster_name": "app", "endpoints": [{"lb_endpoints": hosts}]},
        ),
        parsed(listener_pb2.Listener(), listener),
        parsed(
            route_pb2.RouteConfiguration(),
            {"name": "routes", "virtual_hosts": [virtual_host([route("app")])]},
        ),
    ]


def server_sidecar(authority: Authority, issued: Issued) -> Json:
    manager = connection_manager(
        {"name": "r", "virtual_hosts": [virtual_host([route("app")])]},
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details={"uri": True},
        access_log=[file_log("%DOWNSTREAM_PEER_URI_SAN% %RESPONSE_CODE% %DOWNSTREAM_LOCAL_ADDRESS%")],
    )
    context = typed(
        f"{TLS}DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=tls(authority, issued, CLIENT),
    )
    chain = {"filters": [manager], "transport_socket": {"name": "tls", "typed_config": context}}
    return bootstrap([captured("inbound", INBOUND, chain)], [cluster("app", APP)])


def app(name: str) -> Origin:
    """Answers with its name and what it was told of the client."""

    def answer(request: Message, connection: OriginConnection) -> bytes:
        del connection
        known = re.search(rb"(?im)^x-forwarded-client-cert: .*(URI=[^\r]*)\r$", request.raw)
        body = name.encode() + b" " + (known[1] if known else b"-")
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    return Origin(answer, host="::", port=APP)


@dataclass
class World:
    client: Host
    servers: list[Host]
    sidecars: list[Outrider] = field(default_factory=list)
    captures: list[Capture] = field(default_factory=list)
    log: str = ""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("mesh")
    authority = Authority(folder)
    of_client, of_server = authority.issue(CLIENT), authority.issue(SERVER)
    with Network() as network, ExitStack() as stack:
        client, *servers = network.hosts("client", "first", "second")
        network.lan(client, *servers)
        client.run("ip", "route", "add", "240.0.0.0/16", "dev", "eth0")
        client.run("ip", "route", "add", "fd00:99::/64", "dev", "eth0")
        world = World(client, servers, log=str(folder / "client.log"))
        for server in servers:
            network.keep(server, lambda server=server: app(server.name))
        # A path serves from wherever: the control plane is in no host's network.
        control = stack.enter_context(XdsServer(address=str(folder / "xds")))
        replicas = [servers[0].ip(4), servers[1].ip(6)]
        control.set(*client_resources(authority, of_client, replicas, folder / "client.log"))
        config = mesh_bootstrap(1)
        hosts = config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
        hosts[0]["endpoint"]["address"] = {"pipe": {"path": str(folder / "xds")}}
        world.sidecars.append(network.keep(client, lambda: Outrider(config)))
        for server in servers:
            sidecar = server_sidecar(authority, of_server)
            world.sidecars.append(network.keep(server, lambda sidecar=sidecar: Outrider(sidecar)))
        world.captures = [stack.enter_context(Capture(host)) for host in (client, *servers)]
        yield world


def curl(world: World, url: str) -> tuple[int, str]:
    """As an app would: of no user in particular, and knowing of no proxy."""
    user = ("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups")
    done = world.client.run(*user, "curl", "-sS", "--max-time", "15", "--noproxy", "*", url, check=False)
    return done.returncode, done.stdout


def plain(world: World) -> list[tuple[int, str]]:
    return [curl(world, f"http://{server.ip(4)}:{APP}/") for server in world.servers]


def test_a_plain_call_is_captured_balanced_and_secured_until_the_rules_go(world: World) -> None:
    before = [capture.state() for capture in world.captures]
    assert plain(world) == [(0, "first -"), (0, "second -")]
    for capture in world.captures:
        capture("apply", *FLAGS)
    client, first, second = world.sidecars
    for number, (version, vip) in enumerate(VIPS.items(), 1):
        there = vip if version == 4 else f"[{vip}]"
        answers = [curl(world, f"http://{there}/") for _ in range(REQUESTS)]
        assert {status for status, _ in answers} == {0}
        assert {body for _, body in answers} == {f"first URI={CLIENT}", f"second URI={CLIENT}"}
        logged = [
            line for line in client.access_log(REQUESTS * number, path=world.log) if line.startswith(there)
        ]
        assert logged == [f"{there} 200 app {there}:80"] * REQUESTS
    for sidecar, host, address_version in ((first, world.servers[0], 4), (second, world.servers[1], 6)):
        here = host.ip(4) if address_version == 4 else f"[{host.ip(6)}]"
        lines = sidecar.access_log(REQUESTS)
        assert len(lines) == REQUESTS
        assert set(lines) == {f"{CLIENT} 200 {here}:{APP}"}
    # What is not of the mesh does not reach the apps.
    assert [body for _, body in plain(world)] == ["", ""]
    for capture in world.captures:
        capture("remove", *FLAGS)
    assert [capture.state() for capture in world.captures] == before
    assert plain(world) == [(0, "first -"), (0, "second -")]
