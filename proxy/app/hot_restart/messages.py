"""What two processes say to each other in a hot restart: one JSON object a packet, of at most 64 KiB.

The new process asks, the old one answers; both sides belong to one user. Descriptors travel beside the packet that
names them (SCM_RIGHTS). Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from proxy.app.command_line import HOT_RESTART_VERSION
from proxy.base.errors import HotRestartError

MAX_PACKET_BYTES: Final = 64 * 1024
#: Below the 253 that the kernel takes at once.
MAX_DESCRIPTORS: Final = 200
# Room for the object around a slice of names.
_SLICE_BYTES: Final = 48 * 1024
_MAX_NUMBER: Final = 2**63 - 1
VERSION: Final = HOT_RESTART_VERSION

_Count = Annotated[int, Meta(ge=0, le=_MAX_NUMBER)]
_Text = Annotated[str, Meta(max_length=4096)]


class Hello(Struct, tag=True, frozen=True):
    """New → old, first: `epoch` is its own."""

    version: _Text
    epoch: _Count


class Welcome(Struct, tag=True, frozen=True):
    """The answer: when epoch 0 began (Unix seconds), and the number of processes so far."""

    started_at: float
    generation: _Count


class Refused(Struct, tag=True, frozen=True):
    """The other answer; the connection ends."""

    reason: _Text


class TakeSockets(Struct, tag=True, frozen=True):
    """New → old: pass all listening sockets."""


class Sockets(Struct, tag=True, frozen=True):
    """The answer, a packet for each address (or more for one with many): its sockets are beside it.

    `address` is "" in the last, which passes nothing.
    """

    address: _Text
    count: _Count = 0


class TakeAdmin(Struct, tag=True, frozen=True):
    """New → old: stop the admin server and pass its socket."""


class Admin(Struct, tag=True, frozen=True):
    """The answer; `address` is "" and nothing beside it if there is no admin server."""

    address: _Text


class TakeStats(Struct, tag=True, frozen=True):
    """New → old: tell all numbers."""


class Stats(Struct, tag=True, frozen=True):
    """The answer, in as many packets as it takes, the last with `connections`: how many are open.

    The old process tells them unasked when it ends.
    """

    counters: dict[_Text, _Count]
    gauges: dict[_Text, int]
    connections: _Count | None = None


class Taken(Struct, tag=True, frozen=True):
    """New → old: it accepts on the sockets of these addresses."""

    addresses: list[_Text]


class Drain(Struct, tag=True, frozen=True):
    """New → old: accept no longer, except, if `keep`, where the new one has not `Taken` the sockets so far.

    The old process ends with its last connection, and at most `seconds` from now.
    """

    seconds: _Count
    keep: bool


class Hurry(Struct, tag=True, frozen=True):
    """New → old, which drains: end within your own drain time, as the new one has a successor itself."""


Request: TypeAlias = Hello | TakeSockets | TakeAdmin | TakeStats | Taken | Drain | Hurry
Reply: TypeAlias = Welcome | Refused | Sockets | Admin | Stats
_Message = TypeVar("_Message")
_ENCODER: Final = msgspec.json.Encoder()
_REQUESTS: Final[msgspec.json.Decoder[Request]] = msgspec.json.Decoder(Request)
_REPLIES: Final[msgspec.json.Decoder[Reply]] = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """One packet."""
    packet = _ENCODER.encode(message)
    if len(packet) > MAX_PACKET_BYTES:
        raise HotRestartError(f"a {type(message).__name__} of {len(packet)} bytes")
    return packet


def decode_request(packet: bytes) -> Request:
    """What the new process says. Raises `HotRestartError`."""
    return _decode(_REQUESTS, packet)


def decode_reply(packet: bytes) -> Reply:
    """What the old process says. Raises `HotRestartError`."""
    return _decode(_REPLIES, packet)


def _decode(decoder: msgspec.json.Decoder[_Message], packet: bytes) -> _Message:
    if len(packet) > MAX_PACKET_BYTES:
        raise HotRestartError("a packet that is too long")
    try:
        message: _Message = decoder.decode(packet)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HotRestartError(str(error)) from error
    return message


def stats_packets(
    counters: Mapping[str, int], gauges: Mapping[str, int], connections: int
) -> Iterator[Stats]:
    """All numbers in packets of bounded size; names that no packet could hold are left out."""
    for part in _sliced(counters):
        yield Stats(part, {})
    for part in _sliced(gauges):
        yield Stats({}, part)
    yield Stats({}, {}, connections)


def taken_packets(addresses: Iterable[str]) -> Iterator[Taken]:
    """`addresses` in packets of bounded size."""
    for part in _sliced(dict.fromkeys(addresses, 0)):
        yield Taken(list(part))


def _sliced(values: Mapping[str, int]) -> Iterator[dict[str, int]]:
    part: dict[str, int] = {}
    size = 0
    for name, value in values.items():
        # As JSON, a character may take six bytes, and a number has 20 at most.
        cost = (len(name) if name.isascii() and name.isprintable() else 6 * len(name)) + 32
        if len(name) > 4096 or abs(value) > _MAX_NUMBER:
            continue
        if size + cost > _SLICE_BYTES and part:
            yield part
            part, size = {}, 0
        part[name] = value
        size += cost
    if part:
        yield part
