"""Bytes on the wire in the access log: heads, bodies and their framing, both ways."""

from collections.abc import Iterator

import pytest

from tests.support.configs import ROUTER, file_log, http_proxy, typed
from tests.support.differential import Pair

NAMES = [
    f"{side}_{kind}_BYTES_{way}"
    for side in ("DOWNSTREAM", "UPSTREAM")
    for kind in ("HEADER", "WIRE")
    for way in ("RECEIVED", "SENT")
]
FORMAT = "%BYTES_RECEIVED% %BYTES_SENT% " + " ".join(f"%{name}%" for name in NAMES)
GET = b"GET /a/b HTTP/1.1\r\nHost: a.example\r\nX-A: one\r\nX-B:two\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"
)
PLAIN = b"HTTP/1.1 200 OK\r\nServer: o\r\nDate: x\r\nContent-Length: 4\r\n\r\nbody"
PIECES = (
    b"HTTP/1.1 200 OK\r\nServer: o\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\nbody\r\n2\r\nof\r\n0\r\n\r\n"
)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    # Without x-envoy-upstream-service-time, whose length depends on how long the origin took.
    bare = {"name": "router", "typed_config": typed(ROUTER, suppress_envoy_headers=True)}
    with Pair(http_proxy(hcm={"access_log": [file_log(FORMAT)], "http_filters": [bare]})) as started:
        yield started


@pytest.mark.parametrize("answer", [PLAIN, PIECES], ids=["length", "chunked"])
@pytest.mark.parametrize("request_bytes", [GET, POST, CHUNKED], ids=["get", "post", "chunked"])
def test_bytes_are_counted_as_by_envoy(pair: Pair, request_bytes: bytes, answer: bytes) -> None:
    pair.same(request_bytes, script=answer)
    pair.same_log(1)
