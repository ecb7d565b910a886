"""Deadlines of a downstream HTTP/1 connection."""

from tests.support.http2_manager import Http2Manager, response


def test_an_old_connection_ends_however_busy_it_is():
    of = Http2Manager(common_http_protocol_options={"max_connection_duration": "8s"}, drain_timeout="2s")
    of.upstream.answer = response(200, ("content-length", "0"))
    client = of.connect(start=False)
    for _ in range(12):
        client.transport.protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        of.advance(1)
    assert b"connection: close" in client.transport.written
    assert of.stats.downstream_cx_max_duration_reached == 1
