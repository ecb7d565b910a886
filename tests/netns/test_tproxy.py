"""TPROXY: connections come to a transparent listener with both of their addresses untouched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.configs import Json, address, bootstrap, file_log, typed
from tests.support.namespaces import Host, Network, Version, default_route
from tests.support.origin import Origin
from tests.support.outrider import Outrider

FILTERS = "envoy.extensions.filters."
LOG = "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_ADDRESS%"
ANY: dict[Version, str] = {4: "0.0.0.0", 6: "::"}
VERSIONS: list[Version] = [4, 6]
PORT, LISTENER = 80, 15006
MARK, TABLE = 1337, "133"

pytestmark = pytest.mark.parametrize("version", VERSIONS)


def inbound(version: Version) -> Json:
    proxy = typed(
        f"{FILTERS}network.tcp_proxy.v3.TcpProxy",
        stat_prefix="inbound",
        cluster="passthrough",
        access_log=[file_log(LOG)],
    )
    destination = {"name": "dst", "typed_config": typed(f"{FILTERS}listener.original_dst.v3.OriginalDst")}
    return {
        "name": f"inbound{version}",
        "address": address(LISTENER, ANY[version]),
        "transparent": True,
        "listener_filters": [destination],
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
    }


def config() -> Json:
    passthrough = {"name": "passthrough", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    return bootstrap([inbound(version) for version in VERSIONS], [passthrough])


def intercept(gateway: Host) -> None:
    """Take the client's connections to `PORT` to the proxy, without touching a packet."""
    rules = (
        "*mangle\n"
        f"-A PREROUTING -i eth0 -p tcp --dport {PORT} -j TPROXY --on-port {LISTENER} --tproxy-mark {MARK}\n"
        "COMMIT\n"
    )
    for version in VERSIONS:
        gateway.restore(rules, version)
        gateway.run("ip", f"-{version}", "rule", "add", "fwmark", str(MARK), "lookup", TABLE)
        gateway.run("ip", f"-{version}", "route", "add", "local", "default", "dev", "lo", "table", TABLE)


@dataclass
class World:
    client: Host
    gateway: Host
    server: Host
    proxy: Outrider
    origin: Origin


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Network() as network:
        client, gateway, server = network.hosts("client", "gateway", "server")
        network.lan(gateway, client)
        network.lan(gateway, server)
        for host, link in ((client, 0), (server, 1)):
            default_route(host, gateway, link)
        origin = network.keep(server, lambda: Origin(host="::", port=PORT))
        proxy = network.keep(gateway, lambda: Outrider(config()))
        intercept(gateway)
        yield World(client, gateway, server, proxy, origin)


def logged(proxy: Outrider, start: str) -> list[str]:
    deadline = time.monotonic() + 5
    while True:
        found = [line for line in proxy.access_log(0) if line.startswith(start)]
        if found or time.monotonic() > deadline:
            return found[-1].split() if found else []
        time.sleep(0.02)


def test_both_addresses_are_kept(world: World, version: Version) -> None:
    client, server = world.client.ip(version), world.server.ip(version)
    there = f"[{server}]:{PORT}" if version == 6 else f"{server}:{PORT}"
    # That the client connects at all says that the answers come from the address which it asked for.
    with world.client.connect(server, PORT) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1000).endswith(b"hello")
        peer = world.origin.connections[-1].socket.getpeername()[0].removeprefix("::ffff:")
    assert peer == world.gateway.ip(version, 1)
    assert logged(world.proxy, f"{there} ") == [there, client, there]
