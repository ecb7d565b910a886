"""HTTP/1 clients, HTTP/2 hosts: what becomes of answers, resets, GOAWAY, nonsense and limits."""

import time

import pytest

from tests.support import http2_frames as h2
from tests.support.configs import cluster, file_log, http2_cluster, http_proxy
from tests.support.differential import pair_fixture, same_verdict
from tests.support.http2_origin import Http2Answer, Http2Origin

GET = b"GET / HTTP/1.1\r\nhost: a\r\nx-request-id: r\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nhost: a\r\nx-request-id: r\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\nx-request-id: r\r\ncontent-length: 100\r\n\r\nabc"
LOG = file_log(
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_PROTOCOL% "
    "%UPSTREAM_TRANSPORT_FAILURE_REASON%"
)
#: Counted by Envoy's codec library alone, or when it closes a connection from within itself.
OWN = ("cluster.origin.http2.nghttp2_upstream_connections",)
BYTES = tuple(
    f"cluster.origin.upstream_cx_{name}"
    for name in ("rx_bytes_total", "tx_bytes_total", "rx_bytes_buffered", "tx_bytes_buffered")
)

pair = pair_fixture(
    http_proxy(hcm={"access_log": [LOG], "delayed_close_timeout": "0.1s"}, clusters=[http2_cluster()]),
    origins={"origin": Http2Origin},
)


def raw(*frames):
    """A script that sends frames made for the id of its stream."""

    def play(stream):
        stream.wait_end(1)
        stream.connection.send(b"".join(frame(stream.id) for frame in frames))

    return play


def head(status=200, *fields, end=False):
    return lambda stream_id: h2.response(stream_id, status, fields, end=end)


def data(body, *, end=True):
    return lambda stream_id: h2.data(stream_id, body, end=end)


def reset(code):
    return lambda stream_id: h2.rst_stream(stream_id, code)


def fields(*pairs, end=False):
    return lambda stream_id: h2.headers(stream_id, pairs, end=end)


def goaway(below=0, code=0):
    """GOAWAY for the stream, or for the one before it."""
    return lambda stream_id: h2.goaway(max(stream_id - below, 0), code, b"why")


def same(pair, script, send=GET, ignore=(), **options):
    with pair.same_stats("cluster.origin.", ignore=(*OWN, *BYTES, *ignore)):
        pair.same(send, script, **{"timeout": 4.0, **options})
    return pair.same_log()


@pytest.mark.parametrize("length", [126, 127, 300])
def test_long_request_ids(pair, length):
    # What becomes of a head is kept once it has come before.
    for _ in range(3):
        same(pair, raw(head(), data(b"hi")), GET.replace(b"id: r", b"id: " + b"r" * length))


@pytest.mark.parametrize("code", range(15))
def test_a_reset_before_the_head(pair, code):
    same(pair, raw(reset(code)))


@pytest.mark.parametrize("code", range(14))
def test_a_reset_in_the_middle(pair, code):
    same(pair, raw(head(), data(b"x", end=False), reset(code)))


def test_a_reset_after_the_end_changes_nothing(pair):
    same(pair, raw(head(), data(b"x"), reset(0)))


@pytest.mark.parametrize(
    "frames",
    [
        [head(103, ("link", "x"))],
        [head(100)],
        [head(102)],
        [head(104)],
        [head(199)],
        [head(100), head(103), head(102)],
    ],
)
@pytest.mark.parametrize("end", [[head(200), data(b"hi")], [reset(2)], [reset(1)]])
def test_interim_responses(pair, frames, end):
    same(pair, raw(*frames, *end))


