"""Which listeners run in a worker."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from proxy.downstream.listener import Listener
from proxy.downstream.listener_manager import ListenerManager
from tests.support.listeners import chain, compiled, listener, services
from tests.support.memory_transport import MemoryTransport


class _Server:
    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.closed = False

    def close(self) -> None:
        self.closed = True


class _Loop:
    """Notes what is served instead of serving it."""

    def __init__(self) -> None:
        self.servers: list[_Server] = []

    def time(self) -> float:
        return 0.0

    async def create_server(self, factory: Any, *, sock: Any, backlog: int) -> _Server:
        del sock, backlog
        self.servers.append(_Server(factory))
        return self.servers[-1]


class _Socket:
    def getsockname(self) -> tuple[str, int]:
        return ("10.0.0.1", 8000)

    def close(self) -> None:
        pass

    def dup(self) -> None:
        raise OSError("out of descriptors")


class Worker:
    def __init__(self) -> None:
        self.loop = _Loop()
        self.manager = ListenerManager(services(loop=cast("Any", self.loop)))

    def add(self, **fields: Any) -> Listener:
        sockets = [cast("socket.socket", _Socket())]
        return asyncio.run(self.manager.add(compiled(listener(**fields)), sockets))

    def connect(self, number: int = -1) -> MemoryTransport:
        transport = MemoryTransport()
        transport.set_protocol(self.loop.servers[number].factory())
        transport.protocol.connection_made(transport)
        return transport


def test_a_stopped_listener_takes_no_more_and_keeps_what_it_has() -> None:
    worker = Worker()
    added = worker.add()
    connection = worker.connect()
    worker.manager.stop()
    assert worker.loop.servers[0].closed
    assert not connection.closed
    assert not added.drain_state.draining
    assert worker.manager.active_connections == 1


def test_only_inbound_listeners_may_be_stopped() -> None:
    worker = Worker()
    worker.add(name="in", traffic_direction="INBOUND")
    worker.add(name="out", traffic_direction="OUTBOUND")
    worker.manager.stop(inbound_only=True)
    assert [server.closed for server in worker.loop.servers] == [True, False]


def test_draining_asks_the_connections_of_one_listener_to_end() -> None:
    worker = Worker()
    first, second = worker.add(name="first"), worker.add(name="second")
    worker.manager.drain("first")
    assert (first.drain_state.draining, second.drain_state.draining) == (True, False)
    assert [server.closed for server in worker.loop.servers] == [True, False]


def test_a_failed_health_check_does_not_drain_modify_only_listeners() -> None:
    worker = Worker()
    usual, modify_only = worker.add(name="usual"), worker.add(name="other", drain_type="MODIFY_ONLY")
    worker.manager.announce_drain()
    assert (usual.drain_state.draining, modify_only.drain_state.draining) == (True, False)
    assert not worker.loop.servers[0].closed
    worker.manager.announce_drain(False)
    assert not usual.drain_state.draining


def test_a_replaced_listener_drains_while_its_successor_accepts() -> None:
    worker = Worker()
    old = worker.add()
    connection = worker.connect()
    new = worker.add(continue_on_listener_filters_timeout=True)
    assert (old.drain_state.draining, new.drain_state.draining) == (True, False)
    assert [server.closed for server in worker.loop.servers] == [True, False]
    assert worker.manager.active_connections == 1
    worker.connect()
    assert worker.manager.active_connections == 2
    worker.manager.close_drained()
    assert connection.aborted


def test_only_connections_of_chains_that_are_gone_are_drained() -> None:
    worker = Worker()
    kept = chain(filter_chain_match={"destination_port": 81})
    listening = worker.add(filter_chains=[kept], default_filter_chain=chain())
    other, usual = listening._chains
    connection = worker.connect()
    assert worker.add(filter_chains=[kept], default_filter_chain=chain(name="new")) is listening
    assert [server.closed for server in worker.loop.servers] == [False]
    assert (other.drain.draining, usual.drain.draining) == (False, True)
    assert listening._chains[0] is other
    listening.close_connections(other)
    assert not connection.aborted
    listening.close_connections(usual)
    assert connection.aborted


def test_a_removed_listener_ends_with_its_drain_time() -> None:
    worker = Worker()
    worker.add()
    connection = worker.connect()
    assert worker.manager.remove("ingress") is not None
    assert worker.manager.remove("ingress") is None
    assert not connection.aborted
    worker.manager.close_drained()
    assert connection.aborted


def test_a_listener_without_a_port_serves_nothing() -> None:
    worker = Worker()
    worker.add(bind_to_port=False)
    assert not worker.loop.servers


def test_connection_ids_are_unique_in_the_worker() -> None:
    worker = Worker()
    first, second = worker.add(name="first"), worker.add(name="second")
    worker.connect(0)
    worker.connect(1)
    ids = [key for one in (first, second) for acceptor in one._acceptors for key in acceptor._transports]
    assert ids == [1, 2]
