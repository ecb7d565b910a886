"""A connection without a socket behaves as one with a socket, as far as its two protocols can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proxy.base.address import INTERNAL_CLIENT, InternalAddress
from proxy.connection.internal_transport import InternalTransport, transport_pair

SERVER = InternalAddress("listener", "endpoint")


class Recorder(asyncio.Protocol):
    """Notes what it hears; keeps its half open when the peer's ends."""

    def __init__(self, *, half_open: bool = True) -> None:
        self.heard: list[Any] = []
        self.half_open = half_open

    @property
    def data(self) -> bytes:
        return b"".join(one for one in self.heard if isinstance(one, bytes))

    @property
    def events(self) -> list[str]:
        return [one for one in self.heard if isinstance(one, str)]

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> bool:
        self.heard.append("eof")
        return self.half_open

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append("lost" if exc is None else repr(exc))


class Ends:
    """Both ends with a recorder each."""

    def __init__(self, capacity: int) -> None:
        loop = asyncio.get_running_loop()
        self.near, self.far = transport_pair(loop, capacity, INTERNAL_CLIENT, SERVER)
        self.client, self.server = Recorder(), Recorder()
        self.near.set_protocol(self.client)
        self.far.set_protocol(self.server)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def run(**arguments: Any) -> None:
        asyncio.run(test(**arguments))  # type: ignore[arg-type]

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@on_loop
async def test_bytes_arrive_in_order_and_not_before_the_next_turn() -> None:
    ends = Ends(1000)
    ends.near.write(b"a")
    ends.near.writelines([b"b", bytearray(b"c")])
    assert ends.server.heard == []
    await turns()
    assert ends.server.data == b"abc"
    ends.far.write(memoryview(b"reply"))
    await turns()
    assert ends.client.data == b"reply"


@on_loop
async def test_each_end_knows_the_addresses() -> None:
    ends = Ends(1000)
    assert ends.near.get_extra_info("sockname") is INTERNAL_CLIENT
    assert ends.near.get_extra_info("peername") is SERVER
    assert ends.far.get_extra_info("peername") is INTERNAL_CLIENT
    assert ends.near.get_extra_info("socket") is None


@on_loop
async def test_bytes_wait_for_a_protocol() -> None:
    near, far = transport_pair(asyncio.get_running_loop(), 1000, INTERNAL_CLIENT, SERVER)
    near.write(b"early")
    near.write_eof()
    await turns()
    server = Recorder()
    far.set_protocol(server)
    await turns()
    assert server.heard == [b"early", "eof"]


@on_loop
async def test_a_protocol_may_be_replaced_between_reads() -> None:
    ends = Ends(1000)
    ends.near.write(b"first")
    await turns()
    other = Recorder()
    ends.far.set_protocol(other)
    ends.near.write(b"second")
    await turns()
    assert (ends.server.data, other.data) == (b"first", b"second")


@on_loop
async def test_who_does_not_read_stops_the_writer() -> None:
    ends = Ends(10)
    ends.near.set_write_buffer_limits(high=20, low=5)
    ends.far.pause_reading()
    ends.near.write(b"x" * 30)
    assert ends.client.events == []
    assert ends.near.get_write_buffer_size() == 20
    ends.near.write(b"y")
    assert ends.client.events == ["pause"]
    await turns()
    assert ends.server.heard == []
    ends.far.resume_reading()
    await turns()
    assert ends.server.data == b"x" * 30 + b"y"
    assert ends.client.events == ["pause", "resume"]


@on_loop
async def test_large_writes_are_given_on_in_pieces() -> None:
    ends = Ends(1 << 20)
    for _ in range(10):
        ends.near.write(b"z" * 100_000)
    await turns(20)
    assert len(ends.server.data) == 1_000_000
    assert max(len(one) for one in ends.server.heard) <= 256 * 1024


@on_loop
async def test_reading_that_is_paused_in_the_middle_stops_at_once() -> None:
    ends = Ends(1 << 20)
    ends.server.data_received = lambda data: (  # type: ignore[method-assign, assignment]
        ends.server.heard.append(data),
        ends.far.pause_reading(),
    )
    ends.near.write(b"1" * (256 * 1024))
    ends.near.write(b"2")
    await turns()
    assert set(ends.server.data) == set(b"1")


@on_loop
async def test_each_direction_ends_on_its_own() -> None:
    ends = Ends(1000)
    ends.near.write(b"request")
    ends.near.write_eof()
    ends.near.write(b"too late")
    await turns()
    assert ends.server.heard == [b"request", "eof"]
    ends.far.write(b"response")
    ends.far.close()
    await turns()
    assert ends.server.events == ["eof", "lost"]
    assert ends.client.heard == [b"response", "eof"]
    assert not ends.near.is_closing()


@on_loop
async def test_an_end_that_does_not_keep_its_half_open_closes_on_the_others_end() -> None:
    ends = Ends(1000)
    ends.server.half_open = False
    ends.near.write_eof()
    await turns()
    assert ends.server.events == ["eof", "lost"]
    assert ends.client.events == ["eof"]


@on_loop
async def test_what_was_written_before_the_close_arrives() -> None:
    ends = Ends(4)
    ends.far.pause_reading()
    ends.near.write(b"0123456789")
    ends.near.close()
    await turns()
    assert ends.client.events == []
    ends.far.resume_reading()
    await turns()
    assert ends.server.heard == [b"0123456789", "eof"]
    assert ends.client.events == ["lost"]


@on_loop
async def test_abort_drops_what_did_not_fit() -> None:
    ends = Ends(4)
    ends.far.pause_reading()
    ends.near.write(b"0123")
    ends.near.write(b"4567")
    ends.near.abort()
    ends.near.abort()
    ends.far.resume_reading()
    await turns()
    assert ends.server.heard == [b"0123", "eof"]
    assert ends.client.events == ["lost"]


@on_loop
async def test_writing_to_an_end_that_has_gone_ends_the_connection() -> None:
    ends = Ends(1000)
    ends.near.close()
    await turns()
    ends.far.write(b"nobody hears this")
    await turns()
    assert ends.server.events == ["eof", "lost"]
    assert ends.client.heard == ["lost"]


@on_loop
async def test_closing_makes_room_for_a_writer_that_was_stopped() -> None:
    ends = Ends(0)
    ends.near.set_write_buffer_limits(high=0)
    ends.far.pause_reading()
    ends.near.write(b"x")
    ends.far.close()
    await turns()
    assert ends.client.events == ["pause", "resume", "eof"]


class Buffered(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(4)
        self.data = b""

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]


@on_loop
async def test_a_protocol_may_bring_its_own_buffer() -> None:
    ends = Ends(1000)
    buffered = Buffered()
    ends.far.set_protocol(buffered)
    ends.near.write(b"0123456789")
    await turns()
    assert buffered.data == b"0123456789"


@pytest.mark.parametrize(
    ("limits", "expected"), [({}, (16384, 65536)), ({"low": 10}, (10, 40)), ({"high": 8}, (2, 8))]
)
def test_limits_have_asyncios_defaults(limits: dict[str, int], expected: tuple[int, int]) -> None:
    async def limits_of() -> tuple[int, int]:
        transport: InternalTransport = Ends(1).near
        transport.set_write_buffer_limits(**limits)
        return transport.get_write_buffer_limits()

    assert asyncio.run(limits_of()) == expected
