"""Hostile bytes against the HTTP/1 codec: a typed error or a message, and the same message that others read.

The examples are the same in every run. `OUTRIDER_FUZZ=20` draws twenty times as many, different each time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import h11
import httptools
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.base.errors import ProtocolError
from proxy.codec.http1_body import BodyDecoder, ChunkedDecoder, LengthDecoder
from proxy.codec.http1_fields import find_head_end
from proxy.codec.http1_render import LAST_CHUNK, render_chunk
from proxy.codec.http1_request import RequestParser
from proxy.codec.http1_response import ResponseParser
from tests.fuzz.wire_targets import unchunked

_MORE = int(os.environ.get("OUTRIDER_FUZZ", "0"))
fuzz = settings(
    max_examples=300 * max(_MORE, 1), deadline=None, database=None, derandomize=not _MORE, print_blob=True
)

FIELDS = [
    b"Host: a",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 05",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding:Chunked ",
    b"Connection: close",
    b"Connection: keep-alive, x-a",
    b"X-A: 1",
    b"X-A:\t2 3\t",
    b"X-B:",
    b"Cookie: a=b; c=d",
    b"Accept: */*",
    b"X-C: \xff\x80",
    b"Expect: 100-continue",
    b"X-D: a\r\n b",
]
STARTS = [
    b"GET / HTTP/1.1",
    b"POST /a?b=c HTTP/1.1",
    b"HEAD /%41 HTTP/1.1",
    b"PUT /x HTTP/1.0",
    b"OPTIONS * HTTP/1.1",
    b"GET http://b/c HTTP/1.1",
    b"DELETE /;a=b HTTP/1.1",
]
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"1\r\na\r\n4;x=y\r\nbcde\r\n0\r\nX-T: 1\r\n\r\n",
    b"0\r\n\r\n",
]
NASTY = [bytes([n]) for n in (0, 9, 10, 11, 13, 32, 34, 44, 48, 58, 59, 127, 128, 255)] + [
    b"\r\n",
    b"\r\n ",
    b"\n\n",
    b"chunked",
    b"Content-Length: 7\r\n",
]


@st.composite
def mutated(draw: Any, message: st.SearchStrategy[bytes]) -> bytes:
    """A message with up to three changes anywhere."""
    data = bytearray(draw(message))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.sampled_from(NASTY) | st.binary(min_size=1, max_size=2))
        kind = draw(st.sampled_from(["insert", "replace", "delete"]))
        if kind == "insert":
            data[at:at] = piece
        elif kind == "replace":
            data[at : at + len(piece)] = piece
        else:
            del data[at : at + len(piece)]
    return bytes(data)


@st.composite
def requests(draw: Any) -> bytes:
    start = draw(st.sampled_from(STARTS))
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=6))
    return b"\r\n".join([start, *fields, b"", draw(st.sampled_from(BODIES))])


@st.composite
def responses(draw: Any) -> bytes:
    status = draw(
        st.sampled_from([b"200 OK", b"204 No Content", b"304", b"100 Continue", b"500 \xfc", b"99 x"])
    )
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=6))
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", draw(st.sampled_from(BODIES))])


class Read:
    """What one of the parsers read; None for parts that did not come."""

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = False

    def view(self) -> tuple[object, ...]:
        """Comparable: names in lower case, white space inside values as one space, codings in lower case."""
        fields = []
        for name, value in self.fields:
            words = b" ".join(value.split())
            fields.append((name.lower(), words.lower() if name.lower() == b"transfer-encoding" else words))
        return self.method, sorted(fields), self.body, self.complete


def ours(data: bytes) -> Read | None:
    end = find_head_end(data)
    if end < 0:
        return None
    request = RequestParser().parse(data[:end])
    if request.wire_bytes != end:
        return None
    read = Read()
    head = request.head
    read.method = head.method.encode()
    read.fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers.fields()]
    decoder: BodyDecoder = (
        ChunkedDecoder() if request.chunked else LengthDecoder(max(request.content_length, 0))
    )
    if not decoder.done:
        read.body, _ = decoder.feed(data[end:])
    read.complete = decoder.done
    return read


def with_h11(data: bytes) -> Read:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    read = Read()
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            read.method, read.target, read.fields = event.method, event.target, list(event.headers)
        elif isinstance(event, h11.Data):
            read.body += bytes(event.data)
        else:
            read.complete = isinstance(event, h11.EndOfMessage)
            return read


class _Callbacks(Read):
    first = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.first:
            self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        if self.first:
            self.body += body

    def on_message_complete(self) -> None:
        self.first = False
        self.complete = True


def with_httptools(data: bytes) -> Read:
    read = _Callbacks()
    parser = httptools.HttpRequestParser(read)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        # What follows a whole request is not its business.
        if not read.complete:
            raise
    read.method = parser.get_method()
    return read


#: What we drop from the head on purpose, as Envoy does.
DROPPED = {b"host", b"x-a"}


def agree(data: bytes, read: Callable[[bytes], Read], errors: tuple[type[Exception], ...]) -> None:
    try:
        mine = ours(data)
    except ProtocolError:
        return
    if mine is None:
        return
    try:
        theirs = read(data)
    except errors:
        return
    for one in (mine, theirs):
        one.fields = [(name, value) for name, value in one.fields if name.lower() not in DROPPED]
        # Trailers come as fields from httptools.
        one.fields = [(name, value) for name, value in one.fields if name.lower() != b"x-t"]
    assert mine.view() == theirs.view()


@fuzz
@given(mutated(requests()))
def test_h11_reads_the_same_request_or_refuses_it(data: bytes) -> None:
    assume(data[:1] > b" ")
    agree(data, with_h11, (h11.RemoteProtocolError,))


@fuzz
@given(mutated(requests()))
def test_llhttp_reads_the_same_request_or_refuses_it(data: bytes) -> None:
    assume(data[:1] > b" ")
    agree(data, with_httptools, (httptools.HttpParserError, httptools.HttpParserUpgrade))


@fuzz
@given(st.binary(max_size=300) | mutated(requests()))
def test_requests_raise_nothing_but_protocol_errors(data: bytes) -> None:
    assume(data)
    for parser in (RequestParser(), RequestParser(200, 3, keep_original_names=True, accept_http_10=False)):
        for action in (parser.parse, parser.check_start):
            with contextlib.suppress(ProtocolError):
                action(data.lstrip(b"\r\n") + b"\r\n\r\n")


@fuzz
@given(st.binary(max_size=300) | mutated(responses()))
def test_responses_raise_nothing_but_protocol_errors(data: bytes) -> None:
    parser = ResponseParser(200, 3, keep_original_names=True)
    for action in (parser.parse, parser.check_start):
        with contextlib.suppress(ProtocolError):
            action(data + b"\r\n\r\n")


@fuzz
@given(mutated(st.sampled_from(BODIES)), st.lists(st.integers(1, 20), max_size=30))
def test_chunks_are_read_alike_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    whole = unchunked([data])
    pieced = unchunked([*pieces, data[at:]])
    assert whole[2:] == pieced[2:]
    # Of a broken body the pieces may have given more before the error was seen.
    assert pieced[0].startswith(whole[0]) if whole[3] else whole == pieced


@fuzz
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.binary(max_size=20), st.integers(1, 40))
def test_no_byte_is_lost_or_doubled(chunks: list[bytes], rest: bytes, size: int) -> None:
    wire = b"".join(render_chunk(chunk) for chunk in chunks) + LAST_CHUNK + rest
    sized = LengthDecoder(len(b"".join(chunks)))
    for decoder, data in ((ChunkedDecoder(), wire), (sized, b"".join(chunks) + rest)):
        payload = left = b""
        at = 0
        while at < len(data) and not decoder.done:
            gained, left = decoder.feed(data[at : at + size])
            payload += gained
            at += size
        assert payload == b"".join(chunks)
        assert left + data[at:] == rest
