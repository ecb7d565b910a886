"""The compressor and decompressor filters: what is compressed, how it is said, what is counted."""

from __future__ import annotations

import gzip
from typing import Any, Final

import pytest

from tests.support.configs import ROUTER, Json, route, typed
from tests.support.differential import Pair
from tests.support.managers import Case, get, managers_fixture, post, same_everywhere
from tests.support.origin import Answer

COMPRESSOR: Final = "envoy.extensions.filters.http.compressor.v3."
_LIBRARIES: Final = "envoy.extensions.compression"
_KINDS: Final = {"gzip": "Gzip", "brotli": "Brotli", "zstd": "Zstd"}
ROUTER_FILTER: Final[Json] = {"name": "router", "typed_config": typed(ROUTER)}
ON: Final[Json] = {"enabled": {"default_value": True, "runtime_key": "on"}}


def library(kind: str, direction: str = "compressor", name: str = "lib", **fields: Any) -> Json:
    type_name = f"{_LIBRARIES}.{kind}.{direction}.v3.{_KINDS[kind]}"
    return {"name": name, "typed_config": typed(type_name, **fields)}


def compressor(kind: str = "gzip", name: str = "c", settings: Json | None = None, **fields: Any) -> Json:
    chosen = library(kind, name=f"lib-{name}", **(settings or {}))
    return {
        "name": name,
        "typed_config": typed(f"{COMPRESSOR}Compressor", compressor_library=chosen, **fields),
    }


def per_route(name: str = "c", **fields: Any) -> Json:
    return {name: typed(f"{COMPRESSOR}CompressorPerRoute", **fields)}


def chain(*filters: Json, **fields: Any) -> Json:
    return {"http_filters": [*filters, ROUTER_FILTER], **fields}


STRICT: Final[Json] = {"disable_on_etag_header": True, "uncompressible_response_codes": [206]}
ROUTES: Final = [
    {**route(prefix="/off"), "typed_per_filter_config": per_route(disabled=True)},
    {
        **route(prefix="/strip"),
        "typed_per_filter_config": per_route(
            overrides={"response_direction_config": {"remove_accept_encoding_header": True}}
        ),
    },
    {**route(prefix="/same"), "typed_per_filter_config": per_route(overrides={})},
    {
        **route(prefix="/brotli"),
        "typed_per_filter_config": per_route(overrides={"compressor_library": library("brotli")}),
    },
    {
        **route(prefix="/second"),
        "typed_per_filter_config": per_route("d", overrides={"compressor_library": library("brotli")}),
    },
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "x" * 99}}},
    route(prefix="/"),
]
COMPRESSORS: Final[dict[str, Json]] = {
    "plain": chain(compressor()),
    "strict": chain(compressor(response_direction_config=STRICT)),
    "telling": chain(compressor(response_direction_config={**STRICT, "status_header_enabled": True})),
    "older": chain(
        compressor(
            content_length=50,
            content_type=["text/X", "text/plain"],
            remove_accept_encoding_header=True,
            disable_on_etag_header=True,
            runtime_enabled={"default_value": True, "runtime_key": "older"},
        )
    ),
    "requests": chain(
        compressor(
            request_direction_config={"common_config": ON},
            response_direction_config={
                "common_config": {"enabled": {"default_value": False, "runtime_key": "off"}}
            },
        ),
        http_protocol_options={"enable_trailers": True},
    ),
    "two": chain(
        compressor(response_direction_config={}),
        compressor("brotli", "d", response_direction_config={"status_header_enabled": True}),
    ),
    "first": chain(
        compressor(response_direction_config={}),
        compressor("brotli", "d", choose_first=True, response_direction_config={}),
    ),
    "zstd": chain(compressor("zstd", settings={"enable_checksum": True, "strategy": "BTULTRA2"})),
    "tuned": chain(
        compressor(
            settings={
                "memory_level": 9,
                "compression_level": "BEST_SPEED",
                "compression_strategy": "HUFFMAN_ONLY",
                "window_bits": 15,
            }
        )
    ),
    "quality": chain(
        compressor(
            "brotli",
            settings={"quality": 0, "encoder_mode": "TEXT", "window_bits": 10, "input_block_bits": 16},
        )
    ),
    "upgrades": chain(compressor(), upgrade_configs=[{"upgrade_type": "websocket"}]),
}

