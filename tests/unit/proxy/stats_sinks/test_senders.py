"""Peers that are away, and peers that do not read."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2

from proxy.base.address import Address
from proxy.stats_sinks import senders
from proxy.stats_sinks.senders import DatagramSender, StreamSender
from xds_client.api import Surroundings


def surroundings(port: int) -> Surroundings:
    message = cluster_pb2.Cluster(name="c")
    place = message.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    place.address, place.port_value = "127.0.0.1", port
    return Surroundings(
        node=base_pb2.Node(),
        ads_config=None,
        cluster=lambda name: message if name == "c" else None,
        read_response=lambda content, _path: content,
        draw=lambda: 0.0,
        clock=lambda: 0.0,
    )


def test_a_socket_that_is_away_is_told_of_once(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sender = DatagramSender(Address(path=str(tmp_path / "none")))
    for _ in range(5):
        sender.send(b"a:1|c")
    sender.close()
    assert len(caplog.records) == 1
    assert "stats cannot be sent" in caplog.text


def test_a_server_that_comes_back_is_connected_to_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> bytes:
        got: asyncio.Queue[bytes] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await got.put(await reader.readline())
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        sender = StreamSender("c", surroundings(port))
        assert not await sender.ready()
        assert not await sender.ready()
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        assert await sender.ready()
        sender.write(b"one\n")
        first = await got.get()
        second = b""
        async with asyncio.timeout(5):
            # The end of the connection may come after a line has gone into it.
            while not second:
                assert await sender.ready()
                sender.write(b"two\n")
                await asyncio.sleep(0.01)
                second = b"" if got.empty() else got.get_nowait()
        await sender.finish(1)
        server.close()
        return first + second

    assert asyncio.run(scenario()) == b"one\ntwo\n"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_server_that_does_not_read_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "MAX_BUFFERED", 1000)

    async def scenario() -> int:
        done = asyncio.Event()

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await done.wait()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1)
        sender = StreamSender("c", surroundings(server.sockets[0].getsockname()[1]))
        assert await sender.ready()
        for _ in range(100):
            sender.write(b"x" * 1_000_000)
            if sender.overflows:
                break
        assert sender.overflows == 1
        sender.write(b"dropped")
        assert await sender.ready()
        sender.close()
        done.set()
        server.close()
        return sender.overflows

    assert asyncio.run(scenario()) == 1


def test_a_cluster_that_has_gone_is_trouble_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> bool:
        return await StreamSender("other", surroundings(1)).ready()

    assert asyncio.run(scenario()) is False
    assert "not a static cluster" in caplog.text
