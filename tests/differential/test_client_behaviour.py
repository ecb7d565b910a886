"""What clients such as curl see in corners of HTTP/1.1 that ordinary traffic meets."""

from __future__ import annotations

import pytest

from tests.support.configs import http_proxy
from tests.support.differential import Pair, pair_fixture

pair = pair_fixture(http_proxy())

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"HTTP/1.1 416 Range Not Satisfiable\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n", b"1\r\na\r\n0\r\n\r\n"])
def test_an_empty_chunked_body_stays_chunked(pair: Pair, body: bytes) -> None:
    assert pair.same(GET, CHUNKED + body).status == 416
