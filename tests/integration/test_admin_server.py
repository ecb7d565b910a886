"""The admin server on real sockets."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from proxy.admin.server import AdminServer
from proxy.base.address import Address
from proxy.base.stats import StatTemplate, ZeroGroup
from tests.support.admin_state import FakeAdminState


async def _fetch(address: Address, path: str) -> bytes:
    if address.path:
        reader, writer = await asyncio.open_unix_connection(address.sockaddr)  # type: ignore[arg-type]
    else:
        reader, writer = await asyncio.open_connection(address.ip, address.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


@pytest.mark.parametrize("kind", ["ip", "path", "abstract"])
def test_it_listens_on_any_kind_of_address(kind: str, tmp_path: Path) -> None:
    address = {
        "ip": Address("127.0.0.1", 0),
        "path": Address(path=str(tmp_path / "admin.sock")),
        "abstract": Address(path=f"@{tmp_path}/admin"),
    }[kind]

    async def run() -> None:
        server = AdminServer(FakeAdminState())
        bound = await server.start(address)
        assert bound.port or bound.path
        assert (await _fetch(bound, "/ready")).endswith(b"LIVE\n")
        await server.close()
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            await _fetch(bound, "/ready")

    asyncio.run(run())


def test_closing_ends_open_connections_and_long_answers() -> None:
    async def run() -> None:
        state = FakeAdminState()
        template = StatTemplate(dict.fromkeys((f"c{i}" for i in range(100)), 0), {}, ())
        state.zero = [ZeroGroup(f"cluster.{i}.", template) for i in range(5000)]
        server = AdminServer(state)
        bound = await server.start(Address("127.0.0.1", 0))
        idle_reader, idle_writer = await asyncio.open_connection(bound.ip, bound.port)
        busy_reader, busy_writer = await asyncio.open_connection(bound.ip, bound.port)
        busy_writer.write(b"GET /stats HTTP/1.1\r\nHost: a\r\n\r\n")
        await busy_reader.readuntil(b"cluster.0.c0: 0")
        # Others are served while one client takes its time.
        assert (await _fetch(bound, "/ready")).endswith(b"LIVE\n")
        async with asyncio.timeout(5):
            await server.close()
            assert await idle_reader.read() == b""
        for writer in (idle_writer, busy_writer):
            writer.close()
        assert server.http_stats.downstream_cx_active == 0
        assert server.http_stats.downstream_rq_active == 0

    asyncio.run(run())
    gc.collect()


def test_an_address_in_use_is_an_error_and_leaves_nothing_open() -> None:
    async def run() -> None:
        first, second = AdminServer(FakeAdminState()), AdminServer(FakeAdminState())
        bound = await first.start(Address("127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            await second.start(bound)
        await second.close()
        await first.close()

    asyncio.run(run())
    gc.collect()
