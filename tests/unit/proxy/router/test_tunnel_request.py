"""What a client sends before the host has accepted its tunnel."""

from types import SimpleNamespace

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.base.runtime import Runtime
from proxy.codec.messages import ParsedResponse
from proxy.router.tunnel_request import TunnelRequest
from proxy.upstream.cluster import Cluster
from tests.support.cluster_messages import compiled, endpoint


class Stream:
    """A `ResponseSink` that notes what it hears."""

    def __init__(self):
        self.info = SimpleNamespace(connection=SimpleNamespace(upstream_source=None))
        self.heard = []

    def on_upstream_response(self, response, body, end_stream):
        self.heard.append(response.head.status)

    def on_upstream_write_paused(self):
        self.heard.append("paused")

    def on_upstream_write_resumed(self):
        self.heard.append("resumed")


class Connection:
    """A pool and its connection in one, which notes what is sent."""

    def __init__(self):
        self.sent = []

    def take(self, request):
        return self

    def now(self):
        return 1.0

    def send_head(self, body, end_stream):
        self.sent.append(("head", body, end_stream))

    def send_data(self, data, end_stream):
        self.sent.append((data, end_stream))


def started(method="GET", *, end_stream=False):
    cluster = Cluster(compiled(endpoint(), per_connection_buffer_limit_bytes=10), Runtime(), lambda: 0)
    connection = Connection()
    request = TunnelRequest(Stream(), cluster, cluster.hosts[0], 0, method, None, b"")
    request.upgrading = "" if method == "CONNECT" else "websocket"
    request.start(lambda *_: connection, end_stream=end_stream)
    return request, connection


def answer(request, status):
    request.on_response(ParsedResponse(ResponseHead(status, HeaderMap()), 0), b"", False)


@pytest.mark.parametrize(("method", "status"), [("GET", 101), ("CONNECT", 200), ("CONNECT", 204)])
def test_early_bytes_wait_for_the_acceptance(method, status):
    request, connection = started(method)
    request.send_data(b"ab", False)
    request.send_data(b"cd", False)
    assert connection.sent == [("head", b"", False)]
    answer(request, status)
    request.send_data(b"ef", True)
    assert connection.sent[1:] == [(b"abcd", False), (b"ef", True)]


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("GET", 403), ("CONNECT", 302)])
def test_early_bytes_are_not_for_who_refuses(method, status):
    request, connection = started(method)
    request.send_data(b"ab", True)
    answer(request, status)
    assert connection.sent == [("head", b"", False)]


def test_an_early_end_waits_too():
    request, connection = started("CONNECT", end_stream=True)
    request.send_data(b"late", False)
    answer(request, 200)
    assert connection.sent == [("head", b"", False), (b"", True)]


def test_trailers_are_but_the_end():
    request, connection = started("CONNECT")
    request.send_trailers(HeaderMap())
    answer(request, 200)
    assert connection.sent[1:] == [(b"", True)]


def test_too_many_early_bytes_stop_the_client():
    request, _ = started()
    request.send_data(b"x" * 11, False)
    assert request._stream.heard == ["paused"]
    answer(request, 101)
    assert request._stream.heard == ["paused", "resumed", 101]
