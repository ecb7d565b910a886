"""A client whose connections a gateway redirects to its proxy: captured, passed on, or refused as a loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.certs import Authority
from tests.support.configs import (
    Json,
    address,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    listener,
    typed,
    virtual_host,
)
from tests.support.namespaces import Host, Network, Version, default_route, redirect
from tests.support.origin import Answer, Origin, OriginConnection
from tests.support.outrider import Outrider

FILTERS = "envoy.extensions.filters."
LOG = (
    "%DOWNSTREAM_LOCAL_ADDRESS% %REQUESTED_SERVER_NAME% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% "
    "%UPSTREAM_CLUSTER% %UPSTREAM_REMOTE_ADDRESS% %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS%"
)
ANY: dict[Version, str] = {4: "0.0.0.0", 6: "::"}
CAPTURED, HTTP, GREETING, HTTPS, GRPC, REDIS = 9080, 80, 3306, 443, 50051, 6379
SNIFFING_SECONDS = 8.0
VERSIONS: list[Version] = [4, 6]

pytestmark = pytest.mark.parametrize("version", VERSIONS)


def tcp_proxy(to: str) -> Json:
    config = typed(
        f"{FILTERS}network.tcp_proxy.v3.TcpProxy", stat_prefix=to, cluster=to, access_log=[file_log(LOG)]
    )
    return {"name": "tcp", "typed_config": config}


def refusals() -> Json:
    """Logs what ended before a filter had it."""
    log = file_log(LOG)
    log["typed_config"]["path"] = "{{dir}}/refused.log"
    return log


def virtual_outbound(version: Version) -> Json:
    """Port 15001: what no other listener takes is routed by name, or goes where it was going."""
    sniffers = {
        "original_dst": "original_dst.v3.OriginalDst",
        "tls": "tls_inspector.v3.TlsInspector",
        "http": "http_inspector.v3.HttpInspector",
    }
    by_name = {"filter_chain_match": {"server_names": ["named.test"]}, "filters": [tcp_proxy("named")]}
    return {
        "name": f"virtual{version}",
        "address": address(15001, ANY[version]),
        "use_original_dst": True,
        "listener_filters": [
            {"name": name, "typed_config": typed(f"{FILTERS}listener.{kind}")}
            for name, kind in sniffers.items()
        ],
        "listener_filters_timeout": f"{SNIFFING_SECONDS:g}s",
        "continue_on_listener_filters_timeout": True,
        "access_log": [refusals()],
        "filter_chains": [by_name, {"filters": [tcp_proxy("passthrough")]}],
    }


def captured(version: Version) -> Json:
    answer = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "captured"}},
    }
    manager = connection_manager(
        {"name": "r", "virtual_hosts": [virtual_host([answer])]}, access_log=[file_log(LOG)]
    )
    return listener(
        [manager],
        f"captured{version}",
        address=address(CAPTURED, ANY[version]),
        bind_to_port=False,
    )


def config(named: str) -> Json:
    made = [made(version) for version in VERSIONS for made in (virtual_outbound, captured)]
    passthrough = {"name": "passthrough", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    endpoint = {"endpoint": {"address": address(HTTPS, named)}}
    named_cluster = cluster(
        "named", load_assignment={"cluster_name": "named", "endpoints": [{"lb_endpoints": [endpoint]}]}
    )
    return bootstrap(made, [passthrough, named_cluster])


@dataclass
class World:
    client: Host
    gateway: Host
    server: Host
    proxy: Outrider
    authority: Authority

    def curl(self, url: str, *options: str) -> str:
        """What the client's curl says: the answer and, after a space, the address that it talked to."""
        command = ("curl", "-sS", "--max-time", "20", "-w", " %{remote_ip}", *options, url)
        return self.client.run(*command).stdout

    def logged(self, destination: str, name: str = "-", path: Path | None = None) -> list[str]:
        """The rest of the last log line about that destination and server name."""
        log = None if path is None else str(path)
        start = f"{destination} {name} "
        deadline = time.monotonic() + 5
        while True:
            found = [line for line in self.proxy.access_log(0, path=log) if line.startswith(start)]
            if found:
                return found[-1].removeprefix(start).split()
            assert time.monotonic() < deadline, f"no line {start!r}: {self.proxy.access_log(0, path=log)}"
            time.sleep(0.02)


