"""`original_src`: servers see the client's address, over TCP and over HTTP with pools of their own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse

import pytest

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
from tests.support.namespaces import Host, Network, Version, default_route
from tests.support.origin import Answer, Origin, OriginConnection
from tests.support.outrider import Outrider

FILTERS = "envoy.extensions.filters."
VERSIONS: list[Version] = [4, 6]
ANY: dict[Version, str] = {4: "0.0.0.0", 6: "::"}
OTHER: dict[Version, str] = {4: "10.1.0.77", 6: "fd00:1::77"}
TCP, UNMARKED, HTTP, PORT = 15001, 15002, 15003, 80
MARK, TABLE = 77, "177"

pytestmark = pytest.mark.parametrize("version", VERSIONS)


def listener(name: str, version: Version, port: int, filter_: Json, **source: object) -> Json:
    original = typed(f"{FILTERS}listener.original_src.v3.OriginalSrc", **source)
    return {
        "name": f"{name}{version}",
        "address": address(port, ANY[version]),
        "listener_filters": [{"name": "source", "typed_config": original}],
        "filter_chains": [{"filters": [filter_]}],
    }


def config(server: Host) -> Json:
    listeners, clusters = [], []
    for version in VERSIONS:
        name = f"server{version}"
        endpoint = {"endpoint": {"address": address(PORT, server.ip(version))}}
        clusters.append(
            {
                **cluster(name, connect_timeout="1s"),
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
            }
        )
        proxy = {
            "name": "tcp",
            "typed_config": typed(f"{FILTERS}network.tcp_proxy.v3.TcpProxy", stat_prefix="tcp", cluster=name),
        }
        table = {"name": name, "virtual_hosts": [virtual_host([route(name)])]}
        listeners += [
            listener("tcp", version, TCP, proxy, mark=MARK),
            listener("unmarked", version, UNMARKED, proxy),
            listener("http", version, HTTP, connection_manager(table), mark=MARK, bind_port=True),
        ]
    return bootstrap(listeners, clusters)


def keep_marks(gateway: Host) -> None:
    """Take the servers' answers to connections with the mark to the proxy, whoever they are addressed to."""
    rules = (
        "*mangle\n"
        f"-A OUTPUT -m mark --mark {MARK} -j CONNMARK --save-mark\n"
        f"-A PREROUTING -i eth1 -m connmark --mark {MARK} -j CONNMARK --restore-mark\n"
        "COMMIT\n"
    )
    for version in VERSIONS:
        gateway.restore(rules, version)
        rule = ("rule", "add", "fwmark", str(MARK), "iif", "eth1", "lookup", TABLE)
        gateway.run("ip", f"-{version}", *rule)
        gateway.run("ip", f"-{version}", "route", "add", "local", "default", "dev", "lo", "table", TABLE)


def tell_the_client(request: Message, connection: OriginConnection) -> Answer:
    del request
    seen = connection.socket.getpeername()[0].removeprefix("::ffff:").encode()
    return Answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(seen), seen))


@dataclass
class World:
    client: Host
    gateway: Host
    origin: Origin
    proxy: Outrider

    def ask(self, version: Version, port: int, source: str) -> str:
        """Which client the server sees in a connection from `source`; "" without an answer."""

        def run() -> str:
            where = (self.gateway.ip(version), port)
            with socket.create_connection(where, 10, source_address=(source, 0)) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    answer = HTTPResponse(connection)
                    answer.begin()
                    return answer.read().decode()
            return ""

        return self.client.call(run)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Network() as network:
        client, gateway, server = network.hosts("client", "gateway", "server")
        network.lan(gateway, client)
        network.lan(gateway, server)
        for host, link in ((client, 0), (server, 1)):
            default_route(host, gateway, link)
        client.run("ip", "address", "add", f"{OTHER[4]}/24", "dev", "eth0")
        client.run("ip", "address", "add", f"{OTHER[6]}/64", "dev", "eth0", "nodad")
        keep_marks(gateway)
        origin = network.keep(server, lambda: Origin(tell_the_client, host="::", port=PORT))
        proxy = network.keep(gateway, lambda: Outrider(config(server)))
        gateway.wait_for_port("127.0.0.1", TCP)
        for version in VERSIONS:
            gateway.wait_for_port(server.ip(version), PORT)  # so that both know where the other is
        yield World(client, gateway, origin, proxy)


def test_a_server_sees_the_client(world: World, version: Version) -> None:
    for source in (world.client.ip(version), OTHER[version]):
        assert world.ask(version, TCP, source) == source


def test_without_the_mark_the_answers_go_astray(world: World, version: Version) -> None:
    assert world.ask(version, UNMARKED, world.client.ip(version)) == ""


def test_requests_of_one_client_never_travel_on_a_connection_of_another(
    world: World, version: Version
) -> None:
    sources = (world.client.ip(version), OTHER[version])
    before = len(world.origin.connections)
    for _ in range(3):
        for source in sources:
            assert world.ask(version, HTTP, source) == source
    # Each has one of its own, which may be there already.
    assert len(world.origin.connections) - before <= len(sources)
