"""gzip through the standard library's zlib (envoy.extensions.compression.gzip)."""

from __future__ import annotations

import zlib
from typing import Any, Final

from proxy.base.stats import StatGroup
from proxy.compression.api import CompressorLibrary, DecompressorLibrary, output_limit
from proxy.config.context import CompileContext

#: Envoy's defaults; window bits above 15 ask zlib for a gzip header and trailer.
_MEMORY_LEVEL: Final = 5
_COMPRESS_WINDOW_BITS: Final = 12
_DECOMPRESS_WINDOW_BITS: Final = 15
_GZIP: Final = 16
_CHUNK_SIZE: Final = 4096
_INFLATE_RATIO: Final = 100


class GzipCompressor:
    """See `Compressor`."""

    __slots__ = ("_stream",)

    def __init__(self, level: int, window_bits: int, memory_level: int, strategy: int) -> None:
        self._stream = zlib.compressobj(level, zlib.DEFLATED, window_bits, memory_level, strategy)

    def compress(self, data: bytes) -> bytes:
        """See `Compressor`."""
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self, data: bytes) -> bytes:
        """See `Compressor`."""
        return self._stream.compress(data) + self._stream.flush()


class ZlibStats(StatGroup):
    """Errors of zlib by their names; only bad data can come about here."""

    COUNTERS = (
        "zlib_errno",
        "zlib_stream_error",
        "zlib_data_error",
        "zlib_mem_error",
        "zlib_buf_error",
        "zlib_version_error",
    )

    zlib_data_error: int


class GzipDecompressor:
    """See `Decompressor`."""

    __slots__ = ("_chunk_size", "_failed", "_ratio", "_stats", "_stream")

    def __init__(self, stats: ZlibStats, window_bits: int, ratio: int, chunk_size: int) -> None:
        self._stats = stats
        self._stream = zlib.decompressobj(window_bits)
        self._ratio = ratio
        self._chunk_size = chunk_size
        self._failed = False

    def decompress(self, data: bytes) -> bytes:
        """See `Decompressor`. What follows the end of the gzip member is dropped."""
        stream = self._stream
        if not data or stream.eof:
            return b""
        if self._failed:
            self._stats.zlib_data_error += 1
            return b""
        limit = output_limit(len(data), self._ratio, self._chunk_size)
        try:
            plain = stream.decompress(data, limit)
        except zlib.error:
            self._fail()
            return b""
        if len(plain) == limit and not stream.eof:
            self._fail()
        return plain

    def _fail(self) -> None:
        self._failed = True
        self._stats.zlib_data_error += 1


def compile_compressor(message: Any, path: str, context: CompileContext) -> CompressorLibrary:  # noqa: ARG001
    """`envoy.extensions.compression.gzip.compressor.v3.Gzip`."""
    level = message.compression_level or zlib.Z_DEFAULT_COMPRESSION
    window = message.window_bits.value or _COMPRESS_WINDOW_BITS
    memory = message.memory_level.value or _MEMORY_LEVEL
    # The numbers of the enum are those of zlib.
    strategy = message.compression_strategy
    return CompressorLibrary("gzip", "gzip", lambda: GzipCompressor(level, window | _GZIP, memory, strategy))


def compile_decompressor(message: Any, path: str, context: CompileContext) -> DecompressorLibrary:  # noqa: ARG001
    """`envoy.extensions.compression.gzip.decompressor.v3.Gzip`."""
    window = message.window_bits.value or _DECOMPRESS_WINDOW_BITS
    ratio = message.max_inflate_ratio.value or _INFLATE_RATIO
    chunk_size = message.chunk_size.value or _CHUNK_SIZE
    return DecompressorLibrary(
        "gzip",
        "gzip",
        ZlibStats,
        lambda stats: GzipDecompressor(_zlib(stats), window | _GZIP, ratio, chunk_size),
    )


def _zlib(stats: StatGroup) -> ZlibStats:
    assert isinstance(stats, ZlibStats)
    return stats
