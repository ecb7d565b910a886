"""Network and listener filters whose configs a control plane brings (ECDS), beside Envoy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from envoy.config.core.v3 import extension_pb2
from envoy.config.listener.v3 import listener_pb2

from tests.support.configs import address, connection_manager, file_log, typed
from tests.support.configs import listener as listener_tree
from tests.support.mesh import ADS, parsed, route_config
from tests.support.mesh_sides import Side, agree, logged, push, same, same_stats, sides
from xds_client.resource_types import ResourceType

ECDS = ResourceType.EXTENSION_CONFIG
NETWORK = "envoy.extensions.filters.network"
LISTENER = "envoy.extensions.filters.listener"
DIRECT, RBAC, TCP = "direct_response.v3.Config", "rbac.v3.RBAC", "tcp_proxy.v3.TcpProxy"
HCM = "http_connection_manager.v3.HttpConnectionManager"
INSPECTOR = f"{LISTENER}.tls_inspector.v3.TlsInspector"
LOG = "%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %BYTES_SENT%"
COUNTS = ("config_reload", "config_fail", "config_conflict", "update_success", "update_rejected")


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
def both(request: pytest.FixtureRequest) -> Iterator[list[Side]]:
    yield from sides(request.param)


@pytest.fixture
def delta() -> Iterator[list[Side]]:
    yield from sides(True)


@pytest.fixture
def sotw() -> Iterator[list[Side]]:
    yield from sides(False)


def discovered(name: str, *types: str, **fields: Any) -> Any:
    urls = [f"type.googleapis.com/{one}" for one in types]
    return {"name": name, "config_discovery": {"config_source": ADS, "type_urls": urls, **fields}}


def network(name: str, *types: str, **fields: Any) -> Any:
    return discovered(name, *(f"{NETWORK}.{one}" for one in types), **fields)


def brought(name: str, type_name: str, **fields: Any) -> Any:
    tree = {"name": name, "typed_config": typed(type_name, **fields)}
    return parsed(extension_pb2.TypedExtensionConfig(), tree)


def says(name: str, text: str) -> Any:
    return brought(name, f"{NETWORK}.{DIRECT}", response={"inline_string": text})


def denies(name: str, *, port: int = 1) -> Any:
    """Lets only connections to that port pass."""
    policy = {"permissions": [{"destination_port": port}], "principals": [{"any": True}]}
    return brought(name, f"{NETWORK}.{RBAC}", stat_prefix=f"{name}.", rules={"policies": {"p": policy}})


def tree_of(side: Side, filters: list[Any], **fields: Any) -> Any:
    log = file_log(LOG)
    log["typed_config"]["path"] = str(side.proxy.values["access_log"])
    tree = {
        **listener_tree(filters, "l"),
        "address": address(side.proxy.ports["first"]),
        "access_log": [log],
        "stat_prefix": "l",
        **fields,
    }
    return parsed(listener_pb2.Listener(), tree)


def heard(side: Side, said: bytes = b"", source: str = "127.0.0.1") -> bytes | None:
    """What a connection brings until it ends, None while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", side.proxy.port), 5, (source, 0)) as connection:
            if said:
                connection.sendall(said)
            found = b""
            while data := connection.recv(65536):
                found += data
            return found
    except ConnectionRefusedError:
        return None
    except OSError:
        return b""


def listener_stats(sides: list[Side], *names: str) -> None:
    same(
        sides,
        lambda side: {name: side.proxy.stats("listener.l.").get(f"listener.l.{name}") for name in names},
    )


def test_a_terminal_filter_that_the_server_brings(both: list[Side]) -> None:
    push(both, lambda side: side.server.set(tree_of(side, [network("f", DIRECT)])))
    for side in both:
        side.server.wait_for(lambda side=side: "f" in side.server.subscribed(ECDS))
    push(both, lambda side: side.server.set(says("f", "one")))
    agree(both, heard, b"one")
    push(both, lambda side: side.server.set(says("f", "two")))
    agree(both, heard, b"two")
    push(both, lambda side: side.server.set(denies("f")))
    for side in both:
        side.server.wait_for(lambda side=side: side.server.nacks(ECDS))
    envoy, ours = (side.server.nacks(ECDS)[-1] for side in both)
    assert envoy in ours
    agree(both, heard, b"two")
    same_stats(both, "extension_config_discovery.network_filter.f.", *COUNTS)


