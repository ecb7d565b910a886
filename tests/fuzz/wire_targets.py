"""Parsers of what peers send: HTTP/1, HTTP/2, HPACK, PROXY headers, ClientHellos, gRPC messages, load reports."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import h11
import hpack
from hpack.huffman_table import decode_huffman as reference_huffman

from proxy.base.errors import ProtocolError
from proxy.base.headers import HeaderMap
from proxy.codec.connect_rpc import ResponseCounter
from proxy.codec.grpc import MessageCounter, grpc_status, prefix
from proxy.codec.hpack_decoder import HpackDecoder
from proxy.codec.hpack_encoder import encode_fields
from proxy.codec.hpack_huffman import decode_huffman
from proxy.codec.hpack_tables import HpackError
from proxy.codec.http1_body import ChunkedDecoder
from proxy.codec.http1_fields import find_head_end
from proxy.codec.http1_request import RequestParser
from proxy.codec.http1_response import ResponseParser
from proxy.codec.http2_frames import Http2MessageError
from proxy.codec.http2_request import Http2RequestParser
from proxy.codec.http2_response import Http2ResponseParser
from proxy.codec.keep_alive import idle_limit
from proxy.filters.listener.client_hello import FOUND, NOT_TLS, HelloReader
from proxy.filters.listener.fingerprints import ja3, ja4
from proxy.filters.listener.proxy_header import MalformedHeaderError, read_proxy_header, version_of
from proxy.router.grpc_timeout import grpc_timeout
from proxy.transcoding.grpc_status_json import status_message
from proxy.upstream.lb.load_report import BINARY_FIELD, FIELD, read_report, weight_of
from tests.fuzz.target import target
from tests.support import client_hellos
from tests.support import http2_frames as wire
from tests.support.http2_core import Core

_NO_LIMIT = 1 << 30
_GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
_REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/a?b"), (":authority", "a.example")]


@target(
    _GET,
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: a\r\n b\r\n\r\n",
    b"POST http://b:80/c HTTP/1.1\nhost: a\nTransfer-Encoding: chunked\nConnection: close, x\n\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n\r\n",
)
def http1_request(data: bytes) -> None:
    """A head that is taken has no byte in it that could end a line, and its framing is unambiguous."""
    # Blank lines before a request are the connection's business.
    block = _head(data.lstrip(b"\r\n"))
    parsers = (RequestParser(), RequestParser(200, 3, keep_original_names=True, accept_http_10=False))
    for parser in parsers:
        for read in (parser.check_start, parser.parse, parser.parse):
            with contextlib.suppress(ProtocolError):
                parsed = read(block)
                if isinstance(parsed, int):
                    continue
                head = parsed.head
                assert not (
                    parsed.chunked and parsed.content_length >= 0 and "content-length" in head.headers
                )
                for text in (head.method, head.path, head.authority, *sum(head.headers.fields(), ())):
                    assert not set(text) & set("\r\n\0"), text
                _same_as_h11(block, parsed)


def _head(data: bytes) -> bytes:
    """The first head in the bytes; one without an end gets it."""
    if not data.strip(b"\r\n"):
        return b"x\r\n\r\n"
    end = find_head_end(data)
    return data + b"\r\n\r\n" if end < 0 else data[:end]


def _same_as_h11(block: bytes, parsed: Any) -> None:
    """What h11 takes, it reads in the same way."""
    peer = h11.Connection(h11.SERVER)
    try:
        peer.receive_data(block)
        event = peer.next_event()
    except h11.RemoteProtocolError:
        return
    if not isinstance(event, h11.Request):
        return
    assert event.method == parsed.head.method.encode()
    sizes = {value for name, value in event.headers if name == b"content-length"}
    codings = {value for name, value in event.headers if name == b"transfer-encoding"}
    if event.http_version == b"1.1":
        assert bool(codings) == parsed.chunked
    if sizes and not codings:
        assert sizes == {str(parsed.content_length).encode()} or int(sizes.pop()) == parsed.content_length


@target(
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 204\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5, max=3\r\n\r\n",
    b"HTTP/1.0 101 \xfc\nConnection: upgrade\nUpgrade: websocket\n\n",
    b"HTTP/1.1 304 X\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
)
def http1_response(data: bytes) -> None:
    """A head that is taken has a status of at most three digits and no byte that could end a line."""
    block = _head(data)
    for parser in (ResponseParser(), ResponseParser(200, 3, keep_original_names=True)):
        with contextlib.suppress(ProtocolError):
            parser.check_start(block)
        with contextlib.suppress(ProtocolError):
            parsed = parser.parse(block)
            assert 0 <= parsed.head.status <= 999
            for text in sum(parsed.head.headers.fields(), ()):
                assert not set(text) & set("\r\n\0"), text
            idle_limit(parsed.head.headers.get("keep-alive", ""))


@target(
    b"5\r\nhello\r\n0\r\n\r\n",
    b"1\r\na\r\n4;x=y\r\nbcde\r\n0\r\nX-T: 1\r\n\r\nrest",
    b'5;a="b"\nhello\n0\n\n',
)
def chunked_body(data: bytes) -> None:
    """The same payload, however it is cut, and never more of it than there are bytes."""
    whole = unchunked([data])
    pieced = unchunked([data[at : at + 1] for at in range(len(data))])
    assert whole[2:] == pieced[2:]
    assert len(whole[0]) <= len(data)
    if whole[3]:
        assert pieced[0].startswith(whole[0])
    else:
        assert whole == pieced


def unchunked(pieces: Sequence[bytes]) -> tuple[bytes, bytes, bool, bool]:
    """Payload, rest, whether it ended, whether it broke."""
    decoder = ChunkedDecoder(True)
    payload = rest = b""
    try:
        for piece in pieces:
            if decoder.done:
                rest += piece
                continue
            gained, rest = decoder.feed(piece)
            payload += gained
    except ProtocolError:
        return payload + decoder.gained, b"", decoder.done, True
    return payload, rest, decoder.done, False


@target(
    encode_fields(_REQUEST),
    b"\x3f\xe1\x1f" + encode_fields(_REQUEST) + b"\x40\x01a\x01b\xbe",
    b"\x40\x0acustom-key\x0dcustom-header\xbe\xbe",
    b"\x10\x08password\x06secret",
)
def hpack_blocks(data: bytes) -> None:
    """Blocks of one connection, cut where a byte says: the fields that the hpack package reads, or both refuse."""
    ours, theirs = HpackDecoder(), hpack.Decoder(max_header_list_size=_NO_LIMIT)
    size = data[0] % 64 + 1 if data else 1
    for at in range(1, len(data), size):
        block = data[at : at + size]
        try:
            fields = ours.decode(block, _NO_LIMIT)
        except HpackError:
            return
        try:
            reference = theirs.decode(block, raw=True)
        except (hpack.HPACKError, UnicodeDecodeError):
            # It is stricter in places, such as a second size update; what it takes counts.
            return
        assert [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields] == [
            (bytes(name), bytes(value)) for name, value in reference
        ]


@target(
    b"\xf1\xe3\xc2\xe5\xf2:k\xa0\xab\x90\xf4\xff", b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", b"\xff\xff\xff\xfc"
)
def hpack_huffman(data: bytes) -> None:
    """As the hpack package reads it, short or long."""
    for text in (data, data * 5):
        try:
            reference: bytes | None = bytes(reference_huffman(text))
        except hpack.HPACKError:
            reference = None
        try:
            ours: bytes | None = decode_huffman(text).encode("latin-1")
        except HpackError:
            ours = None
        assert ours == reference


_HELLO = wire.settings() + wire.settings_ack()


@target(
    wire.request(1) + wire.ping(),
    wire.request(1, end=False) + wire.data(1, b"hello", end=True, padding=3) + wire.window_update(0, 5),
    wire.headers(1, encode_fields(_REQUEST)[:5], end_headers=False)
    + wire.continuation(1, encode_fields(_REQUEST)[5:]),
    wire.settings({4: 70_000, 1: 0})
    + wire.request(1)
    + wire.rst_stream(1)
    + wire.priority(3, 1)
    + wire.goaway(),
    wire.response(1) + wire.data(1, b"x", end=True),
)
def http2_frames(data: bytes) -> None:
    """A verdict on either side of a connection, the same in whatever pieces."""
    for as_client in (False, True):
        views: list[Any] = []
        for size in (len(data) or 1, 1):
            core = Core(client=as_client)
            core.feed((b"" if as_client else wire.PREFACE) + _HELLO)
            if as_client:
                core.request()
            core.feed(data, size)
            views.append((str(core.error), {number: _seen(stream) for number, stream in core.opened.items()}))
        assert views[0] == views[1]


def _seen(stream: Any) -> tuple[Any, ...]:
    """The events of a stream, its body in one piece."""
    return (stream.body, [event for event in stream.events if event[0] != "data"])


@target(
    encode_fields([*_REQUEST, ("content-length", "5"), ("cookie", "a"), ("te", "trailers")]),
    encode_fields([(":method", "CONNECT"), (":authority", "a:1"), (":protocol", "websocket")]),
    encode_fields([(":status", "200"), ("content-length", "5"), ("a_b", "c")]),
)
def http2_fields(data: bytes) -> None:
    """Fields that make a request or response can be written into an HTTP/1 head as they are."""
    try:
        fields = HpackDecoder().decode(data)
    except ProtocolError:
        return
    for requests in (Http2RequestParser(), Http2RequestParser(200, 4, allow_connect=True, ids_apart=True)):
        for read in (requests.parse, requests.parse, requests.parse_new):
            with contextlib.suppress(Http2MessageError):
                request = read(list(fields), len(data))
                head = request.head
                assert " " not in head.method + head.path
                _plain(head.method, head.path, head.authority, *sum(head.headers.fields(), ()))
        with contextlib.suppress(Http2MessageError):
            _plain(*sum(requests.parse_trailers(list(fields), len(data))[0].fields(), ()))
    responses = Http2ResponseParser()
    with contextlib.suppress(Http2MessageError):
        response = responses.parse(list(fields), len(data))
        assert 100 <= response.head.status <= 999
        _plain(*sum(response.head.headers.fields(), ()))


def _plain(*texts: str) -> None:
    for text in texts:
        assert not set(text) & set("\r\n\0"), text


@target(
    b"PROXY TCP4 192.168.0.1 10.0.0.9 56324 443\r\nrest",
    b"PROXY TCP6 2001:db8::1 fe80::1%lo 1 65535\r\n",
    b"PROXY UNKNOWN x\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\xa8\0\1\x0a\0\0\x09\xdc\x04\x01\xbb\x02\0\x04abcdx",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
)
def proxy_header(data: bytes) -> None:
    """It asks for more until it decides, and decides the same in whatever pieces."""
    assert version_of(data) in {0, 1, 2}
    try:
        whole = read_proxy_header(data)
    except MalformedHeaderError:
        return
    if isinstance(whole, int):
        assert whole > len(data)
        return
    assert 0 < whole.size <= len(data)
    for end in range(1, len(data) + 1):
        # A whole header is found as soon as it is there, and what is cut off is never refused.
        found = read_proxy_header(data[:end])
        if not isinstance(found, int):
            assert found == whole
            assert end >= whole.size
            break


@target(
    client_hellos.records(client_hellos.BROWSER),
    client_hellos.records(client_hellos.BROWSER, [1, 2, 3]),
    client_hellos.records(
        client_hellos.message(client_hellos.server_name(b"a.example"), client_hellos.alpn(b"h2"))
    ),
    b"\x16\x03\x01\0\0" * 3 + b"\x15\x03\x01\0\x02\x01\x05",
)
def client_hello(data: bytes) -> None:
    """The same verdict byte by byte as at once, with fingerprints of whatever was read."""
    reader = HelloReader()
    verdict = reader.feed(data, len(data))
    bytewise = HelloReader()
    for end in range(1, len(data) + 1):
        found = bytewise.feed(data, end)
        if found in (FOUND, NOT_TLS):
            assert found == verdict
            break
        assert found > end
    else:
        assert verdict == found if data else verdict == 5
    said = reader.hello
    if said is not None:
        assert said.server_name == said.server_name.encode("latin-1").lower().decode("latin-1")
        assert len(ja3(said)) == 32
        assert ja4(said).count("_") == 2


@target(prefix(3) + b"yes" + prefix(0), prefix(2, 2) + b"{}", prefix(14, 2) + b'{"error":true}')
def grpc_messages(data: bytes) -> None:
    """Messages are counted alike in whatever pieces; the outcome of a Connect stream is yes or no."""
    for make in (MessageCounter, ResponseCounter):
        whole, pieces = make(), make()
        whole.feed(data)
        for at in range(len(data)):
            pieces.feed(data[at : at + 1])
        assert whole.count == pieces.count
        if isinstance(whole, ResponseCounter) and isinstance(pieces, ResponseCounter):
            assert whole.success == pieces.success


@target(b"14\nwhy%20not%ff\n5S\nCAUSAmFi", b"99999999999999999999999\n%\n99999999n\n=", b"0\n\n1H\n")
def grpc_fields(data: bytes) -> None:
    """`grpc-status`, `grpc-message`, `grpc-timeout` and `grpc-status-details-bin` of any text."""
    parts = (*data.decode("latin-1").split("\n", 3), "", "", "", "")
    names = ("grpc-status", "grpc-message", "grpc-timeout", "grpc-status-details-bin")
    fields = HeaderMap([(name, part) for name, part in zip(names, parts, strict=False) if part])
    status = grpc_status(fields)
    assert status is None or status >= -1
    timeout = grpc_timeout(fields)
    assert timeout is None or timeout >= 0
    status_message(2, fields).SerializeToString()


@target(
    b"TEXT rps_fractional=10,cpu_utilization=0.5,utilization.a=1e3",
    b'JSON {"rpsFractional": 10, "cpu_utilization": null, "namedMetrics": {"a": [1]}}',
    b"BIN CQAAAAAAAPA/",
    b"CQAAAAAAAPA/",
)
def load_report(data: bytes) -> None:
    """A report gives finite numbers, or nothing."""
    text = data.decode("latin-1")
    for name in (FIELD, BINARY_FIELD):
        report = read_report(HeaderMap([(name, text)]))
        if report is not None:
            assert all(0 <= number < float("inf") for number in report.values())
            weight = weight_of(report, ["utilization.*", "named_metrics.a"], 1.0)
            assert weight is None or 0 <= weight < 1 << 32
