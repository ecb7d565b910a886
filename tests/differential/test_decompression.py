"""The decompressor filter: what it takes off, what it asks for, what it makes of broken bodies and bombs."""

from __future__ import annotations

import gzip
import time
import zlib
from base64 import b64encode
from typing import Any, Final

import brotli
import pytest

from proxy.compression.zstd import zstd
from tests.differential.test_compression import COMPRESSOR, ON, ROUTER_FILTER, chain, compressor, library
from tests.support import http2_frames as h2
from tests.support.compare import masked
from tests.support.configs import Json, typed
from tests.support.differential import Pair, Side, same_verdict
from tests.support.http2_client import exchange
from tests.support.managers import get, managers, managers_fixture, post, same_everywhere

TEXT: Final = b"".join(b"line %d of some text\n" % number for number in range(200))
OFF: Final[Json] = {"enabled": {"default_value": False, "runtime_key": "off"}}
DICTIONARY: Final = zstd.train_dict([b"line %d of some text\n" % number * 3 for number in range(2000)], 4096)


def decompressor(kind: str = "gzip", settings: Json | None = None, **fields: Any) -> Json:
    return {
        "name": "d",
        "typed_config": typed(
            "envoy.extensions.filters.http.decompressor.v3.Decompressor",
            decompressor_library=library(kind, "decompressor", **(settings or {})),
            **fields,
        ),
    }


TRAILERS: Final[Json] = {"http_protocol_options": {"enable_trailers": True}}
pair = managers_fixture(
    {
        "gzip": chain(decompressor(), **TRAILERS),
        "brotli": chain(decompressor("brotli"), **TRAILERS),
        "zstd": chain(decompressor("zstd"), **TRAILERS),
        "small": chain(decompressor(settings={"max_inflate_ratio": 2, "window_bits": 9, "chunk_size": 8192})),
        "requests": chain(decompressor(response_direction_config={"common_config": OFF})),
        "responses": chain(decompressor(request_direction_config={"common_config": OFF})),
        "silent": chain(decompressor(request_direction_config={"advertise_accept_encoding": False})),
        "transforming": chain(
            decompressor(
                request_direction_config={"common_config": {"ignore_no_transform_header": True}},
                response_direction_config={"common_config": {**ON, "ignore_no_transform_header": True}},
            )
        ),
        "dictionary": chain(
            decompressor(
                "zstd", {"dictionaries": [{"inline_bytes": b64encode(DICTIONARY.dict_content).decode()}]}
            )
        ),
        "again": {"http_filters": [compressor("brotli"), decompressor(), ROUTER_FILTER]},
    }
)

CODERS: Final = {"gzip": gzip.compress, "brotli": brotli.compress, "zstd": zstd.compress}
TOKENS: Final = {"gzip": "gzip", "brotli": "br", "zstd": "zstd"}