def test_a_gate_that_changes_for_new_connections_only(both: list[Side]) -> None:
    manager = connection_manager({}, rds={"config_source": ADS, "route_config_name": "r"})
    manager["typed_config"].pop("route_config", None)

    def start(side: Side) -> None:
        port = side.proxy.ports["first"]
        side.serve(
            denies("f", port=port), route_config("r", "c"), tree_of(side, [network("f", RBAC), manager])
        )

    push(both, start)
    agree(both, lambda side: side.get(), 200)
    held = [socket.create_connection(("127.0.0.1", side.proxy.port), 5) for side in both]
    try:
        request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        for one in held:
            one.sendall(request)
            assert one.recv(65536).startswith(b"HTTP/1.1 200")
        push(both, lambda side: side.server.set(denies("f", port=1)))
        agree(both, lambda side: heard(side, request), b"")
        for one in held:
            one.sendall(request)
            assert one.recv(65536).startswith(b"HTTP/1.1 200")
        push(both, lambda side: side.server.set(denies("f", port=side.proxy.ports["first"])))
        agree(both, lambda side: side.get(), 200)
    finally:
        for one in held:
            one.close()
    same_stats(both, "extension_config_discovery.network_filter.f.", *COUNTS)


def test_a_connection_manager_that_the_server_brings(both: list[Side]) -> None:
    manager = connection_manager({}, rds={"config_source": ADS, "route_config_name": "r"})["typed_config"]
    manager.pop("route_config", None)
    manager.pop("@type")

    def start(side: Side) -> None:
        side.server.set(
            *side.origins(),
            brought("f", f"{NETWORK}.{HCM}", **manager),
            tree_of(side, [network("f", HCM)]),
        )

    push(both, start)
    for side in both:
        side.server.wait_for(lambda side=side: "r" in side.server.subscribed(ResourceType.ROUTE))
    push(both, lambda side: side.server.set(route_config("r", "c")))
    agree(both, lambda side: side.get(), 200)
    same_stats(both, "extension_config_discovery.network_filter.f.", *COUNTS)


def test_a_network_filter_that_does_not_come(sotw: list[Side]) -> None:
    source = {**ADS, "initial_fetch_timeout": "1s"}
    default = typed(f"{NETWORK}.{DIRECT}", response={"inline_string": "default"})

    def start(side: Side) -> None:
        side.serve(tree_of(side, [network("f", DIRECT, config_source=source)]))

    push(sotw, start)
    agree(sotw, heard, b"")
    listener_stats(sotw, "network_extension_config_missing", "downstream_cx_total", "downstream_cx_active")
    assert len(logged(sotw, 1)) == 1

    def fall_back(side: Side) -> None:
        options = {"default_config": default, "apply_default_config_without_warming": True}
        side.server.set(tree_of(side, [network("g", DIRECT, **options)]))

    push(sotw, fall_back)
    agree(sotw, heard, b"default")
    push(sotw, lambda side: side.server.set(says("g", "came")))
    agree(sotw, heard, b"came")
    push(sotw, lambda side: side.server.set(says("f", "late")))
    push(sotw, lambda side: side.server.remove(ECDS, "g"))
    agree(sotw, heard, b"came")


def test_a_config_that_the_server_takes_away(delta: list[Side]) -> None:
    default = typed(f"{NETWORK}.{DIRECT}", response={"inline_string": "default"})

    def start(side: Side) -> None:
        with_default = {"filters": [network("f", DIRECT, default_config=default)]}
        without = {
            "filters": [network("f", DIRECT)],
            "filter_chain_match": {
                "source_prefix_ranges": [{"address_prefix": "127.0.0.2", "prefix_len": 32}]
            },
        }
        side.serve(says("f", "came"), tree_of(side, [], filter_chains=[with_default, without]))

    def look(side: Side) -> tuple[bytes | None, bytes | None]:
        return heard(side), heard(side, source="127.0.0.2")

    push(delta, start)
    agree(delta, look, (b"came", b"came"))
    push(delta, lambda side: side.server.remove(ECDS, "f"))
    agree(delta, look, (b"default", b""))
    push(delta, lambda side: side.server.set(says("f", "again")))
    agree(delta, look, (b"again", b"again"))
    same_stats(delta, "extension_config_discovery.network_filter.f.", *COUNTS)


