"""Compression libraries: what goes in comes out, in pieces too; bombs and broken input end short."""

from __future__ import annotations

import gzip as python_gzip
import random
from base64 import b64encode
from typing import Any

import brotli as python_brotli
import pytest
from envoy.config.core.v3 import extension_pb2
from google.protobuf import json_format

from proxy.compression import zstd
from proxy.compression.api import CompressorLibrary, Decompressor, DecompressorLibrary
from proxy.compression.libraries import compile_compressor_library, compile_decompressor_library
from proxy.config.context import CompileContext

KINDS = {"gzip": "Gzip", "brotli": "Brotli", "zstd": "Zstd"}
TEXT = b"".join(b"line %d\n" % number for number in range(3000))


def _extension(kind: str, direction: str, fields: dict[str, Any]) -> Any:
    type_name = f"envoy.extensions.compression.{kind}.{direction}.v3.{KINDS[kind]}"
    config = {"@type": f"type.googleapis.com/{type_name}", **fields}
    # Import the message, so that the JSON reader knows it.
    __import__(f"envoy.extensions.compression.{kind}.{direction}.v3.{kind}_pb2")
    message = extension_pb2.TypedExtensionConfig()
    json_format.ParseDict({"name": "lib", "typed_config": config}, message)
    return message


def _compressor(kind: str, **fields: Any) -> CompressorLibrary:
    context = CompileContext()
    made = compile_compressor_library(_extension(kind, "compressor", fields), "lib", context)
    assert made is not None
    assert not context.problems
    return made


def _decompressor(kind: str, **fields: Any) -> tuple[Decompressor, Any]:
    context = CompileContext()
    made: DecompressorLibrary | None = compile_decompressor_library(
        _extension(kind, "decompressor", fields), "lib", context
    )
    assert made is not None
    assert not context.problems
    stats = made.stats("x.")
    return made.create(stats), stats


def _errors(stats: Any) -> dict[str, int]:
    return {name.removeprefix("x."): value for name, value in stats.counters().items() if value}


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_comes_back_whatever_the_pieces(kind: str) -> None:
    chance = random.Random(1)
    for _ in range(5):
        compressor, (decompressor, stats) = _compressor(kind).create(), _decompressor(kind)
        packed, rest = b"", TEXT
        while rest:
            size = chance.randrange(1, 9000)
            packed += compressor.compress(rest[:size])
            rest = rest[size:]
        packed += compressor.finish(b"")
        plain = b""
        while packed:
            size = chance.randrange(1, 900)
            plain += decompressor.decompress(packed[:size])
            packed = packed[size:]
        assert plain == TEXT
        assert _errors(stats) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_what_went_in_can_be_read_at_once(kind: str) -> None:
    compressor, (decompressor, _) = _compressor(kind).create(), _decompressor(kind)
    for piece in (b"hello", b" world"):
        assert decompressor.decompress(compressor.compress(piece)) == piece


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_cut_off(kind: str) -> None:
    packed = _compressor(kind).create().finish(bytes(16 << 20))
    decompressor, stats = _decompressor(kind)
    assert len(decompressor.decompress(packed)) <= len(packed) * 100 + (256 << 10)
    assert decompressor.decompress(packed) == b""
    assert sum(_errors(stats).values()) >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_gives_nothing_and_is_counted(kind: str) -> None:
    decompressor, stats = _decompressor(kind)
    assert decompressor.decompress(b"\xff" * 100) == b""
    assert decompressor.decompress(b"more") == b""
    assert set(_errors(stats).values()) == {2}


def test_the_settings_of_gzip_arrive() -> None:
    best = _compressor("gzip", compression_level="BEST_COMPRESSION", window_bits=15, memory_level=9)
    huffman = _compressor("gzip", compression_strategy="HUFFMAN_ONLY")
    # A window of 4 KiB does not reach back to the first copy.
    twice = random.Random(1).randbytes(10_000) * 2
    assert len(best.create().finish(twice)) < 11_000
    assert len(_compressor("gzip").create().finish(twice)) > 20_000
    assert len(huffman.create().finish(TEXT)) > len(best.create().finish(TEXT)) * 2
    assert python_gzip.decompress(huffman.create().finish(TEXT)) == TEXT


def test_gzip_ends_with_its_member() -> None:
    decompressor, stats = _decompressor("gzip")
    packed = python_gzip.compress(b"one")
    assert decompressor.decompress(packed + b"junk") == b"one"
    assert decompressor.decompress(packed) == b""
    assert _errors(stats) == {}


def test_the_inflate_ratio_counts_whole_chunks() -> None:
    packed = python_gzip.compress(bytes(20000))
    decompressor, stats = _decompressor("gzip", max_inflate_ratio=10)
    assert len(decompressor.decompress(packed)) == 4096
    assert _errors(stats) == {"zlib_data_error": 1}


def test_the_settings_of_brotli_arrive() -> None:
    best = _compressor("brotli", quality=11, window_bits=24, input_block_bits=24, encoder_mode="TEXT")
    worst = _compressor("brotli", quality=0)
    assert len(best.create().finish(TEXT)) < len(worst.create().finish(TEXT))
    assert python_brotli.decompress(best.create().finish(TEXT)) == TEXT


def test_nothing_may_follow_a_brotli_stream() -> None:
    decompressor, stats = _decompressor("brotli")
    assert decompressor.decompress(python_brotli.compress(b"one")) == b"one"
    assert decompressor.decompress(b"x") == b""
    assert _errors(stats) == {"brotli_error": 1, "brotli_redundant_input": 1}


def test_zstd_frames_may_follow_each_other() -> None:
    one = (
        _compressor("zstd", compression_level=99, strategy="FAST", enable_checksum=True)
        .create()
        .finish(b"one")
    )
    decompressor, stats = _decompressor("zstd")
    assert decompressor.decompress(one + one[:5]) == b"one"
    assert decompressor.decompress(one[5:]) == b"one"
    broken = one[:-1] + bytes([one[-1] ^ 1])
    assert decompressor.decompress(broken) == b""
    assert _errors(stats) == {"zstd_checksum_wrong_error": 1}


def test_zstd_dictionaries() -> None:
    samples = [b"line %d of some text\n" % number * 3 for number in range(2000)]
    dictionary = zstd.zstd.train_dict(samples, 4096)
    source = {"inline_bytes": b64encode(dictionary.dict_content).decode()}
    packed = _compressor("zstd", dictionary=source).create().finish(samples[7])
    decompressor, _ = _decompressor("zstd", dictionaries=[source])
    assert decompressor.decompress(packed) == samples[7]
    decompressor, stats = _decompressor("zstd")
    assert decompressor.decompress(packed) == b""
    assert sum(_errors(stats).values()) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"inline_string": "short"}, "not a zstd dictionary"),
        ({"inline_string": "text that is long enough"}, "not a zstd dictionary"),
        ({"filename": "/does/not/exist"}, "cannot read"),
    ],
)
def test_a_bad_dictionary_is_refused(source: dict[str, str], reason: str) -> None:
    context = CompileContext()
    compile_compressor_library(_extension("zstd", "compressor", {"dictionary": source}), "lib", context)
    [problem] = context.problems
    assert problem.path.startswith("lib.typed_config.dictionary")
    assert reason in problem.reason


def test_a_library_of_the_other_direction_is_refused() -> None:
    context = CompileContext()
    assert compile_compressor_library(_extension("gzip", "decompressor", {}), "lib", context) is None
    [problem] = context.problems
    assert "is no compressor library" in problem.reason
