"""Two clusters that share no network: a sidecar's mutual TLS goes through a gateway that routes by server name.

The client asks for `reviews.default.svc.cluster2.global`. Its sidecar splits: 75 % stay in its own cluster, 15 and
10 % go to two versions in the other one. There the gateway on 15443 ends no TLS: the server name is the cluster,
once `.cluster2.global` has become `.cluster.local`.
"""

from __future__ import annotations

import http.client
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.certs import Authority, Issued
from tests.support.configs import (
    Json,
    address,
    bootstrap,
    cluster,
    connection_manager,
    route,
    typed,
    virtual_host,
)
from tests.support.http_text import Message
from tests.support.namespaces import Host, Network, redirect
from tests.support.origin import Origin, OriginConnection
from tests.support.outrider import Outrider

FILTERS = "envoy.extensions.filters."
TLS = "envoy.extensions.transport_sockets.tls.v3."
GLOBAL = "reviews.default.svc.cluster2.global"
LOCAL = "reviews.default.svc.cluster.local"
VIP, PORT, GATEWAY_PORT = "240.0.0.2", 9080, 15443
WEIGHTS = {"v1": 75, "v2": 15, "v3": 10}
SUBSETS = {"v2": "", "v3": "v3"}  # of the other cluster, as Istio names them in a server name
REQUESTS = 400
CLIENT, REVIEWS = (
    "spiffe://cluster.local/ns/default/sa/client",
    "spiffe://cluster.local/ns/default/sa/reviews",
)
ANY = "0.0.0.0"


def server_name(version: str, service: str) -> str:
    return f"outbound_.{PORT}_.{SUBSETS[version]}_.{service}"


def common_tls(authority: Authority, issued: Issued, peer: str) -> Json:
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
        "alpn_protocols": ["istio", "h2"],
    }