def greet(connection: OriginConnection) -> None:
    """Speak first, like MySQL or SMTP, then answer."""
    connection.send(b"220 ready\r\n")
    connection.send(b"echo " + connection.receive())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("world")
    authority = Authority(directory)
    issued = authority.issue("server.test", "named.test")
    with Network() as network:
        client, gateway, server = network.hosts("client", "gateway", "server")
        network.lan(gateway, client)
        network.lan(gateway, server)
        for host, link in ((client, 0), (server, 1)):
            default_route(host, gateway, link)
        network.keep(server, lambda: Origin(host="::", port=HTTP))
        network.keep(server, lambda: Origin(host="::", port=GREETING, take_over=greet))
        tls = issued.server_context(alpn=("http/1.1",))
        network.keep(server, lambda: Origin(Answer(end="close"), host="::", port=HTTPS, tls=tls))
        root = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        peer = ("-m", "tests.netns.grpc_peer", "serve", str(GRPC), str(issued.certificate), str(issued.key))
        server.spawn(sys.executable, *peer, log=directory / "grpc.log", environment=root)
        redis = ("redis-server", "--port", str(REDIS), "--bind", "*", "-::*", "--save", "")
        server.spawn(*redis, "--protected-mode", "no", "--dir", str(directory), log=directory / "redis.log")
        proxy = network.keep(gateway, lambda: Outrider(config(server.ip())))
        for version in VERSIONS:
            gateway.restore(redirect("PREROUTING", "-i eth0", 15001), version)
        for port in (GRPC, REDIS):
            server.wait_for_port("127.0.0.1", port)
        yield World(client, gateway, server, proxy, authority)


def url(scheme: str, ip: str, port: int) -> str:
    return f"{scheme}://{host(ip)}:{port}/"


def host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def test_a_listener_without_a_socket_takes_its_port(world: World, version: Version) -> None:
    server = world.server.ip(version)
    assert world.curl(url("http", server, CAPTURED)) == f"captured {server}"
    assert world.logged(f"{host(server)}:{CAPTURED}")[0] == world.client.ip(version)


def test_what_nobody_captures_goes_where_it_was_going(world: World, version: Version) -> None:
    server = world.server.ip(version)
    assert world.curl(url("http", server, HTTP)) == f"hello {server}"
    there = f"{host(server)}:{HTTP}"
    assert world.logged(there) == [world.client.ip(version), "passthrough", there, "-", "-"]


def test_a_connection_to_the_proxy_itself_is_refused(world: World, version: Version) -> None:
    with world.client.connect(world.gateway.ip(version), 15001) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert connection.recv(100) == b""
    log = world.proxy.directory / "refused.log"
    assert world.logged(f"{host(world.gateway.ip(version))}:15001", path=log)[-1] == "loop"
    stats = world.gateway.call(world.proxy.stats, "listener.")
    counters = [name for name, value in stats.items() if name.endswith("_15001.downstream_cx_loop") and value]
    assert ("::" in ANY[version]) in ["__" in name for name in counters]


def test_a_server_that_speaks_first_need_not_wait(world: World, version: Version) -> None:
    for _ in range(2):
        start = time.monotonic()
        with world.client.connect(world.server.ip(version), GREETING) as connection:
            assert connection.recv(100) == b"220 ready\r\n"
            assert time.monotonic() - start < SNIFFING_SECONDS / 2
            connection.sendall(b"hello")
            assert connection.recv(100) == b"echo hello"


@pytest.mark.parametrize("name", ["server.test", "named.test"])
def test_curl_over_https(world: World, version: Version, name: str) -> None:
    """Passed on to where it was going, or to the cluster of the server name: either sees its own handshake."""
    server = world.server.ip(version)
    resolve = ("--resolve", f"{name}:{HTTPS}:{host(server)}")
    said = world.curl(f"https://{name}/", "--cacert", str(world.authority.certificate), *resolve)
    assert said == f"hello {server}"
    to = "named" if name == "named.test" else "passthrough"
    upstream = world.server.ip() if to == "named" else server
    assert world.logged(f"{host(server)}:{HTTPS}", name)[1:3] == [to, f"{host(upstream)}:{HTTPS}"]


@pytest.mark.parametrize("name", ["server.test", "named.test"])
def test_openssl(world: World, version: Version, name: str) -> None:
    done = world.client.run(
        *("openssl", "s_client", "-connect", f"{host(world.server.ip(version))}:{HTTPS}"),
        *("-servername", name, "-verify_return_error", "-verify_hostname", name, "-alpn", "http/1.1"),
        *("-CAfile", str(world.authority.certificate), "-ign_eof"),
        text="GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        check=False,
        timeout=30,
    )
    assert "hello" in done.stdout
    assert "ALPN protocol: http/1.1" in done.stdout
    assert "Verification: OK" in done.stdout


def test_grpc_over_tls(world: World, version: Version) -> None:
    target = f"{host(world.server.ip(version))}:{GRPC}"
    command = ("call", target, str(world.authority.certificate), "server.test", "hello")
    root = f"PYTHONPATH={Path(__file__).resolve().parents[2]}"
    done = world.client.run("env", root, sys.executable, "-m", "tests.netns.grpc_peer", *command)
    assert done.stdout == "hello"


def test_redis(world: World, version: Version) -> None:
    redis = ("redis-cli", "-h", world.server.ip(version), "-p", str(REDIS))
    assert world.client.run(*redis, "SET", "key", f"value {version}").stdout == "OK\n"
    assert world.client.run(*redis, "GET", "key").stdout == f"value {version}\n"
