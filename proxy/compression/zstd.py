"""Zstandard through the standard library of Python 3.14, or its backport (envoy.extensions.compression.zstd)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from proxy.base.stats import StatGroup
from proxy.compression.api import CompressorLibrary, DecompressorLibrary, output_limit
from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

#: zstd's own: ZSTD_CLEVEL_DEFAULT and ZSTD_DStreamOutSize().
_LEVEL: Final = 3
_CHUNK_SIZE: Final = 128 * 1024
_INFLATE_RATIO: Final = 100
_MAX_LEVEL: Final = 22


class ZstdCompressor:
    """See `Compressor`."""

    __slots__ = ("_stream",)

    def __init__(self, options: Mapping[int, int], dictionary: zstd.ZstdDict | None) -> None:
        self._stream = zstd.ZstdCompressor(options=options, zstd_dict=dictionary)

    def compress(self, data: bytes) -> bytes:
        """See `Compressor`. Envoy does not flush here, so that a slow stream stays in its buffer."""
        return self._stream.compress(data, self._stream.FLUSH_BLOCK)

    def finish(self, data: bytes) -> bytes:
        """See `Compressor`."""
        return self._stream.compress(data, self._stream.FLUSH_FRAME)


class ZstdStats(StatGroup):
    """The library tells kinds of errors apart by text only, so most are generic."""

    COUNTERS = (
        "zstd_generic_error",
        "zstd_dictionary_error",
        "zstd_checksum_wrong_error",
        "zstd_memory_error",
    )

    zstd_generic_error: int
    zstd_dictionary_error: int
    zstd_checksum_wrong_error: int


class ZstdDecompressor:
    """See `Decompressor`. A body may consist of several frames."""

    __slots__ = ("_chunk_size", "_dictionaries", "_failed", "_stats", "_stream")

    def __init__(self, stats: ZstdStats, dictionaries: Mapping[int, zstd.ZstdDict], chunk_size: int) -> None:
        self._stats = stats
        self._dictionaries = dictionaries
        self._chunk_size = chunk_size
        self._stream: zstd.ZstdDecompressor | None = None
        self._failed = False

    def decompress(self, data: bytes) -> bytes:
        """See `Decompressor`."""
        if self._failed:
            self._stats.zstd_generic_error += bool(data)
            return b""
        limit = output_limit(len(data), _INFLATE_RATIO, self._chunk_size)
        plain: list[bytes] = []
        try:
            while data and limit > 0:
                stream = self._stream
                if stream is None:
                    stream = self._stream = self._start(data)
                    if stream is None:
                        break
                piece = stream.decompress(data, limit)
                plain.append(piece)
                limit -= len(piece)
                if not stream.eof:
                    break
                data = stream.unused_data
                self._stream = None
        except zstd.ZstdError as error:
            self._failed = True
            self._count(str(error))
        if limit <= 0:
            self._failed = True
            self._stats.zstd_generic_error += 1
        return b"".join(plain)

    def _start(self, data: bytes) -> zstd.ZstdDecompressor | None:
        """For the frame that begins here; None if its dictionary is missing."""
        dictionary = None
        if self._dictionaries:
            try:
                wanted = zstd.get_frame_info(data).dictionary_id
            except zstd.ZstdError:
                wanted = 0
            if wanted:
                dictionary = self._dictionaries.get(wanted)
                if dictionary is None:
                    self._failed = True
                    self._stats.zstd_dictionary_error += 1
                    return None
        return zstd.ZstdDecompressor(dictionary)

    def _count(self, text: str) -> None:
        if "checksum" in text:
            self._stats.zstd_checksum_wrong_error += 1
        elif "ictionary" in text:
            self._stats.zstd_dictionary_error += 1
        else:
            self._stats.zstd_generic_error += 1


def _dictionary(source: Any, path: str, context: CompileContext) -> zstd.ZstdDict | None:
    """A dictionary in zstd's format; raw content is refused, as it has no id to find it by."""
    before = len(context.problems)
    data = read_data_source(source, path, context)
    if len(context.problems) > before:
        return None
    try:
        return zstd.ZstdDict(data)
    except ValueError as error:
        context.problem(path, f"not a zstd dictionary: {error}")
        return None


def compile_compressor(message: Any, path: str, context: CompileContext) -> CompressorLibrary:
    """`envoy.extensions.compression.zstd.compressor.v3.Zstd`."""
    level = message.compression_level.value if message.HasField("compression_level") else _LEVEL
    options = {
        int(zstd.CompressionParameter.compression_level): min(level, _MAX_LEVEL),
        int(zstd.CompressionParameter.checksum_flag): int(message.enable_checksum),
    }
    if message.strategy:
        # The numbers of the enum are those of zstd.
        options[int(zstd.CompressionParameter.strategy)] = message.strategy
    dictionary = None
    if message.HasField("dictionary"):
        dictionary = _dictionary(message.dictionary, f"{path}.dictionary", context)
    return CompressorLibrary("zstd", "zstd", lambda: ZstdCompressor(options, dictionary))


def compile_decompressor(message: Any, path: str, context: CompileContext) -> DecompressorLibrary:
    """`envoy.extensions.compression.zstd.decompressor.v3.Zstd`."""
    chunk_size = message.chunk_size.value or _CHUNK_SIZE
    dictionaries = {}
    for index, source in enumerate(message.dictionaries):
        dictionary = _dictionary(source, f"{path}.dictionaries[{index}]", context)
        if dictionary is not None:
            dictionaries[dictionary.dict_id] = dictionary
    return DecompressorLibrary(
        "zstd", "zstd", ZstdStats, lambda stats: ZstdDecompressor(_zstd(stats), dictionaries, chunk_size)
    )


def _zstd(stats: StatGroup) -> ZstdStats:
    assert isinstance(stats, ZstdStats)
    return stats
