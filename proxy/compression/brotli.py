"""Brotli through Google's own binding (envoy.extensions.compression.brotli)."""

from __future__ import annotations

from typing import Any, Final

import brotli

from proxy.base.stats import StatGroup
from proxy.compression.api import CompressorLibrary, DecompressorLibrary, output_limit
from proxy.config.context import CompileContext

#: Envoy's defaults.
_QUALITY: Final = 3
_WINDOW_BITS: Final = 18
_BLOCK_BITS: Final = 24
_CHUNK_SIZE: Final = 4096
_INFLATE_RATIO: Final = 100


class BrotliCompressor:
    """See `Compressor`."""

    __slots__ = ("_stream",)

    def __init__(self, mode: int, quality: int, window_bits: int, block_bits: int) -> None:
        self._stream = brotli.Compressor(mode=mode, quality=quality, lgwin=window_bits, lgblock=block_bits)

    def compress(self, data: bytes) -> bytes:
        """See `Compressor`."""
        made: bytes = self._stream.process(data) + self._stream.flush()
        return made

    def finish(self, data: bytes) -> bytes:
        """See `Compressor`."""
        made: bytes = self._stream.process(data) + self._stream.finish()
        return made


class BrotliStats(StatGroup):
    """`brotli_error` counts all errors."""

    COUNTERS = ("brotli_error", "brotli_output_overflow", "brotli_redundant_input")

    brotli_error: int
    brotli_output_overflow: int
    brotli_redundant_input: int


class BrotliDecompressor:
    """See `Decompressor`."""

    __slots__ = ("_chunk_size", "_failed", "_stats", "_stream")

    def __init__(self, stats: BrotliStats, chunk_size: int) -> None:
        self._stats = stats
        self._stream = brotli.Decompressor()
        self._chunk_size = chunk_size
        self._failed = False

    def decompress(self, data: bytes) -> bytes:
        """See `Decompressor`. The binding gives nothing of a piece that goes on behind the end of the stream."""
        stream, stats = self._stream, self._stats
        if self._failed:
            # Envoy asks its decoder even when nothing came, as at the end of the stream.
            stats.brotli_error += 1
            return b""
        if not data:
            return b""
        if stream.is_finished():
            stats.brotli_error += 1
            stats.brotli_redundant_input += 1
            return b""
        limit = output_limit(len(data), _INFLATE_RATIO, self._chunk_size)
        try:
            plain: bytes = stream.process(data, output_buffer_limit=limit)
        except brotli.error:
            self._failed = True
            stats.brotli_error += 1
            return b""
        if len(plain) >= limit and not stream.can_accept_more_data():
            self._failed = True
            stats.brotli_error += 1
            stats.brotli_output_overflow += 1
            # The binding fills a buffer of its own size (32 KiB and up) before it looks at the limit.
            return plain[:limit]
        return plain


def compile_compressor(message: Any, path: str, context: CompileContext) -> CompressorLibrary:  # noqa: ARG001
    """`envoy.extensions.compression.brotli.compressor.v3.Brotli`."""
    quality = message.quality.value if message.HasField("quality") else _QUALITY
    window = message.window_bits.value or _WINDOW_BITS
    block = message.input_block_bits.value or _BLOCK_BITS
    # DEFAULT and GENERIC are the same mode; the numbers of the others are one above the library's.
    mode = max(message.encoder_mode - 1, 0)
    return CompressorLibrary("br", "brotli", lambda: BrotliCompressor(mode, quality, window, block))


def compile_decompressor(message: Any, path: str, context: CompileContext) -> DecompressorLibrary:  # noqa: ARG001
    """`envoy.extensions.compression.brotli.decompressor.v3.Brotli`."""
    chunk_size = message.chunk_size.value or _CHUNK_SIZE
    return DecompressorLibrary(
        "br", "brotli", BrotliStats, lambda stats: BrotliDecompressor(_brotli(stats), chunk_size)
    )


def _brotli(stats: StatGroup) -> BrotliStats:
    assert isinstance(stats, BrotliStats)
    return stats