@pytest.mark.parametrize(
    "script",
    [
        Http2Answer(body=None),
        Http2Answer(body=b""),
        Http2Answer(body=[b"a", b"b", b"c"]),
        Http2Answer(fields=(("content-length", "5"),), body=b"hello"),
        Http2Answer(204, (), None),
        Http2Answer(204, (("content-length", "0"),), None),
        Http2Answer(304, (("content-length", "5"),), None),
        Http2Answer(600),
        Http2Answer(999),
        Http2Answer(fields=(("a", " b "), ("a_b", "c"), ("set-cookie", "1"), ("set-cookie", "2"))),
        Http2Answer(trailers=(("t", "v"),)),
        Http2Answer(body=None, trailers=(("t", "v"),)),
        Http2Answer(fields=[(f"a{number}", "x") for number in range(99)]),
        Http2Answer(body=b"x" * 100_000),
    ],
    ids=lambda answer: (
        f"{answer.status}-{len(answer.fields)}-{len(answer.body or b'')}-{len(answer.trailers)}"
    ),
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_answers(pair, script, method):
    if method == b"HEAD" and script.trailers:
        # In one piece: for this client the head is all, and it leaves.
        script = raw(head(script.status, *script.fields), fields(*script.trailers, end=True))
    elif method == b"HEAD":
        script = Http2Answer(script.status, script.fields, None)
    same(pair, script, GET.replace(b"GET", method), methods=[method.decode()])


@pytest.mark.parametrize(
    "frames",
    [
        [head(101)],
        [head(103, end=True)],
        [fields(("a", "b"))],
        [fields((":status", "200"), (":status", "200"))],
        [fields((":status", "2x0"))],
        [fields((":status", "99"))],
        [fields((":status", "1000"))],
        [fields(("a", "b"), (":status", "200"))],
        [fields((":status", "200"), (":path", "/"))],
        [head(200, ("Upper", "b"))],
        [head(200, ("connection", "close"))],
        [head(200, ("transfer-encoding", "chunked"))],
        [head(200, ("", "b"))],
        [head(200, ("a b", "c"))],
        [head(200, ("a", "b\r\nc: d"))],
        [head(200, ("a", "b\0"))],
        [head(200, ("content-length", "x"))],
        [head(200, ("content-length", "2"), ("content-length", "2"))],
        [head(200, ("content-length", "2, 2"))],
        [head(204, ("content-length", "5"))],
        [head(200, *[(f"a{number}", "x") for number in range(100)], end=True)],
        [head(), data(b"hi", end=False), fields((":status", "200"), end=True)],
        [head(), data(b"hi", end=False), fields(("t", "v"))],
        [data(b"hi", end=False)],
        [lambda _: h2.frame(h2.PING, payload=b"123")],
        [lambda _: h2.frame(h2.SETTINGS, payload=b"\0\4\x80\0\0\0")],
        [lambda stream_id: h2.window_update(stream_id, 0)],
        [lambda _: h2.window_update(0, 2**31 - 1)],
        [lambda stream_id: h2.frame(h2.HEADERS, 4, stream_id, b"\xff\xff\xff\xff\xff\xff")],
        [lambda stream_id: h2.frame(h2.PUSH_PROMISE, 4, stream_id, b"\0\0\0\2\x82")],
        [lambda stream_id: h2.data(stream_id + 2, b"idle")],
        [lambda stream_id: h2.response(stream_id + 2)],
        [lambda _: h2.response(2)],
        [head(), data(b"x" * 17_000)],
        [head(), data(b"", end=False), data(b"", end=False), data(b"", end=False)],
        [lambda _: b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"],
    ],
)
def test_nonsense(pair, frames):
    same(pair, raw(*frames))


@pytest.mark.parametrize(
    "frames",
    [
        [head(200, ("content-length", "5")), data(b"hi")],
        [head(200, ("content-length", "1")), data(b"hi")],
        [head(204), data(b"hi")],
        [head(304), data(b"hi")],
    ],
)
def test_a_body_of_another_length_than_announced_ends_its_stream_only(pair, frames):
    same(pair, raw(*frames))


@pytest.mark.parametrize("size", [1500, 6200])
def test_a_head_beyond_the_size(pair, size):
    def play(stream):
        block = h2.encode(
            [(":status", "200"), *[(f"a{number}", "x" * size) for number in range(62_000 // size)]]
        )
        pieces = [block[start : start + 16_000] for start in range(0, len(block), 16_000)]
        stream.connection.send(
            h2.headers(stream.id, pieces[0], end=True, end_headers=False)
            + b"".join(
                h2.continuation(stream.id, piece, end_headers=number == len(pieces) - 2)
                for number, piece in enumerate(pieces[1:])
            )
        )

    same(pair, play, ignore=("cluster.origin.http2.header_list_size_too_large",))


def closing(*frames):
    def play(stream):
        stream.wait_end(1)
        stream.connection.send(b"".join(frame(stream.id) for frame in frames))
        stream.connection.half_close()

    return play


@pytest.mark.parametrize(
    "script",
    [
        closing(),
        closing(head()),
        closing(head(), data(b"x", end=False)),
        closing(goaway(below=2, code=2)),
        closing(goaway(code=2)),
        raw(goaway(below=2)),
        raw(goaway(below=2, code=11)),
        raw(head(), data(b"x", end=False), goaway(below=2)),
    ],
)
def test_ends_of_the_connection(pair, script):
    same(pair, script)


def test_a_stream_within_a_goaway_is_finished_and_the_next_goes_elsewhere(pair):
    def play(stream):
        stream.connection.send(h2.goaway(stream.id))
        time.sleep(0.1)
        stream.answer(Http2Answer())

    # Envoy takes it for an error that the connection closes while it handles the last frame.
    same(pair, play, ignore=("cluster.origin.upstream_cx_protocol_error",))
    same(pair, Http2Answer())


def test_an_answer_before_the_end_of_the_request(pair):
    def play(stream):
        stream.answer(Http2Answer(413))
        stream.wait_end(2)

    same(pair, play, POST)


def test_a_client_that_leaves(pair):
    with pair.same_stats("cluster.origin.", ignore=(*OWN, *BYTES)):
        outcomes = pair.run(GET, lambda stream: stream.wait_end(5), timeout=0.3)
        assert not any(outcome.reply.raw for outcome in outcomes)
    pair.same_log()
    resets = [side.origin.streams[0].view.reset for side in (pair.envoy, pair.outrider)]
    assert resets[0] == resets[1]


OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TLS = {
    "transport_socket": {
        "name": "tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        },
    }
}


def typed_options(**fields):
    return {
        "typed_extension_protocol_options": {
            OPTIONS: {"@type": f"type.googleapis.com/{OPTIONS}", **fields},
        }
    }


def http2_options(**fields):
    return typed_options(explicit_http_config={"http2_protocol_options": fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"http2_protocol_options": {}},
        {"http2_protocol_options": {}, "http_protocol_options": {}},
        {"http2_protocol_options": {}, "protocol_selection": "USE_DOWNSTREAM_PROTOCOL"},
        {
            "http2_protocol_options": {},
            "http_protocol_options": {},
            "protocol_selection": "USE_DOWNSTREAM_PROTOCOL",
        },
        {"http2_protocol_options": {"initial_stream_window_size": 10}},
        {
            "http2_protocol_options": {},
            **typed_options(explicit_http_config={"http_protocol_options": {}}),
        },
        {
            "max_requests_per_connection": 1,
            "common_http_protocol_options": {"max_requests_per_connection": 2},
        },
        typed_options(auto_config={}),
        {**typed_options(auto_config={}), **TLS},
        {**typed_options(auto_config={"http3_protocol_options": {}}), **TLS},
        {**typed_options(auto_config={"alternate_protocols_cache_options": {"name": "x"}}), **TLS},
        typed_options(use_downstream_protocol_config={"http2_protocol_options": {}}),
        typed_options(explicit_http_config={}),
        typed_options(),
        http2_options(hpack_table_size=0),
        http2_options(max_concurrent_streams=0),
        http2_options(initial_connection_window_size=65534),
        http2_options(custom_settings_parameters=[{"identifier": 1, "value": 1}]),
        http2_options(custom_settings_parameters=[{"identifier": 99, "value": 1}]),
        http2_options(hpack_table_size=5, custom_settings_parameters=[{"identifier": 1, "value": 1}]),
        http2_options(custom_settings_parameters=[{"identifier": 2, "value": 1}]),
        http2_options(custom_settings_parameters=[{"identifier": 8, "value": 1}]),
        http2_options(
            custom_settings_parameters=[{"identifier": 99, "value": 1}, {"identifier": 99, "value": 2}]
        ),
        http2_options(connection_keepalive={"interval": "1s", "timeout": "1s"}),
        http2_options(connection_keepalive={}),
        http2_options(connection_keepalive={"timeout": "1s"}),
        http2_options(connection_keepalive={"timeout": "1s", "connection_idle_interval": "2s"}),
    ],
)
def test_verdicts_on_protocol_options(fields):
    same_verdict(http_proxy(clusters=[cluster("origin", 24001, **fields)]))
