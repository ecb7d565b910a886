"""`Compressor` and `CompressorPerRoute` compiled, and the counters of the filter.

Source: envoy.extensions.filters.http.compressor.v3. Without `response_direction_config` the older fields of the
message itself count for responses, and the counters of responses have no "response." in their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.digits import UINT64, whole_number
from proxy.base.headers import HeaderMap
from proxy.base.stats import StatGroup
from proxy.compression.api import CompressorLibrary
from proxy.compression.libraries import compile_compressor_library
from proxy.config.context import CompileContext
from proxy.filters.http.coding import compile_feature_flag

_DEFAULT_MIN_LENGTH: Final = 30
_DEFAULT_CONTENT_TYPES: Final = (
    "text/html",
    "text/plain",
    "text/css",
    "application/javascript",
    "application/x-javascript",
    "text/javascript",
    "text/x-javascript",
    "text/ecmascript",
    "text/js",
    "text/jscript",
    "text/x-js",
    "application/ecmascript",
    "application/x-json",
    "application/xml",
    "application/json",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
    "application/grpc-web",
    "application/grpc-web+proto",
)


class DirectionStats(StatGroup):
    """`<library>.request.*` or `<library>.response.*`. Bytes count only where something was compressed."""

    COUNTERS = (
        "compressed",
        "not_compressed",
        "total_uncompressed_bytes",
        "total_compressed_bytes",
        "content_length_too_small",
    )

    compressed: int
    not_compressed: int
    total_uncompressed_bytes: int
    total_compressed_bytes: int
    content_length_too_small: int


class NegotiationStats(StatGroup):
    """`<library>.*`: what accept-encoding of requests led to."""

    COUNTERS = (
        "no_accept_header",
        "header_identity",
        "header_compressor_used",
        "header_compressor_overshadowed",
        "header_wildcard",
        "header_not_valid",
        "not_compressed_etag",
    )

    no_accept_header: int
    header_compressor_overshadowed: int
    not_compressed_etag: int


class Direction(Struct, frozen=True):
    """A compiled `CommonDirectionConfig`. `content_types` are in lower case."""

    enabled: Callable[[], bool]
    min_length: int
    content_types: frozenset[str]

    def long_enough(self, headers: HeaderMap, stats: DirectionStats) -> bool:
        """Whether a message of known length is worth it; too short ones are counted."""
        text = headers.get("content-length")
        if text is None:
            return True
        length = whole_number(text, UINT64)
        if length is not None and length >= self.min_length:
            return True
        stats.content_length_too_small += 1
        return False

    def takes_type(self, content_type: str | None) -> bool:
        """Whether messages of the type are compressed; so are those that name none."""
        return content_type is None or _bare(content_type) in self.content_types

    def offers_for(self, content_type: str | None) -> bool:
        """As `takes_type`, in the choice between the compressors of a chain."""
        return not content_type or not _bare(content_type) or self.takes_type(content_type)


def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


class ResponseDirection(Struct, frozen=True):
    """What `ResponseDirectionConfig` adds."""

    common: Direction
    disable_on_etag: bool
    remove_accept_encoding: bool
    uncompressible_codes: frozenset[int]
    status_header: bool


class CompressorConfig(Struct, frozen=True):
    """`stat_name` is "<name of the library>.<kind of library>."; `request` is None if requests are left alone."""

    library: CompressorLibrary | None
    stat_name: str
    request: Direction | None
    response: ResponseDirection
    response_stat_prefix: str
    choose_first: bool


class CompressorRouteConfig(Struct, frozen=True):
    """`CompressorPerRoute`; None where the filter's own settings stay. `library` serves both directions."""

    enabled: bool | None
    remove_accept_encoding: bool | None
    library: CompressorLibrary | None


def compile_filter(message: Any, path: str, context: CompileContext) -> CompressorConfig:
    """The filter's own config."""
    library = compile_compressor_library(message.compressor_library, f"{path}.compressor_library", context)
    request = None
    if message.HasField("request_direction_config"):
        request = _common(message.request_direction_config.common_config, context)
    new_style = message.HasField("response_direction_config")
    return CompressorConfig(
        library,
        f"{message.compressor_library.name}.{library.stat_name if library else ''}.",
        request,
        _response(message.response_direction_config, context) if new_style else _older(message, context),
        "response." if new_style else "",
        message.choose_first,
    )


def compile_route(message: Any, path: str, context: CompileContext) -> CompressorRouteConfig:
    """The per-route config."""
    if message.WhichOneof("override") == "disabled":
        return CompressorRouteConfig(False, None, None)
    overrides = message.overrides
    library = None
    if overrides.HasField("compressor_library"):
        where = f"{path}.overrides.compressor_library"
        library = compile_compressor_library(overrides.compressor_library, where, context)
    if not overrides.HasField("response_direction_config"):
        return CompressorRouteConfig(None, None, library)
    response = overrides.response_direction_config
    remove = None
    if response.HasField("remove_accept_encoding_header"):
        remove = response.remove_accept_encoding_header.value
    return CompressorRouteConfig(True, remove, library)


def _common(message: Any, context: CompileContext) -> Direction:
    return _direction(message.enabled, message.min_content_length.value, message.content_type, context)


def _direction(flag: Any, min_length: int, content_types: Any, context: CompileContext) -> Direction:
    return Direction(
        compile_feature_flag(flag, context),
        min_length or _DEFAULT_MIN_LENGTH,
        frozenset(name.lower() for name in content_types or _DEFAULT_CONTENT_TYPES),
    )


def _response(message: Any, context: CompileContext) -> ResponseDirection:
    return ResponseDirection(
        _common(message.common_config, context),
        message.disable_on_etag_header,
        message.remove_accept_encoding_header,
        frozenset(message.uncompressible_response_codes),
        message.status_header_enabled,
    )


def _older(message: Any, context: CompileContext) -> ResponseDirection:
    common = _direction(message.runtime_enabled, message.content_length.value, message.content_type, context)
    return ResponseDirection(
        common,
        message.disable_on_etag_header,
        message.remove_accept_encoding_header,
        frozenset(),
        False,
    )
