"""`envoy.filters.http.decompressor`: decompress requests and responses, and ask upstreams for compressed ones.

Source: envoy.extensions.filters.http.decompressor.v3. How much went in and came out is told in trailers. A body
that cannot be decompressed, or that would grow out of proportion, ends short: by then its head has left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.compression.api import Decompressor, DecompressorLibrary
from proxy.compression.libraries import compile_decompressor_library
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.http.coding import compile_feature_flag, forbids_transforming


class DirectionStats(StatGroup):
    """`<library>.request.*` or `<library>.response.*`; messages without a body count nowhere."""

    COUNTERS = ("decompressed", "not_decompressed", "total_uncompressed_bytes", "total_compressed_bytes")

    decompressed: int
    not_decompressed: int
    total_uncompressed_bytes: int
    total_compressed_bytes: int


class Direction(Struct, frozen=True):
    """A compiled `CommonDirectionConfig`."""

    enabled: Callable[[], bool]
    ignore_no_transform: bool


class DecompressorConfig(Struct, frozen=True):
    """`name` is that of the library's config; it stands in stat and trailer names."""

    name: str
    library: DecompressorLibrary | None
    request: Direction
    response: Direction
    advertise: bool


class DecompressorStats:
    """The groups of one filter; `library` counts the errors."""

    __slots__ = ("library", "request", "response")

    def __init__(self, services: WorkerServices, prefix: str, library: DecompressorLibrary) -> None:
        self.request = services.stats.shared(DirectionStats, f"{prefix}request.")
        self.response = services.stats.shared(DirectionStats, f"{prefix}response.")
        self.library = services.stats.shared(library.stats, f"{prefix}decompressor_library.")


class _Body:
    """One body being decompressed, with the bytes that went in and came out."""

    __slots__ = ("_decompressor", "_made", "_stats", "_taken")

    def __init__(self, decompressor: Decompressor, stats: DirectionStats) -> None:
        self._decompressor = decompressor
        self._stats = stats
        self._taken = self._made = 0

    def decompress(self, data: bytes) -> bytes:
        plain = self._decompressor.decompress(data)
        self._taken += len(data)
        self._made += len(plain)
        self._stats.total_compressed_bytes += len(data)
        self._stats.total_uncompressed_bytes += len(plain)
        return plain

    def report(self, trailers: HeaderMap, name: str) -> None:
        trailers.add(f"x-envoy-decompressor-{name}-compressed-bytes", str(self._taken))
        trailers.add(f"x-envoy-decompressor-{name}-uncompressed-bytes", str(self._made))


class DecompressorFilter(HttpFilter):
    """One stream."""

    def __init__(
        self,
        callbacks: StreamCallbacks,
        config: DecompressorConfig,
        library: DecompressorLibrary,
        stats: DecompressorStats,
    ) -> None:
        super().__init__(callbacks)
        self._config = config
        self._library = library
        self._stats = stats
        self._trailer_name = config.name.lower()
        self._request: _Body | None = None
        self._response: _Body | None = None

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        config, headers = self._config, head.headers
        if config.advertise and config.response.enabled():
            advertised = add_encoding(headers.get("accept-encoding", ""), self._library.encoding)
            headers.set("accept-encoding", advertised)
        if not end_stream:
            self._request = self._begin(headers, config.request, self._stats.request)
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._request is not None:
            data = self._request.decompress(data)
            if end_stream:
                self._request.report(self.add_decoded_trailers(), self._trailer_name)
        return FilterStatus.CONTINUE, data

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:
        """See `HttpFilter`."""
        if self._request is not None:
            self._request.report(trailers, self._trailer_name)
        return FilterStatus.CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        if not end_stream:
            self._response = self._begin(head.headers, self._config.response, self._stats.response)
        return FilterStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._response is not None:
            data = self._response.decompress(data)
            if end_stream:
                self._response.report(self.add_encoded_trailers(), self._trailer_name)
        return FilterStatus.CONTINUE, data

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:
        """See `HttpFilter`."""
        if self._response is not None:
            self._response.report(trailers, self._trailer_name)
        return FilterStatus.CONTINUE

    def _begin(self, headers: HeaderMap, direction: Direction, stats: DirectionStats) -> _Body | None:
        """Take the outermost coding off the head, if it is ours."""
        codings = headers.get("content-encoding")
        if (
            codings is None
            or not direction.enabled()
            or (forbids_transforming(headers) and not direction.ignore_no_transform)
        ):
            stats.not_decompressed += 1
            return None
        first, comma, remaining = codings.partition(",")
        if first.strip().lower() != self._library.encoding:
            stats.not_decompressed += 1
            return None
        headers.remove("content-length")
        if comma:
            headers.set("content-encoding", remaining.strip())
        else:
            headers.remove("content-encoding")
        stats.decompressed += 1
        return _Body(self._library.create(self._stats.library), stats)


def add_encoding(accept_encoding: str, encoding: str) -> str:
    """`encoding` at the end of the list, and nowhere else: without a quality it is wanted as much as can be."""
    entries = [entry.strip() for entry in accept_encoding.split(",")]
    others = [entry for entry in entries if entry and entry.partition(";")[0].strip() != encoding]
    return ",".join([*others, encoding])


def _compile(message: Any, path: str, context: CompileContext) -> DecompressorConfig:
    request = message.request_direction_config
    where = f"{path}.decompressor_library"
    return DecompressorConfig(
        message.decompressor_library.name,
        compile_decompressor_library(message.decompressor_library, where, context),
        _direction(request.common_config, context),
        _direction(message.response_direction_config.common_config, context),
        not request.HasField("advertise_accept_encoding") or request.advertise_accept_encoding.value,
    )


def _direction(message: Any, context: CompileContext) -> Direction:
    return Direction(compile_feature_flag(message.enabled, context), message.ignore_no_transform_header)


def _create(
    config: DecompressorConfig, services: WorkerServices, stat_prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    library = config.library
    assert library is not None, "a config with problems is not created"
    stats = DecompressorStats(
        services, f"{stat_prefix}decompressor.{config.name}.{library.stat_name}.", library
    )
    return lambda callbacks: DecompressorFilter(callbacks, config, library, stats)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.decompressor",
    type_name="envoy.extensions.filters.http.decompressor.v3.Decompressor",
    terminal=False,
    compile=_compile,
    create=_create,
)
