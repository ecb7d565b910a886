"""A live UDP proxy: its sessions, on sockets that only remember what was done with them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from envoy.extensions.filters.udp.udp_proxy.v3.udp_proxy_pb2 import UdpProxyConfig as Message
from google.protobuf.json_format import ParseDict

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.config.context import CompileContext
from proxy.udp_proxy import session as session_module
from proxy.udp_proxy.filter import FACTORY, UdpProxyFilter
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Health, Host
from tests.support import cluster_messages
from tests.support.cluster_messages import endpoint
from tests.support.listeners import numbers, services
from tests.unit.proxy.matching.test_tree import to

CLIENT = ("192.0.2.1", 4000)
OTHER = ("192.0.2.2", 4000)


class FakeSocket:
    """A socket to a host. `answers` are read in order; an `OSError` among them, or in `refusals`, is raised."""

    def __init__(self, _family: int, _kind: int) -> None:
        self.peer: Any = None
        self.bound: Any = None
        self.transparent = False
        self.sent: list[bytes] = []
        self.answers: list[bytes | OSError] = []
        self.refuses: OSError | None = None
        self.closed = False

    def bind(self, address: Any) -> None:
        self.bound = address

    def connect(self, address: Any) -> None:
        self.peer = address

    def send(self, data: bytes) -> None:
        if self.refuses:
            raise self.refuses
        self.sent.append(data)

    def recv(self, size: int) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer[:size]

    def getsockname(self) -> tuple[str, int]:
        return ("10.0.0.99", 50000)

    def fileno(self) -> int:
        return id(self)

    def close(self) -> None:
        self.closed = True


class End:
    """Where clients send to; `sent` is what they were sent."""

    def __init__(self) -> None:
        self.address = Address("10.0.0.1", 53)
        self.sent: list[tuple[bytes, Any]] = []
        self.refuses = False

    def send(self, data: bytes, peer: Any) -> None:
        if self.refuses:
            raise OSError
        self.sent.append((data, peer))


class Poll:
    """Takes the place of the `SocketPoll`."""

    def __init__(self, _loop: Any) -> None:
        self.owners: dict[int, Any] = {}

    def add(self, descriptor: int, owner: Any) -> None:
        self.owners[descriptor] = owner

    def remove(self, descriptor: int) -> None:
        del self.owners[descriptor]

    def close(self) -> None:
        assert not self.owners


class World:
    """A filter with a cluster `c` of two hosts, and what happened to its sockets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sockets: list[FakeSocket] = []
        self.end = End()
        self.services = services()
        self.clock: Any = self.services.timers
        self.clusters: dict[str, Cluster] = {}
        self.services.clusters = cast("Any", SimpleNamespace(get=self.clusters.get))
        self.fails: OSError | None = None
        self._patch = monkeypatch
        module = SimpleNamespace(**{name: getattr(socket, name) for name in ("SOCK_DGRAM", "SOCK_NONBLOCK")})
        module.socket = self._open
        monkeypatch.setattr(session_module, "socket", module)
        monkeypatch.setattr("proxy.udp_proxy.filter.SocketPoll", Poll)
        monkeypatch.setattr(session_module, "make_transparent", self._make_transparent)
        monkeypatch.setattr("proxy.udp_proxy.config.make_transparent", lambda one: None)
        self.add_cluster()

    def _open(self, family: int, kind: int) -> FakeSocket:
        if self.fails:
            raise self.fails
        self.sockets.append(FakeSocket(family, kind))
        return self.sockets[-1]

    def _make_transparent(self, one: FakeSocket) -> None:
        one.transparent = True

    def add_cluster(self, **fields: Any) -> Cluster:
        config = cluster_messages.compiled(endpoint("10.1.0.1", 53), endpoint("10.1.0.2", 53), **fields)
        draws = iter(range(10**6))
        removed = lambda host: [pool.drain() for pool in host.pools.values()]  # noqa: E731
        made = Cluster(config, Runtime(), draws.__next__, on_host_removed=removed)
        self.clusters["c"] = made
        return made

    def start(self, **fields: Any) -> UdpProxyFilter:
        context = CompileContext()
        fields = {"stat_prefix": "u", **({} if "matcher" in fields else {"cluster": "c"}), **fields}
        config = FACTORY.compile(ParseDict(fields, Message()), "udp", context)
        assert not context.problems
        self.filter = cast("UdpProxyFilter", FACTORY.create(config, self.services))
        return self.filter

    def say(self, data: bytes, client: Any = CLIENT) -> None:
        self.filter.on_datagram(self.end, client, data, self.clock.now)

    def answer(self, number: int, data: bytes | OSError) -> None:
        one = self.sockets[number]
        one.answers.append(data)
        cast("Poll", self.filter.poll).owners[one.fileno()].on_readable(self.clock.now)

    @property
    def hosts(self) -> tuple[Host, ...]:
        return self.clusters["c"].hosts


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(monkeypatch)
    yield made
    made.filter.close()
    assert all(one.closed for one in made.sockets)
    assert numbers(made.services).get("udp.u.downstream_sess_active", 0) == 0
    assert not any(pool.in_use for host in made.hosts for pool in host.pools.values())


