"""Header blocks through our HPACK and through the `hpack` package: `python -m bench.micro.hpack`.

Decoding is what a connection pays when a block is not in its memo. The blocks of a case come from one encoder of
the `hpack` package, so they insert into the dynamic table as those of most clients do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import hpack

from bench.micro.timing import best_times
from proxy.codec.hpack_decoder import HpackDecoder
from proxy.codec.hpack_encoder import encode_fields

_BLOCKS = 200
_Fields = list[tuple[str, str]]
_Make = Callable[[random.Random], _Fields]

_BROWSER: _Fields = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "shop.example.com"),
    (":path", "/"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.example.com/catalogue"),
    ("cookie", "session=2f1c9a7b6d5e4f3a; theme=dark"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("x-request-id", "8f14e45f-ceea-467f-ab2d-3a1b2c4d5e6f"),
]
_RESPONSE: _Fields = [
    (":status", "200"),
    ("content-type", "application/json"),
    ("content-length", "312"),
    ("date", "Tue, 04 Jun 2024 10:11:12 GMT"),
    ("server", "envoy"),
    ("x-envoy-upstream-service-time", "3"),
    ("cache-control", "no-cache"),
    ("etag", '"33a64df551425fcc55e4d42a148795d9f25f89d4"'),
]


def _constant(_: random.Random) -> _Fields:
    return _BROWSER


def _new_path(rng: random.Random) -> _Fields:
    path = f"/catalogue/items/{rng.randrange(10**9)}?page={rng.randrange(100)}"
    return [(name, path if name == ":path" else value) for name, value in _BROWSER]


def _all_unique(rng: random.Random) -> _Fields:
    return [
        (name, value if name in {":method", ":scheme"} else f"{value[:-8]}{rng.randrange(16**8):08x}")
        for name, value in _BROWSER
    ]


def _blocks(make: _Make, *, huffman: bool) -> Iterator[bytes]:
    rng = random.Random(1)
    encoder = hpack.Encoder()
    for _ in range(_BLOCKS):
        yield encoder.encode(make(rng), huffman=huffman)


def _row(title: str, times: tuple[float, float]) -> None:
    ours, theirs = times
    print(f"{title:44} {ours:8.2f} {theirs:10.2f} {ours / theirs:8.3f}")


def _decoding(make: _Make, *, huffman: bool = True) -> tuple[float, float]:
    """Microseconds per block, ours and theirs."""
    blocks = list(_blocks(make, huffman=huffman))

    def ours() -> None:
        decode = HpackDecoder().decode
        for block in blocks:
            decode(block)

    def theirs() -> None:
        decode = hpack.Decoder().decode
        for block in blocks:
            decode(block)

    assert HpackDecoder().decode(blocks[0]) == [
        (str(name), str(value)) for name, value in hpack.Decoder().decode(blocks[0])
    ]
    return _per_block(best_times([ours, theirs]))


def _per_block(times: list[float]) -> tuple[float, float]:
    return times[0] / _BLOCKS * 1e6, times[1] / _BLOCKS * 1e6


def _encoding(fields: _Fields) -> tuple[float, float]:
    encoder = hpack.Encoder()

    def ours() -> None:
        for _ in range(_BLOCKS):
            encode_fields(fields)

    def theirs() -> None:
        for _ in range(_BLOCKS):
            encoder.encode(fields)

    return _per_block(best_times([ours, theirs]))


def figures() -> dict[str, float]:
    """Decoding of blocks that no memo has: microseconds, and the ratio to the `hpack` package."""
    found = {}
    for name, make in (("path", _new_path), ("unique", _all_unique)):
        ours, theirs = _decoding(make)
        found[f"us_decode_{name}"] = ours
        found[f"of_hpack_package_{name}"] = ours / theirs
    found["us_encode_response"] = _encoding(_RESPONSE)[0]
    return found


def main() -> None:
    """Print microseconds per block of 13 request or 8 response fields, ours and theirs, and the ratio."""
    print(f"{'us per block':44} {'outrider':>8} {'hpack':>10} {'ratio':>8}")
    _row("decode: constant, all indexed", _decoding(_constant))
    _row("decode: new path", _decoding(_new_path))
    _row("decode: all values unique", _decoding(_all_unique))
    _row("decode: all values unique, no Huffman", _decoding(_all_unique, huffman=False))
    _row("encode: request", _encoding(_BROWSER))
    _row("encode: response", _encoding(_RESPONSE))


if __name__ == "__main__":
    main()