pair = managers_fixture(COMPRESSORS, routes=ROUTES)


def answer(*fields: str, body: bytes = b"x" * 100, status: str = "200 OK", kind: str = "text/plain") -> bytes:
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"]
    if kind:
        lines.append(f"Content-Type: {kind}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def chunked(body: bytes, trailers: bytes = b"") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)


GZIP: Final = "Accept-Encoding: gzip"
ANSWERS: Final = {
    "plain": answer(),
    "short": answer(body=b"x" * 29),
    "long enough": answer(body=b"x" * 30),
    "empty": answer(body=b""),
    "image": answer(kind="image/png"),
    "type with parameters": answer(kind="Text/HTML ; charset=utf-8"),
    "no type": answer(kind=""),
    "strong etag": answer('ETag: "abc"'),
    "weak etag": answer('ETag: W/"abc"'),
    "short etag": answer("ETag: ab"),
    "empty etag": answer("ETag:"),
    "weak prefix": answer("ETag: w/"),
    "partial": answer(status="206 Partial Content"),
    "no-transform": answer("Cache-Control: max-age=1, NO-transform"),
    "encoded": answer("Content-Encoding: deflate"),
    "vary": answer("Vary: accept-encoding"),
    "vary two": answer("Vary: a", "Vary: b"),
    "vary already": answer("Vary: a, Accept-Encoding"),
    "vary all": answer("Vary: *"),
    "short image with etag": answer('ETag: "a"', body=b"x", kind="image/png", status="206 P"),
    "image with etag": answer('ETag: "a"', kind="image/png", status="206 P"),
    "partial with etag": answer('ETag: "a"', status="206 P"),
    "short no-transform": answer("Cache-Control: no-transform", body=b"x"),
    "told before": answer("x-envoy-compression-status: other"),
    "chunked": chunked(b"x" * 100),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 100\r\n\r\n',
}


@pytest.mark.parametrize("manager", ["plain", "strict", "telling", "older", "two", "requests"])
def test_what_is_compressed_follows_from_the_response(pair: Pair, manager: str) -> None:
    with pair.same_stats(f"http.{manager}.compressor."):
        same_everywhere(pair, [(manager, get("/", GZIP), script) for script in ANSWERS.values()])


@pytest.mark.parametrize("manager", ["plain", "telling"])
def test_head_has_no_body_to_compress(pair: Pair, manager: str) -> None:
    heads = (answer(), answer(body=b"x"), answer(kind="image/png"), answer('ETag: "a"'))
    with pair.same_stats(f"http.{manager}.compressor."):
        same_everywhere(
            pair,
            [
                (manager, get("/", GZIP, method="HEAD"), script.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
                for script in heads
            ],
        )


WISHES: Final = (
    "gzip",
    "GZIP",
    "br",
    "zstd",
    "deflate",
    "identity",
    "*",
    "",
    ",",
    " ",
    "gzip, br",
    "br, gzip",
    "br;q=0.5, gzip;q=0.5",
    "br;q=0.5, gzip;q=0.6",
    "gzip;q=0",
    "gzip;q=0, *",
    "*;q=0, gzip",
    "gzip;q=0, br;q=0, *",
    "*, gzip;q=0.5",
    "identity, gzip",
    "gzip, identity",
    "identity;q=0.5, gzip;q=0.6",
    "identity;q=0",
    "*;q=0.5, identity;q=0.5",
    "gzip;q=x, br",
    "gzip;q=x",
    "gzip;a=0",
    "gzip ; Q = 0.5 , br ; q = 0.4",
    "gzip;q=0.5;x=1, br;q=0.1",
    "gzip;q=-1",
    "gzip;q=2, br",
    "gzip;q=",
    "gzip;q",
)


@pytest.mark.parametrize("manager", ["plain", "two", "first"])
def test_the_client_chooses(pair: Pair, manager: str) -> None:
    cases: list[Case] = [(manager, get("/", f"Accept-Encoding: {wish}"), answer()) for wish in WISHES]
    cases += [
        (manager, get("/"), answer()),
        (manager, get("/", "Accept-Encoding: br;q=0.1", "Accept-Encoding: gzip"), answer()),
        (manager, get("/", "Accept-Encoding: br"), answer(kind="image/png")),
    ]
    with pair.same_stats(f"http.{manager}.compressor."):
        same_everywhere(pair, cases)


@pytest.mark.parametrize("manager", ["plain", "strict", "older", "two", "requests"])
@pytest.mark.parametrize("path", ["/off", "/strip", "/same", "/brotli", "/second", "/direct"])
def test_a_route_may_say_otherwise(pair: Pair, manager: str, path: str) -> None:
    wishes = ("gzip", "br", "gzip, br", "*")
    with pair.same_stats(f"http.{manager}.compressor."):
        same_everywhere(
            pair,
            [(manager, get(path, f"Accept-Encoding: {wish}"), answer()) for wish in wishes]
            + [(manager, post(path, b"y" * 100, GZIP), answer())],
        )


def test_requests_are_compressed_if_asked_for(pair: Pair) -> None:
    trailers = b"0\r\nx-t: 1\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    cases: list[Case] = [
        ("requests", sent, answer())
        for sent in (
            post("/", b"y" * 100),
            post("/", b"y" * 29),
            post("/", b"y" * 100, "Content-Type: image/png"),
            post("/", b"y" * 100, "Content-Type: application/json"),
            post("/", b"y" * 100, "Content-Encoding: x"),
            post("/", b""),
            head + b"64\r\n" + b"y" * 100 + b"\r\n" + trailers,
            head + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        )
    ]
    with pair.same_stats("http.requests.compressor."):
        same_everywhere(pair, cases)


@pytest.mark.parametrize("manager", ["plain", "tuned", "quality", "two", "requests"])
def test_bodies_in_pieces_and_with_trailers(pair: Pair, manager: str) -> None:
    pieces = [chunked(b"hello")[:-5], b"6\r\n world\r\n", b"0\r\n\r\n"]
    cases: list[Case] = [
        (manager, get("/", "Accept-Encoding: gzip, br"), script)
        for script in (
            Answer(pieces, pause=0.1),
            chunked(b"hello" * 20, b"x-t: 1\r\n"),
            Answer(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100, end="close"),
        )
    ]
    same_everywhere(pair, cases)


def test_an_old_client_gets_it_until_the_end(pair: Pair) -> None:
    sent = b"GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
    same_everywhere(pair, [("plain", sent, answer())])


def test_an_upgrade_is_no_body(pair: Pair) -> None:
    sent = get("/", "Connection: Upgrade", "Upgrade: websocket", GZIP)
    script = Answer(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + b"x" * 100,
        end="close",
    )
    same_everywhere(pair, [("upgrades", sent, script)], until="close")


def test_zstd_is_the_same_in_the_end(pair: Pair) -> None:
    from proxy.compression.zstd import zstd

    outcomes = pair.run(get("/", "Accept-Encoding: zstd"), answer(body=b"text" * 1000), listener="zstd")
    pieces = [chunked(b"hello")[:-5], b"6\r\n world\r\n", b"0\r\n\r\n"]
    streamed = pair.run(get("/", "Accept-Encoding: zstd"), Answer(pieces, pause=0.1), listener="zstd")
    for outcome, body in zip(
        (*outcomes, *streamed), [b"text" * 1000] * 2 + [b"hello world"] * 2, strict=True
    ):
        assert ("content-encoding", "zstd") in outcome.reply.response.fields
        assert zstd.decompress(outcome.reply.response.body) == body


def test_local_replies_are_compressed(pair: Pair) -> None:
    outcomes = pair.run(get("/", GZIP), Answer(b"", end="close"), listener="plain")
    texts = [gzip.decompress(outcome.reply.response.body) for outcome in outcomes]
    assert texts[0] == texts[1]
    assert texts[0].startswith(b"upstream connect error")