def test_a_client_has_one_session_and_hears_the_answers(world: World) -> None:
    world.start()
    world.say(b"one")
    world.say(b"")
    world.say(b"else", OTHER)
    first, second = world.sockets
    assert (first.sent, second.sent) == ([b"one", b""], [b"else"])
    assert first.peer != second.peer
    world.answer(1, b"answer")
    assert world.end.sent == [(b"answer", OTHER)]
    assert numbers(world.services) | {"udp.u.downstream_sess_rx_bytes": 7} == numbers(world.services)


def test_a_session_ends_when_nobody_speaks(world: World) -> None:
    world.start(idle_timeout="10s")
    world.say(b"one")
    world.clock.advance(6)
    world.answer(0, b"answer")
    world.clock.advance(6)
    assert not world.sockets[0].closed
    world.clock.advance(6)
    assert world.sockets[0].closed
    world.say(b"two")
    assert len(world.sockets) == 2
    found = numbers(world.services)
    assert (found["udp.u.idle_timeout"], found["udp.u.downstream_sess_total"]) == (1, 2)


def test_the_circuit_breaker_bounds_sessions(world: World) -> None:
    cluster = world.add_cluster(circuit_breakers={"thresholds": [{"max_connections": 1}]})
    world.start()
    world.say(b"one")
    world.say(b"two", OTHER)
    assert len(world.sockets) == 1
    assert cluster.stats.upstream_cx_overflow == 1
    assert numbers(world.services)["udp.u.downstream_sess_total"] == 2


def test_the_sessions_of_a_host_end_when_it_leaves(world: World) -> None:
    world.start()
    world.say(b"one")
    world.say(b"two", OTHER)
    gone = world.sockets[0]
    left = [host for host in world.hosts if host.address.sockaddr != gone.peer]
    world.clusters["c"].replace_hosts(left)
    assert [one.closed for one in world.sockets] == [True, False]
    world.say(b"again")
    assert world.sockets[2].peer == left[0].address.sockaddr


def test_a_session_moves_from_a_host_that_is_unhealthy_now_if_another_is_there(world: World) -> None:
    world.start()
    world.say(b"one")
    host = next(host for host in world.hosts if host.address.sockaddr == world.sockets[0].peer)
    host.health = Health.UNHEALTHY
    world.clusters["c"].replace_hosts(world.hosts)
    world.say(b"two")
    assert world.sockets[0].closed
    assert world.sockets[1].sent == [b"two"]
    for other in world.hosts:
        other.health = Health.UNHEALTHY
    world.say(b"three")
    assert world.sockets[1].sent == [b"two", b"three"]


def test_a_cluster_that_is_replaced_gets_new_sessions(world: World) -> None:
    world.start()
    world.say(b"one")
    old = world.clusters["c"]
    world.add_cluster()
    old.close()
    assert world.sockets[0].closed
    world.say(b"two")
    assert world.sockets[1].sent == [b"two"]


def test_each_datagram_may_have_a_host_of_its_own(world: World) -> None:
    world.start(use_per_packet_load_balancing=True)
    for number in range(4):
        world.say(b"%d" % number)
    assert [len(one.sent) for one in world.sockets] == [2, 2]


def test_no_route_and_no_cluster_are_the_same(world: World) -> None:
    world.start(matcher={"on_no_match": to("nowhere")})
    world.say(b"one")
    assert numbers(world.services) == {"udp.u.downstream_sess_no_route": 1}
    world.start(matcher={})
    world.say(b"one")
    assert numbers(world.services) == {"udp.u.downstream_sess_no_route": 2}


def test_failures_are_counted_where_they_happen(world: World) -> None:
    world.start(upstream_socket_config={"max_rx_datagram_size": 3, "prefer_gro": False})
    world.say(b"one")
    world.sockets[0].refuses = ConnectionRefusedError()
    world.say(b"two")
    world.answer(0, ConnectionRefusedError())
    world.answer(0, BlockingIOError())
    world.answer(0, b"long")
    world.end.refuses = True
    world.answer(0, b"abc")
    world.filter.on_receive_error()
    found = numbers(world.services)
    assert {name: value for name, value in found.items() if "error" in name or "dropped" in name} == {
        "cluster.c.udp.sess_tx_errors": 1,
        "cluster.c.udp.sess_rx_errors": 1,
        "cluster.c.udp.sess_rx_datagrams_dropped": 1,
        "udp.u.downstream_sess_tx_errors": 1,
        "udp.u.downstream_sess_rx_errors": 1,
    }


def test_a_session_without_a_socket_is_none(world: World) -> None:
    world.start()
    world.fails = OSError("too many open files")
    world.say(b"one")
    world.fails = None
    world.say(b"two")
    assert [one.sent for one in world.sockets] == [[b"two"]]
    assert numbers(world.services)["udp.u.downstream_sess_total"] == 1


def test_hosts_may_see_the_client_s_address(world: World) -> None:
    world.start(use_original_src_ip=True)
    world.say(b"one")
    assert world.sockets[0].transparent
    assert world.sockets[0].bound == (CLIENT[0], 0)


def test_a_client_is_known_by_where_it_sends_to_as_well(world: World) -> None:
    world.start()
    world.say(b"one")
    world.end = End()
    world.say(b"two")
    assert len(world.sockets) == 2
