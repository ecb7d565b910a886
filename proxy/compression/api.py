"""What a compression library offers to the filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from proxy.base.stats import StatGroup


class Compressor(Protocol):
    """One body on its way to being smaller."""

    def compress(self, data: bytes) -> bytes:
        """Take a piece in; gives all that is known of it compressed, so that a reader need not wait."""

    def finish(self, data: bytes) -> bytes:
        """Take the last piece in; gives the rest and the end."""


class Decompressor(Protocol):
    """One body on its way back. Errors are counted, and what follows them is dropped; nothing is raised."""

    def decompress(self, data: bytes) -> bytes:
        """The plain bytes of the next piece; bounded by the library's ratio of output to input."""


class CompressorLibrary(Struct, frozen=True):
    """`encoding` is the token of content-encoding; `stat_name` the part of stat names."""

    encoding: str
    stat_name: str
    create: Callable[[], Compressor]


class DecompressorLibrary(Struct, frozen=True):
    """As `CompressorLibrary`; `stats` is the kind of group that `create` takes, for errors."""

    encoding: str
    stat_name: str
    stats: type[StatGroup]
    create: Callable[[StatGroup], Decompressor]


def output_limit(size: int, ratio: int, chunk_size: int) -> int:
    """How many bytes may come out of `size` bytes: whole chunks, the last of which passes `ratio`.

    Envoy looks at the ratio after each chunk it has filled.
    """
    return (size * ratio // chunk_size + 1) * chunk_size
