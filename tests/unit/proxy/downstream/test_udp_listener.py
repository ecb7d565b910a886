"""A UDP listener: its config, and the live one on sockets that are fed by the test."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

import pytest
from msgspec.structs import replace

from proxy.base.address import Address
from proxy.connection.sockets import ListenAddress
from proxy.downstream import udp_listener as module
from proxy.downstream.listener_manager import ListenerManager
from tests.support.listeners import address, chain, compile_checked, compiled, numbers, services
from tests.unit.proxy.matching.test_tree import typed

Json = dict[str, Any]
PEER = ("192.0.2.1", 4000)


def proxy(**fields: Any) -> Json:
    return typed(
        "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig", stat_prefix="u", cluster="c", **fields
    )


def listener(*filters: Json, **fields: Any) -> Json:
    return {
        "name": "dns",
        "address": address("10.0.0.1", 53, protocol="UDP"),
        "listener_filters": list(filters or (proxy(),)),
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"filter_chains": [chain()]},
            "listener.filter_chains: 1 filter chain(s) specified for connection-less",
        ),
        ({"bind_to_port": False}, "listener.bind_to_port: bind_to_port: false is not supported"),
        (
            {"deprecated_v1": {"bind_to_port": False}},
            "listener.deprecated_v1.bind_to_port: bind_to_port: false",
        ),
        ({"enable_reuse_port": False}, "listener.enable_reuse_port: UDP listeners need SO_REUSEPORT"),
        (
            {"listener_filters": [typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector")]},
            "typed_config: envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector is not a UDP",
        ),
        (
            {"listener_filters": [{**proxy(), "filter_disabled": {"any_match": True}}]},
            "listener.listener_filters[0].filter_disabled: is not supported",
        ),
        ({"listener_filters": [{"name": "x", "config_discovery": {}}]}, "config_discovery: is not supported"),
    ],
)
def test_what_a_listener_for_datagrams_cannot_be(fields: Json, problem: str) -> None:
    assert problem in "\n".join(compile_checked(listener(**fields))[1])


def test_limits() -> None:
    def limit(**fields: Any) -> int:
        sizes = {"udp_listener_config": {"downstream_socket_config": fields}}
        size: int = compiled(listener(**sizes)).udp.max_datagram_size
        return size

    assert limit() == 1500
    assert limit(max_rx_datagram_size=9000) == 9000
    assert limit(prefer_gro=True) == 24000


class FakeSocket:
    """`waiting` are the results of `recvmsg`; `recvfrom` gives their data."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, bytes] | OSError] = []
        self.options: list[tuple[int, int]] = []
        self.sent: list[tuple[Any, ...]] = []
        self.dropped = 0
        self.closed = False

    def getsockname(self) -> tuple[str, int]:
        return ("10.0.0.1", 53)

    def fileno(self) -> int:
        return 7

    def setsockopt(self, level: int, name: int, _value: int) -> None:
        self.options.append((level, name))

    def _next(self) -> tuple[bytes, bytes]:
        if not self.waiting:
            raise BlockingIOError
        found = self.waiting.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        return self._next()[0][:size], PEER

    def recvmsg(self, size: int, _space: int) -> tuple[bytes, list[Any], int, Any]:
        data, local = self._next()
        ancillary = [(socket.IPPROTO_IP, 8, struct.pack("=I4s4s", 1, b"\0" * 4, local))] if local else []
        return data[:size], ancillary, socket.MSG_TRUNC if len(data) > size else 0, PEER

    def sendto(self, data: bytes, peer: Any) -> None:
        self.sent.append((data, peer))

    def sendmsg(self, data: list[bytes], ancillary: list[Any], _flags: int, peer: Any) -> None:
        self.sent.append((*data, ancillary[0][2][4:8], peer))

    def close(self) -> None:
        self.closed = True


class Taker:
    """The filter: keeps what it is given, and answers."""

    def __init__(self) -> None:
        self.taken: list[tuple[Address, bytes]] = []
        self.ends: set[Any] = set()
        self.errors = 0
        self.closed = False

    def on_datagram(self, end: Any, peer: Any, data: bytes, now: float) -> None:
        assert now == 1000.0
        self.taken.append((end.address, data))
        self.ends.add(end)
        end.send(b"re:" + data, peer)

    def on_receive_error(self) -> None:
        self.errors += 1

    def close(self) -> None:
        self.closed = True