def at(name: str, host: str, port: int, **fields: object) -> Json:
    endpoint = {"endpoint": {"address": address(port, host)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return cluster(name, load_assignment=assignment, **fields)


def listener_filters(*names: str) -> list[Json]:
    types = {"original_dst": "original_dst.v3.OriginalDst", "tls_inspector": "tls_inspector.v3.TlsInspector"}
    return [{"name": name, "typed_config": typed(f"{FILTERS}listener.{types[name]}")} for name in names]


def client_sidecar(authority: Authority, issued: Issued, near: str, gateway: str) -> Json:
    """Port 15001 hands on to a listener of the service's port; its route splits over three clusters."""

    def secured(version: str, host: str, port: int, name: str) -> Json:
        context = typed(
            f"{TLS}UpstreamTlsContext", sni=name, common_tls_context=common_tls(authority, issued, REVIEWS)
        )
        return at(version, host, port, transport_socket={"name": "tls", "typed_config": context})

    clusters = [secured("v1", near, PORT, f"outbound_.{PORT}_._.{LOCAL}")]
    clusters += [secured(v, gateway, GATEWAY_PORT, server_name(v, GLOBAL)) for v in SUBSETS]
    split = {"clusters": [{"name": name, "weight": weight} for name, weight in WEIGHTS.items()]}
    weighted = {"match": {"prefix": "/"}, "route": {"weighted_clusters": split}}
    domains = [GLOBAL, f"{GLOBAL}:{PORT}"]
    manager = connection_manager(
        {"name": "r", "virtual_hosts": [virtual_host([weighted], domains)]},
        forward_client_cert_details="SANITIZE",
    )
    virtual = {
        "name": "virtual",
        "address": address(15001, ANY),
        "use_original_dst": True,
        "filter_chains": [{"filters": [tcp_proxy("black hole")]}],
    }
    service = {
        "name": "service",
        "address": address(PORT, ANY),
        "bind_to_port": False,
        "filter_chains": [{"filters": [manager]}],
    }
    return bootstrap([virtual, service], clusters)


def tcp_proxy(to: str) -> Json:
    config = typed(f"{FILTERS}network.tcp_proxy.v3.TcpProxy", stat_prefix="tcp", cluster=to)
    return {"name": "tcp", "typed_config": config}


def gateway_config(far: dict[str, str]) -> Json:
    by_name = {"name": "sni", "typed_config": typed(f"{FILTERS}network.sni_cluster.v3.SniCluster")}
    rewrite = typed(
        "istio.envoy.config.filter.network.tcp_cluster_rewrite.v2alpha1.TcpClusterRewrite",
        cluster_pattern="\\.cluster2\\.global$",
        cluster_replacement=".cluster.local",
    )
    chain = {
        "filter_chain_match": {"server_names": ["*.global"]},
        "filters": [by_name, {"name": "rewrite", "typed_config": rewrite}, tcp_proxy("black hole")],
    }
    listener = {
        "name": "gateway",
        "address": address(GATEWAY_PORT, ANY),
        "listener_filters": listener_filters("tls_inspector"),
        "filter_chains": [chain],
    }
    return bootstrap([listener], [at(server_name(v, LOCAL), host, PORT) for v, host in far.items()])


def server_sidecar(authority: Authority, issued: Issued) -> Json:
    """Port 15006: mutual TLS for the one client, whose certificate the app is told of."""
    manager = connection_manager(
        {"name": "r", "virtual_hosts": [virtual_host([route("app")])]},
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"uri": True},
    )
    context = typed(
        f"{TLS}DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=common_tls(authority, issued, CLIENT),
    )
    listener = {
        "name": "inbound",
        "address": address(15006, ANY),
        "listener_filters": listener_filters("original_dst", "tls_inspector"),
        "filter_chains": [
            {
                "filter_chain_match": {"transport_protocol": "tls", "destination_port": PORT},
                "filters": [manager],
                "transport_socket": {"name": "tls", "typed_config": context},
            }
        ],
    }
    return bootstrap([listener], [at("app", "127.0.0.1", PORT)])


def app(version: str) -> Origin:
    """Answers with its version and what it was told of the client."""

    def answer(request: Message, connection: OriginConnection) -> bytes:
        del connection
        known = re.search(rb"(?im)^x-forwarded-client-cert: (.*?)\r$", request.raw)
        body = version.encode() + b" " + (known[1] if known else b"-")
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    return Origin(answer, port=PORT)


@dataclass
class World:
    client: Host
    gateway_host: Host
    gateway: Outrider


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    authority = Authority(tmp_path_factory.mktemp("certs"))
    of_client, of_reviews = authority.issue(CLIENT), authority.issue(REVIEWS)
    with Network() as network:
        client, gateway, *servers = network.hosts("client", "gateway", *WEIGHTS)
        network.lan(client, servers[0], gateway)
        network.lan(gateway, *servers[1:])
        for version, server in zip(WEIGHTS, servers, strict=True):
            network.keep(server, lambda version=version: app(version))
            network.keep(server, lambda: Outrider(server_sidecar(authority, of_reviews)))
            server.restore(redirect("PREROUTING", f"-i eth0 --dport {PORT}", 15006))
        far = {version: server.ip() for version, server in zip(SUBSETS, servers[1:], strict=True)}
        gate = network.keep(gateway, lambda: Outrider(gateway_config(far)))
        config = client_sidecar(authority, of_client, servers[0].ip(), gateway.ip())
        network.keep(client, lambda: Outrider(config))
        client.run("ip", "route", "add", "240.0.0.0/16", "dev", "eth0")
        client.restore(redirect("OUTPUT", "-d 240.0.0.0/16", 15001))
        yield World(client, gateway, gate)


def ask(count: int) -> list[tuple[str, str]]:
    """The version that answered, and what its app knew of the client, for each request of a plain client."""
    connection = http.client.HTTPConnection(VIP, PORT, timeout=20)
    answers = []
    for _ in range(count):
        connection.request("GET", "/", headers={"Host": f"{GLOBAL}:{PORT}"})
        response = connection.getresponse()
        body = response.read().decode()
        assert response.status == 200, body
        version, _, known = body.partition(" ")
        answers.append((version, known))
    connection.close()
    return answers


def test_traffic_is_split_and_every_far_sidecar_knows_the_client(world: World) -> None:
    answers = world.client.call(ask, REQUESTS)
    seen = Counter(version for version, _ in answers)
    for version, weight in WEIGHTS.items():
        expected = REQUESTS * weight / 100
        deviation = (expected * (1 - weight / 100)) ** 0.5
        assert abs(seen[version] - expected) < 5 * deviation, seen
    assert len({known for _, known in answers}) == 1
    fields = dict(field.split("=", 1) for field in answers[0][1].split(";"))
    assert re.fullmatch("[0-9a-f]{64}", fields.pop("Hash"))
    assert fields == {"By": REVIEWS, "URI": CLIENT}


def test_curl_needs_to_know_nothing_of_it(world: World) -> None:
    resolve = ("--resolve", f"{GLOBAL}:{PORT}:{VIP}")
    done = world.client.run("curl", "-sS", "--max-time", "20", *resolve, f"http://{GLOBAL}:{PORT}/")
    assert done.stdout.endswith(f"URI={CLIENT}")


def test_the_gateway_routes_by_the_rewritten_server_name(world: World) -> None:
    world.client.call(ask, 100)
    for version in SUBSETS:
        prefix = f"cluster.{server_name(version, LOCAL)}.upstream_cx_total"
        assert world.gateway_host.call(world.gateway.stats, prefix)[prefix] >= 1


def test_other_names_end_at_the_gateway(world: World) -> None:
    done = world.client.run(
        *("openssl", "s_client", "-connect", f"{world.gateway_host.ip()}:{GATEWAY_PORT}"),
        *("-servername", f"outbound_.{PORT}_._.other.default.svc.cluster2.global"),
        check=False,
    )
    assert done.returncode
    assert "no peer certificate available" in done.stdout