def test_types_that_nobody_knows_are_no_reason_to_refuse_a_listener(sotw: list[Side]) -> None:
    def start(side: Side) -> None:
        options = {"apply_default_config_without_warming": True}
        side.serve(tree_of(side, [network("f", "nonesuch.v3.Config", DIRECT, **options)]))

    push(sotw, start)
    agree(sotw, heard, b"")
    push(sotw, lambda side: side.server.set(says("f", "came")))
    agree(sotw, heard, b"came")


def test_a_listener_filter_that_the_server_brings(both: list[Side]) -> None:
    proxy_protocol, limit = (
        f"{LISTENER}.proxy_protocol.v3.ProxyProtocol",
        f"{LISTENER}.local_ratelimit.v3.LocalRateLimit",
    )
    greeting = {
        "name": "d",
        "typed_config": typed(f"{NETWORK}.{DIRECT}", response={"inline_string": "hello"}),
    }

    def start(side: Side) -> None:
        filters = [discovered("f", proxy_protocol, limit)]
        side.serve(brought("f", proxy_protocol), tree_of(side, [greeting], listener_filters=filters))

    push(both, start)
    line = b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n"
    agree(both, lambda side: heard(side, line), b"hello")
    agree(both, lambda side: heard(side, b"something else entirely\r\n"), b"")
    bucket = {"max_tokens": 1, "fill_interval": "3600s"}
    push(both, lambda side: side.server.set(brought("f", limit, stat_prefix="x", token_bucket=bucket)))
    for side in both:
        assert side.server.wait_for(lambda side=side: side.server.acked(ECDS))
    agree(both, heard, b"hello")
    agree(both, heard, b"")
    same_stats(both, "extension_config_discovery.tcp_listener_filter.f.", *COUNTS)


def test_a_listener_filter_that_does_not_come(sotw: list[Side]) -> None:
    source = {**ADS, "initial_fetch_timeout": "1s"}
    greeting = {
        "name": "d",
        "typed_config": typed(f"{NETWORK}.{DIRECT}", response={"inline_string": "hello"}),
    }

    def start(side: Side) -> None:
        filters = [discovered("f", INSPECTOR, config_source=source)]
        side.serve(tree_of(side, [greeting], listener_filters=filters))

    push(sotw, start)
    agree(sotw, heard, b"")
    listener_stats(sotw, "extension_config_missing", "downstream_cx_total", "downstream_pre_cx_active")
    assert len(logged(sotw, 1)) == 1
    push(sotw, lambda side: side.server.set(brought("f", INSPECTOR)))
    agree(sotw, lambda side: heard(side, b"GET / HTTP/1.1\r\n\r\n"), b"hello")


@pytest.mark.parametrize(
    ("filters", "listener_filters"),
    [
        ([], [discovered("f", f"{LISTENER}.nonesuch.v3.Config")]),
        ([network("f", RBAC, default_config=typed(f"{NETWORK}.{RBAC}", stat_prefix="r"))], []),
        (
            [
                network("f", DIRECT, default_config=typed(f"{NETWORK}.{DIRECT}")),
                {"name": "d", "typed_config": typed(f"{NETWORK}.{DIRECT}")},
            ],
            [],
        ),
        ([], [discovered("f", INSPECTOR, apply_default_config_without_warming=True)]),
        ([network("f", RBAC, default_config=typed(f"{NETWORK}.{DIRECT}"))], []),
        ([], [discovered("f", f"{NETWORK}.{RBAC}")]),
        ([{"name": "d", "typed_config": typed(f"{NETWORK}.{DIRECT}")}, network("f", RBAC, DIRECT)], []),
    ],
)
def test_what_is_refused_with_the_listener(
    sotw: list[Side], filters: list[Any], listener_filters: list[Any]
) -> None:
    push(sotw, lambda side: side.serve())
    push(sotw, lambda side: side.server.set(tree_of(side, filters, listener_filters=listener_filters)))
    for side in sotw:
        side.server.wait_for(lambda side=side: side.server.nacks(ResourceType.LISTENER), seconds=10)
    envoy, ours = (side.server.nacks(ResourceType.LISTENER)[-1] for side in sotw)
    assert envoy.partition("Error: ")[2].strip().rstrip(".") in ours