class Loop:
    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}

    def time(self) -> float:
        return 1000.0

    def add_reader(self, descriptor: int, call: Callable[[], None]) -> None:
        self.readers[descriptor] = call

    def remove_reader(self, descriptor: int) -> None:
        del self.readers[descriptor]


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.socket = FakeSocket()
        self.taker = Taker()
        self.loop = Loop()
        self.services = services(loop=cast("Any", self.loop))
        self.manager = ListenerManager(self.services)
        monkeypatch.setattr(module, "datagrams_dropped", lambda one: one.dropped)

    def start(self, ip: str = "10.0.0.1", **fields: Any) -> Any:
        config = compiled(listener(address=address(ip, 53, protocol="UDP"), **fields))
        config = self._with_taker(config)
        return asyncio.run(self.manager.add(config, [cast("socket.socket", self.socket)]))

    def _with_taker(self, config: Any) -> Any:
        factory, own = config.udp.filter
        replaced = type(factory)(factory.name, factory.type_name, factory.compile, lambda _c, _s: self.taker)
        return replace(config, udp=replace(config.udp, filter=(replaced, own)))

    def feed(self, *waiting: bytes | OSError | tuple[bytes, bytes]) -> None:
        self.socket.waiting += [(one, b"") if isinstance(one, bytes) else one for one in waiting]
        self.loop.readers[7]()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_every_datagram_reaches_the_filter_and_answers_leave(world: World) -> None:
    world.start()
    world.feed(b"one", b"", b"x" * 1501, b"y" * 1500)
    assert [data for _, data in world.taker.taken] == [b"one", b"", b"y" * 1500]
    assert world.socket.sent[0] == (b"re:one", PEER)
    assert numbers(world.services) == {"listener.10.0.0.1_53.udp.downstream_rx_datagram_dropped": 1}


def test_a_wildcard_socket_tells_where_a_datagram_went_and_answers_from_there(world: World) -> None:
    world.start("0.0.0.0")
    there = bytes([10, 0, 0, 9])
    world.feed((b"one", there), (b"two", there), (b"x" * 1501, there), b"early")
    assert world.socket.options == [(socket.IPPROTO_IP, 8)]
    assert [(str(where), data) for where, data in world.taker.taken] == [
        ("10.0.0.9:53", b"one"),
        ("10.0.0.9:53", b"two"),
        ("10.0.0.1:53", b"early"),
    ]
    assert len(world.taker.ends) == 2
    assert world.socket.sent[0] == (b"re:one", there, PEER)
    assert world.socket.sent[2] == (b"re:early", PEER)


def test_errors_are_told(world: World) -> None:
    world.start()
    world.feed(OSError("no memory"))
    assert world.taker.errors == 1


def test_what_the_kernel_dropped_is_counted_and_stays_counted(world: World) -> None:
    world.socket.dropped = 2  # before this worker had the socket
    made = world.start()
    world.socket.dropped = 7
    name = "listener.10.0.0.1_53.udp.downstream_rx_datagram_dropped"
    assert numbers(world.services) == {name: 5}
    made.stop()
    assert numbers(world.services) == {name: 5}


def test_a_listener_that_is_drained_is_gone_at_once(world: World) -> None:
    made = world.start()
    world.manager.drain()
    assert world.socket.closed
    assert world.taker.closed
    assert not world.loop.readers
    assert made.active == 0
    assert "stopped" in repr(made)
    made.refuse()  # once more does no harm


def test_one_that_takes_over_the_name_replaces_the_first(world: World) -> None:
    world.start()
    first, world.socket, world.taker = world.taker, FakeSocket(), Taker()
    world.socket.fileno = lambda: 8  # type: ignore[method-assign]
    world.start()
    assert first.closed
    assert list(world.loop.readers) == [8]
    assert isinstance(world.manager.listeners["dns"].config.addresses[0], ListenAddress)
