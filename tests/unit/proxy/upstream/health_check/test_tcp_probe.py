"""TCP checks of one host, on connections that only remember what was done with them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.base.address import Address
from proxy.upstream.health_check import tcp_probe
from proxy.upstream.health_check.config import TcpCheck
from proxy.upstream.health_check.http_probe import BROKEN, Result
from proxy.upstream.health_check.tcp_probe import TcpProber
from proxy.upstream.host import Host
from proxy.upstream.pool.connect import ConnectError
from tests.support.cluster_messages import compiled, endpoint
from tests.support.memory_transport import MemoryTransport

PING = TcpCheck(b"ping", (b"po", b"ng"))


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, check: TcpCheck, *, reuse: bool = True) -> None:
        self.check, self.reuse = check, reuse
        self.made: list[tuple[MemoryTransport, Any]] = []
        self.heard: list[Result] = []
        self.lost = 0
        self.refuses = False
        monkeypatch.setattr(tcp_probe, "open_connection", self._open)
        self.prober: TcpProber

    def run(self, *steps: Any) -> None:
        async def play() -> None:
            loop = asyncio.get_running_loop()
            self.prober = TcpProber(
                loop,
                self.check,
                Host(Address("10.0.0.1", 1)),
                compiled(endpoint()),
                None,
                self._lost,
                reuse=self.reuse,
            )
            for step in steps:
                step()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            self.prober.close()
            await asyncio.sleep(0)

        asyncio.run(play())

    def start(self) -> None:
        self.prober.start(self.heard.append)

    def say(self, data: bytes) -> Any:
        return lambda: self.made[-1][1].data_received(data)

    def end(self) -> None:
        self.made[-1][1].connection_lost(None)

    def _lost(self) -> None:
        self.lost += 1

    async def _open(self, _loop: Any, _host: Any, _config: Any, protocol: Any, _tls: Any) -> None:
        if self.refuses:
            raise ConnectError("refused")
        transport = MemoryTransport()
        self.made.append((transport, protocol))
        protocol.connection_made(transport)


def test_with_nothing_to_receive_a_connection_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, TcpCheck(b"unsent"))
    world.run(world.start, world.start)
    assert world.heard == [Result(), Result()]
    assert [(bytes(transport.written), transport.aborted) for transport, _ in world.made] == [(b"", True)] * 2


def test_what_is_to_come_may_come_in_pieces_and_the_connection_is_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, PING)
    world.run(world.start, world.say(b"po"), world.say(b"-ng"), world.start, world.say(b"pong"))
    assert world.heard == [Result(), Result()]
    ((transport, _),) = world.made
    assert bytes(transport.written) == b"pingping"


def test_a_connection_may_be_for_one_check_only(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, PING, reuse=False)
    world.run(world.start, world.say(b"pong"), world.start, world.say(b"pong"))
    assert world.heard == [Result(), Result()]
    assert [transport.aborted for transport, _ in world.made] == [True, True]


def test_a_refused_or_broken_connection_is_a_network_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, PING)
    world.run(world.start, world.end)
    assert world.heard == [BROKEN]
    world = World(monkeypatch, PING)
    world.refuses = True
    world.run(world.start)
    assert world.heard == [BROKEN]


def test_an_end_between_two_checks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, PING)
    world.run(world.start, world.say(b"pong"), world.end)
    assert (world.heard, world.lost) == ([Result()], 1)


def test_after_giving_up_nothing_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, PING)

    def give_up() -> None:
        world.prober.cancel()

    world.run(world.start, give_up, world.say(b"pong"), world.end)
    assert (world.heard, world.lost) == ([], 0)


def test_a_host_that_talks_for_ever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, PING)
    world.run(world.start, world.say(bytes(2 * 1024 * 1024)))
    assert world.heard == [BROKEN]
    assert world.made[0][0].aborted
