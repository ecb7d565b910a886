"""Origins that answer before the request has ended: what the client sends then is nobody's next request."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.compare import Difference, masked
from tests.support.configs import http_proxy
from tests.support.differential import Pair, Side, pair_fixture

pair = pair_fixture(http_proxy(hcm={"delayed_close_timeout": "0.3s"}))

POISON = b"GET /poison HTTP/1.1\r\nHost: a\r\n\r\n"
#: What the client sends before the answer, and behind it.
UPLOADS = {
    "sized": (b"Content-Length: 50\r\n\r\nhello", POISON + b"x" * (45 - len(POISON)) + POISON),
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"0\r\n\r\n" + POISON),
    "in a chunk": (
        b"Transfer-Encoding: chunked\r\n\r\n28\r\nhello",
        POISON + b"x" * 10 + b"\r\n0\r\n\r\n" + POISON,
    ),
}
_OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "sized": _OK + b"content-length: 2\r\n\r\nok",
    "empty": _OK + b"content-length: 0\r\n\r\n",
    "chunked": _OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "without a body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "that closes": b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno",
    "of both framings": _OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "twice": (_OK + b"content-length: 2\r\n\r\nok") * 2,
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"content-length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("upload", UPLOADS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_nothing_of_the_rest_is_a_request(pair: Pair, answer: str, upload: str) -> None:
    before, behind = UPLOADS[upload]

    def scenario(side: Side) -> Any:
        side.origin.close_connections()
        known = len(side.origin.connections)
        with Client(side.proxy.port) as client:
            client.send(b"POST /first HTTP/1.1\r\nHost: a\r\n" + before)
            deadline = time.monotonic() + 5
            while not any(b"hello" in one.received for one in side.origin.connections[known:]):
                assert time.monotonic() < deadline
                time.sleep(0.005)
            side.origin.connections[-1].send(ANSWERS[answer])
            assert client.receive(time.monotonic() + 5)
            client.send(behind)
            reply = client.read(["POST"])
        # Each head that a proxy writes has an id.
        heads = sum(bytes(one.received).count(b"x-request-id: ") for one in side.origin.connections[known:])
        responses = [(one.start, sorted(masked(one.fields)), one.body) for one in reply.responses]
        return responses, reply.rest, heads

    envoy, outrider = pair.both(scenario)
    pair.check([] if envoy == outrider else [Difference("scenario", envoy, outrider)])
    assert outrider[2] == 1