def answer(body: bytes, *fields: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *fields, f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def chunked(head: bytes, *pieces: bytes, trailers: bytes = b"") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize("kind", CODERS)
def test_both_directions_come_out_plain(pair: Pair, kind: str) -> None:
    packed, field = CODERS[kind](TEXT), f"Content-Encoding: {TOKENS[kind]}"
    half = len(packed) // 2
    head = b"HTTP/1.1 200 OK\r\n" + field.encode() + b"\r\n"
    start = b"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n" + field.encode() + b"\r\n"
    cases: list[Any] = [
        (kind, get("/", "TE: trailers"), answer(packed, field, "Content-Type: text/plain", 'ETag: "a"')),
        (kind, get("/", "TE: trailers"), chunked(head, packed[:half], packed[half:])),
        (kind, get("/", "TE: trailers"), chunked(head, packed, trailers=b"x-t: 1\r\n")),
        (kind, get("/"), answer(TEXT)),
        (
            kind,
            get("/", method="HEAD"),
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n" + field.encode() + b"\r\n\r\n",
        ),
        (kind, post("/", packed, field), answer(b"")),
        (kind, post("/", TEXT), answer(b"")),
        (kind, post("/", b"", field), answer(b"")),
        (kind, chunked(start, packed[:half], packed[half:], trailers=b"x-t: 1\r\n"), answer(b"")),
        (kind, chunked(start, packed), answer(b"")),
    ]
    with pair.same_stats(f"http.{kind}.decompressor."):
        same_everywhere(pair, cases)


CODINGS: Final = (
    "gzip",
    "GZip",
    "gzip, identity",
    " gzip ,br , x",
    "gzip,",
    "br, gzip",
    "x-gzip",
    "",
    "gzip;q=1",
)


@pytest.mark.parametrize("manager", ["gzip", "requests", "responses", "silent", "transforming"])
def test_only_the_outermost_coding_counts(pair: Pair, manager: str) -> None:
    packed = gzip.compress(b"hello")
    cases: list[Any] = []
    for coding in CODINGS:
        field = f"Content-Encoding: {coding}"
        cases += [
            (manager, get("/"), answer(packed, field)),
            (manager, post("/", packed, field), answer(b"")),
        ]
    for control in ("no-transform", "max-age=1, NO-TRANSFORM", "x-no-transform"):
        fields = ("Content-Encoding: gzip", f"Cache-Control: {control}")
        cases += [
            (manager, get("/"), answer(packed, *fields)),
            (manager, post("/", packed, *fields), answer(b"")),
        ]
    two = ("Content-Encoding: gzip", "Content-Encoding: br")
    cases.append((manager, get("/"), answer(packed, *two)))
    with pair.same_stats(f"http.{manager}.decompressor."):
        same_everywhere(pair, cases)


@pytest.mark.parametrize("manager", ["gzip", "requests", "silent"])
def test_upstreams_are_asked_for_it(pair: Pair, manager: str) -> None:
    wishes = ("br", "gzip", "gzip;q=0", "br, gzip;q=0.3 , zstd", "GZIP", "", ",", "*", "a,,b")
    cases: list[Any] = [(manager, get("/", f"Accept-Encoding: {wish}"), answer(b"")) for wish in wishes]
    cases += [(manager, get("/"), answer(b""))]
    cases += [(manager, get("/", "Accept-Encoding: a", "Accept-Encoding: b"), answer(b""))]
    same_everywhere(pair, cases)


@pytest.mark.parametrize("kind", CODERS)
def test_broken_bodies_end_short(pair: Pair, kind: str) -> None:
    packed = CODERS[kind](TEXT)
    bodies = [b"this is not compressed at all, is it?" * 3, b"", packed[:-3]]
    if kind != "brotli":
        bodies += [packed + b"more", packed + packed]
    script = [answer(body, f"Content-Encoding: {TOKENS[kind]}") for body in bodies]
    with pair.same_stats(f"http.{kind}.decompressor."):
        same_everywhere(pair, [(kind, get("/"), one) for one in script])


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_does_not_go_off(pair: Pair, kind: str) -> None:
    script = answer(CODERS[kind](bytes(8 << 20)), f"Content-Encoding: {TOKENS[kind]}")
    with pair.same_stats(f"http.{kind}.decompressor."):
        [outcome] = same_everywhere(pair, [(kind, get("/"), script)])
    assert len(outcome.reply.response.body) < 1 << 20


def test_a_small_window_and_ratio(pair: Pair) -> None:
    wide = zlib.compressobj(9, zlib.DEFLATED, 15 | 16)
    narrow = zlib.compressobj(9, zlib.DEFLATED, 9 | 16)
    bodies = (
        narrow.compress(TEXT) + narrow.flush(),
        wide.compress(TEXT) + wide.flush(),
        gzip.compress(bytes(9000)),
    )
    with pair.same_stats("http.small.decompressor."):
        same_everywhere(
            pair, [("small", get("/"), answer(body, "Content-Encoding: gzip")) for body in bodies]
        )


def test_dictionaries_are_found_by_their_id(pair: Pair) -> None:
    other = zstd.train_dict([b"other %d words of text\n" % number * 3 for number in range(2000)], 4096)
    bodies = (
        zstd.compress(TEXT, zstd_dict=DICTIONARY),
        zstd.compress(TEXT),
        zstd.compress(TEXT, zstd_dict=other),
    )
    with pair.same_stats("http.dictionary.decompressor."):
        same_everywhere(
            pair, [("dictionary", get("/"), answer(body, "Content-Encoding: zstd")) for body in bodies]
        )


def test_one_coding_may_be_exchanged_for_another(pair: Pair) -> None:
    script = answer(gzip.compress(TEXT), "Content-Encoding: gzip", "Content-Type: text/plain")
    same_everywhere(pair, [("again", get("/", "Accept-Encoding: br"), script)])


def test_brotli_ends_short_too(pair: Pair) -> None:
    """The binding gives out more at a time than Envoy, and nothing of a piece with something behind its end."""
    errors = "http.brotli.decompressor.lib.brotli.decompressor_library.brotli_error"
    before = pair.both(lambda side: side.proxy.stats()[errors])
    for body in (brotli.compress(bytes(8 << 20)), brotli.compress(TEXT) + b"more"):
        for outcome in pair.run(get("/"), answer(body, "Content-Encoding: br"), listener="brotli"):
            assert outcome.status == 200
            assert len(outcome.reply.response.body) <= 32 << 10
    deadline = time.monotonic() + 5
    while any(
        new < old + 2
        for old, new in zip(before, pair.both(lambda side: side.proxy.stats()[errors]), strict=True)
    ):
        assert time.monotonic() < deadline, "errors are not counted"
        time.sleep(0.05)


@pytest.mark.parametrize("manager", ["gzip", "again"])
def test_clients_of_http2_get_sizes_in_trailers(pair: Pair, manager: str) -> None:
    script = answer(gzip.compress(TEXT), "Content-Encoding: gzip", "Content-Type: text/plain")

    def ask(side: Side) -> tuple[Any, ...]:
        side.origin.script(script)
        client = exchange(
            side.proxy.ports[manager],
            h2.request(1, fields=[("accept-encoding", "br"), ("te", "trailers")]),
            1,
        )
        view = client.stream(1)
        fields = sorted(field for field in masked(view.fields))
        return view.status, fields, bytes(view.body), sorted(view.trailers), view.end

    envoy, outrider = pair.both(ask)
    assert envoy == outrider
    assert outrider[3]


def _verdict(config: Json) -> Json:
    return managers({"plain": {"http_filters": [{"name": "filter", "typed_config": config}, ROUTER_FILTER]}})


@pytest.mark.parametrize(
    ("filter_config", "accepted"),
    [
        (compressor("zstd", settings={"compression_level": 99, "strategy": "BTOPT"}), True),
        (compressor(settings={"window_bits": 8}), False),
        (compressor(response_direction_config={"uncompressible_response_codes": [206, 206]}), False),
        ({"typed_config": typed(f"{COMPRESSOR}Compressor")}, False),
        (
            {
                "typed_config": typed(
                    f"{COMPRESSOR}Compressor", compressor_library=library("gzip", "decompressor")
                )
            },
            False,
        ),
    ],
)
def test_verdicts(filter_config: Json, accepted: bool) -> None:
    assert same_verdict(_verdict(filter_config["typed_config"]))[0] is accepted
