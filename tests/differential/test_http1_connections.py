"""The life of HTTP/1 connections: reuse, order, ends, upgrades, trailers, spelling of names, pressure, time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.client import Client, Reply
from tests.support.compare import Difference, masked
from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side
from tests.support.http_text import Message
from tests.support.origin import HELLO, Answer, OriginConnection, Script

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PRESERVE = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LISTENERS = ("plain", "old", "rich", "proper", "upgrades", "limited", "once", "idle")


def _cluster(name: str, http1: Json | None = None, **common: Any) -> Json:
    options = typed(OPTIONS, explicit_http_config={"http_protocol_options": http1 or {}})
    if common:
        options["common_http_protocol_options"] = common
    return cluster(name, "{{origin_port}}", typed_extension_protocol_options={OPTIONS: options})


def _listener(name: str, routes: list[Json] | None = None, **hcm: Any) -> Json:
    table = {"name": name, "virtual_hosts": [virtual_host(routes or [route()])]}
    log = file_log("%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %REQ(:METHOD)%")
    return listener([connection_manager(table, access_log=[log], **hcm)], name)


def _config() -> Json:
    preserve = {"stateful_formatter": {"name": "preserve_case", "typed_config": typed(PRESERVE)}}
    rich = {"enable_trailers": True, "header_key_format": preserve}
    proper = {"header_key_format": {"proper_case_words": {}}}
    return bootstrap(
        [
            _listener("plain"),
            _listener("old", http_protocol_options={"accept_http_10": True, "default_host_for_http_10": "d"}),
            _listener("rich", [route("rich")], http_protocol_options=rich, proxy_100_continue=True),
            _listener("proper", [route("proper")], http_protocol_options=proper),
            _listener(
                "upgrades",
                [{"match": {"connect_matcher": {}}, "route": {"cluster": "origin"}}, route()],
                upgrade_configs=[{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
            ),
            _listener(
                "limited",
                common_http_protocol_options={"max_requests_per_connection": 2, "idle_timeout": "0.4s"},
                request_headers_timeout="0.3s",
                drain_timeout="0.4s",
            ),
            _listener("once", [route("once")]),
            _listener("idle", [route("idle")]),
        ],
        [
            cluster(),
            _cluster("rich", rich),
            _cluster("proper", proper),
            _cluster("once", max_requests_per_connection=1),
            _cluster("idle", idle_timeout="0.3s"),
        ],
    )


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair(_config(), listeners=LISTENERS) as started:
        yield started


def agree(pair: Pair, script: Script, scenario: Callable[[Side], Any]) -> Any:
    """`scenario` must come to the same on both sides; what it came to."""

    def run(side: Side) -> Any:
        side.origin.close_connections()
        side.origin.script(script)
        return scenario(side)

    envoy, outrider = pair.both(run)
    pair.check([] if outrider == envoy else [Difference("scenario", envoy, outrider)])
    return outrider


def view(reply: Reply) -> tuple[object, ...]:
    """What of a reply is compared."""
    messages = [
        (message.start, sorted(masked(message.fields)), message.body, message.trailers)
        for message in reply.responses
    ]
    return messages, reply.end, reply.rest


def connect(side: Side, name: str = "plain") -> Client:
    return Client(side.proxy.ports[name])


def by_path(request: Message, connection: OriginConnection) -> Answer:
    """`/delay/body` answers with the body after so many milliseconds."""
    _, delay, body = request.target.split("/")
    return Answer(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body.encode()),
        delay=int(delay) / 1000,
    )


# -- reuse and order


def test_connections_are_reused_on_both_sides(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        before = len(side.origin.connections)
        with connect(side) as client:
            replies = [view(client.request(GET)) for _ in range(5)]
        return replies, len(side.origin.connections) - before

    replies, connections = agree(pair, HELLO, scenario)
    assert connections == 1
    assert all(end == "open" for _, end, _ in replies)


def test_pipelined_requests_are_answered_in_order(pair: Pair) -> None:
    paths = ["80/first", "0/second", "30/third", "0/fourth"]
    sent = b"".join(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode() for path in paths)

    def scenario(side: Side) -> Any:
        with connect(side) as client:
            return view(client.request(sent))

    messages, _, _ = agree(pair, by_path, scenario)
    assert [message[2] for message in messages] == [b"first", b"second", b"third", b"fourth"]


def test_a_client_that_asks_for_the_close_gets_it_at_once(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        with connect(side) as client:
            client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            reply = client.read(until="close", timeout=3)
            return view(reply), reply.seconds < 0.7

    assert agree(pair, HELLO, scenario)[1]


def test_an_origin_that_closes_does_not_close_the_client(pair: Pair) -> None:
    answer = Answer(HELLO.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), end="close")

    def scenario(side: Side) -> Any:
        before = len(side.origin.connections)
        with connect(side) as client:
            return [view(client.request(GET)) for _ in range(3)], len(side.origin.connections) - before

    assert agree(pair, answer, scenario)[1] == 3


def test_a_connection_that_the_origin_has_closed_is_not_used_again(pair: Pair) -> None:
    """Envoy loses a request now and then, so only Outrider is asked."""
    side = pair.outrider
    side.origin.script(Answer(HELLO, end="close"))
    with connect(side) as client:
        for _ in range(20):
            assert client.request(GET).status == 200
            time.sleep(0.01)


def test_bytes_on_an_idle_upstream_connection_harm_nobody(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        with connect(side) as client:
            first = view(client.request(GET))
            side.origin.connections[-1].send(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n")
            time.sleep(0.2)
            return first, view(client.request(GET))

    agree(pair, HELLO, scenario)


def test_limits_of_requests_per_connection(pair: Pair) -> None:
    def downstream(side: Side) -> Any:
        with connect(side, "limited") as client:
            return [view(client.request(GET)) for _ in range(2)]

    (_, first_end, _), (_, second_end, _) = agree(pair, HELLO, downstream)
    assert (first_end, second_end) == ("open", "closed")

    def upstream(side: Side) -> Any:
        before = len(side.origin.connections)
        with connect(side, "once") as client:
            return [view(client.request(GET)) for _ in range(3)], len(side.origin.connections) - before

    assert agree(pair, HELLO, upstream)[1] == 3


# -- HTTP/1.0


@pytest.mark.parametrize("fields", [b"", b"Host: a\r\n", b"Host: a\r\nConnection: keep-alive\r\n"])
@pytest.mark.parametrize(
    "answer",
    [
        HELLO,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_http_10(pair: Pair, fields: bytes, answer: bytes) -> None:
    def scenario(side: Side) -> Any:
        with connect(side, "old") as client:
            client.send(b"GET / HTTP/1.0\r\n" + fields + b"\r\n")
            return view(client.read(until="close", timeout=0.6)), side.origin.requests[-1].fields[0]

    agree(pair, answer, scenario)


def test_http_10_post(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        with connect(side, "old") as client:
            client.send(b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
            return view(client.read(until="close", timeout=0.6)), side.origin.requests[-1].body

    assert agree(pair, HELLO, scenario)[1] == b"hello"


# -- Expect and interim responses

EXPECT = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize("name", ["plain", "rich"])
@pytest.mark.parametrize("status", [100, 102, 103, 417])
def test_expect_continue(pair: Pair, name: str, status: int) -> None:
    def script(request: Message, connection: OriginConnection) -> Answer:
        return Answer((b"HTTP/1.1 %d X\r\nX-Early: 1\r\n\r\n" % status, HELLO) if status < 200 else HELLO)

    def scenario(side: Side) -> Any:
        with connect(side, name) as client:
            client.send([EXPECT, b"hello"], 0.1)
            reply = client.read(["POST"])
            return view(reply), [message.get("expect") for message in side.origin.requests]

    agree(pair, script, scenario)


def test_an_early_response_ends_the_upload(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        before = len(side.origin.connections)
        with connect(side) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello")
            deadline = time.monotonic() + 3
            while not any(one.received.endswith(b"hello") for one in side.origin.connections[before:]):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            side.origin.connections[-1].send(HELLO)
            return view(client.read(["POST"]))

    messages, end, _ = agree(pair, HELLO, scenario)
    assert end == "closed"
    assert ("connection", "close") in messages[0][1]


# -- methods and empty bodies


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 0\r\n",
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
    ],
)
def test_framing_is_kept_or_renewed(pair: Pair, request_bytes: bytes, head: bytes) -> None:
    body = b"hello" if b"5" in head else b"0\r\n\r\n" if b"chunked" in head else b""
    if request_bytes.startswith(b"HEAD"):
        body = b""
    answer = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body

    def scenario(side: Side) -> Any:
        with connect(side) as client:
            replies = [view(client.request(request_bytes)) for _ in range(3)]
        seen = [
            (message.start, sorted(masked(message.fields)), message.body) for message in side.origin.requests
        ]
        return replies, seen

    agree(pair, answer, scenario)


# -- upgrades

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def echo(head: bytes) -> Script:
    """Answer with `head`, then send everything back in capitals."""

    def script(request: Message, connection: OriginConnection) -> None:
        connection.send(head)
        while data := connection.receive(2):
            connection.send(data.upper())
        connection.close()

    return script


def tunnel(request: bytes, method: str = "GET") -> Callable[[Side], Any]:
    def scenario(side: Side) -> Any:
        with connect(side, "upgrades") as client:
            client.send(request)
            opened = view(client.read([method]))
            got = []
            for piece in (b"one", b"two" * 1000):
                client.send(piece)
                data = b""
                while len(data) < len(piece):
                    data += client.socket.recv(65536)
                got.append(data)
            return opened, got

    return scenario


def test_websocket(pair: Pair) -> None:
    _, got = agree(pair, echo(SWITCH), tunnel(UPGRADE))
    assert got == [b"ONE", b"TWO" * 1000]


def test_connect(pair: Pair) -> None:
    _, got = agree(
        pair,
        echo(b"HTTP/1.1 200 OK\r\n\r\n"),
        tunnel(CONNECT, "CONNECT"),
    )
    assert got == [b"ONE", b"TWO" * 1000]


@pytest.mark.parametrize("who", ["client", "origin"])
def test_the_end_of_a_tunnel_reaches_the_other_side(pair: Pair, who: str) -> None:
    ends: dict[int, str] = {}

    def script(request: Message, connection: OriginConnection) -> None:
        connection.send(SWITCH)
        if who == "client":
            while connection.receive(2):
                pass
            ends[id(connection)] = connection.ended
        connection.close()

    def scenario(side: Side) -> Any:
        with connect(side, "upgrades") as client:
            client.send(UPGRADE)
            client.read(["GET"])
            if who == "origin":
                return client.read(["GET"], until="close", timeout=2).end
        deadline = time.monotonic() + 2
        connection = side.origin.connections[-1]
        while id(connection) not in ends and time.monotonic() < deadline:
            time.sleep(0.01)
        return ends.get(id(connection))

    assert agree(pair, script, scenario) == "closed"


@pytest.mark.parametrize("name", ["plain", "upgrades"])
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(UPGRADE, 200), (UPGRADE, 403), (UPGRADE, 426), (CONNECT, 403), (CONNECT, 426)],
    ids=["websocket-200", "websocket-403", "websocket-426", "connect-403", "connect-426"],
)
def test_upgrades_that_are_refused(pair: Pair, name: str, status: int, request_bytes: bytes) -> None:
    answer = b"HTTP/1.1 %d X\r\ncontent-length: 5\r\n\r\nhello" % status

    def scenario(side: Side) -> Any:
        with connect(side, name) as client:
            client.send(request_bytes)
            return view(client.read([request_bytes.split()[0].decode()], timeout=2))

    agree(pair, answer, scenario)


# -- trailers and the case of names

CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("name", ["plain", "rich"])
def test_trailers(pair: Pair, name: str) -> None:
    sent = CHUNKED_POST + b"5\r\nhello\r\n0\r\nX-Up: 1\r\nX-Up: 2\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Down: 1\r\n\r\n"

    def scenario(side: Side) -> Any:
        with connect(side, name) as client:
            replies = [view(client.request(sent)) for _ in range(2)]
        return replies, [(message.body, message.trailers) for message in side.origin.requests]

    _, seen = agree(pair, answer, scenario)
    assert bool(seen[0][1]) == (name == "rich")


@pytest.mark.parametrize("name", ["plain", "rich", "proper"])
def test_spelling_of_names(pair: Pair, name: str) -> None:
    fields = b"HOST: a\r\nx-OWN-Header: 1\r\nUser-agent: b\r\naCCept: */*\r\nX-dup: 1\r\nx-DUP: 2\r\n"
    sent = b"GET / HTTP/1.1\r\n" + fields + b"\r\n"
    fields = b"CONTENT-length: 5\r\nx-OWN-reply: 1\r\nSet-cookie: a\r\nset-Cookie: b\r\n"
    answer = b"HTTP/1.1 200 Fine\r\n" + fields + b"\r\nhello"

    def scenario(side: Side) -> Any:
        with connect(side, name) as client:
            replies = [view(client.request(sent)) for _ in range(3)]
        return replies, [sorted(masked(message.fields)) for message in side.origin.requests]

    agree(pair, answer, scenario)


# -- large bodies and pressure


@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_large_bodies_arrive_whole(pair: Pair, framing: str) -> None:
    body = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(100_000))
    if framing == "sized":
        head, sent = b"Content-Length: %d" % len(body), body
    else:
        head = b"Transfer-Encoding: chunked"
        pieces = [body[at : at + 70_001] for at in range(0, len(body), 70_001)]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"

    def scenario(side: Side) -> Any:
        with connect(side) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n" + sent)
            reply = client.read(["POST"], timeout=20)
        return hashlib.sha256(reply.response.body).digest(), [
            hashlib.sha256(message.body).digest() for message in side.origin.requests
        ]

    expected = hashlib.sha256(body).digest()
    answer = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + sent
    assert agree(pair, answer, scenario) == (expected, [expected])


def test_a_client_that_does_not_read_stops_the_origin(pair: Pair) -> None:
    taken: dict[int, int] = {}

    def script(request: Message, connection: OriginConnection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 200000000\r\n\r\n")
        connection.socket.settimeout(0.7)
        total = 0
        try:
            while total < 200_000_000:
                total += connection.socket.send(b"x" * 65536)
        except OSError:
            pass
        taken[id(connection)] = total

    def scenario(side: Side) -> int:
        with connect(side) as client:
            client.send(GET)
            deadline = time.monotonic() + 10
            while not side.origin.requests or id(side.origin.connections[-1]) not in taken:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        return taken[id(side.origin.connections[-1])]

    side = pair.outrider
    side.origin.close_connections()
    side.origin.script(script)
    assert scenario(side) < 20_000_000


def test_an_origin_that_does_not_read_stops_the_client(pair: Pair) -> None:
    """What follows an upgrade is not part of the request, so the origin's loop leaves it in the socket."""

    def script(request: Message, connection: OriginConnection) -> None:
        time.sleep(1.5)
        connection.close()

    side = pair.outrider
    side.origin.close_connections()
    side.origin.script(script)
    lines = len(side.proxy.access_log(0))
    with connect(side, "upgrades") as client:
        client.send(UPGRADE)
        side.origin.wait_for_requests(1)
        client.socket.settimeout(0.7)
        total = 0
        try:
            while total < 200_000_000:
                total += client.socket.send(b"x" * 65536)
        except OSError:
            pass
    assert total < 20_000_000
    side.proxy.access_log(lines + 1)


# -- ends and time


def test_a_refused_request_lingers_for_a_second(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        with connect(side) as client:
            client.send(b"BAD\r\n\r\n")
            reply = client.read(until="close", timeout=4)
            return reply.status, reply.end, 0.8 < reply.seconds < 3.0

    assert agree(pair, HELLO, scenario) == (400, "closed", True)


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_a_client_that_leaves_cancels_its_request(pair: Pair, how: str) -> None:
    answer = Answer(HELLO, delay=1.0)

    def scenario(side: Side) -> Any:
        lines = len(side.proxy.access_log(0))
        with connect(side) as client:
            client.send(GET)
            side.origin.wait_for_requests(1)
            if how == "reset":
                client.reset()
            elif how == "half-close":
                client.half_close()
                client.read(until="close", timeout=2)
            else:
                client.close()
        return side.proxy.access_log(lines + 1)[lines:]

    assert agree(pair, answer, scenario) == ["0 downstream_remote_disconnect DC GET"]


def test_idle_connections_end(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        with connect(side, "limited") as client:
            client.request(GET)
            reply = client.read(until="close", timeout=3)
            return reply.end, reply.raw, 1.5 < reply.seconds < 2.6

    assert agree(pair, HELLO, scenario) == ("closed", b"", True)

    def late(side: Side) -> Any:
        """A request in the grace period behind the idle timeout is the last one."""
        with connect(side, "limited") as client:
            client.request(GET)
            time.sleep(0.6)
            return view(client.request(GET))

    assert agree(pair, HELLO, late)[1] == "closed"

    def upstream(side: Side) -> Any:
        with connect(side, "idle") as client:
            client.request(GET)
            connection = side.origin.connections[-1]
            deadline = time.monotonic() + 3
            while not connection.ended and time.monotonic() < deadline:
                time.sleep(0.02)
            return connection.ended

    assert agree(pair, HELLO, upstream) == "closed"


def test_a_slow_head_times_out(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        lines = len(side.proxy.access_log(0))
        with connect(side, "limited") as client:
            client.send(b"GET / HTTP/1.1\r\nHo")
            reply = client.read(until="reply", timeout=3)
            return view(reply), 0.2 < reply.seconds < 1.5, side.proxy.access_log(lines + 1)[lines:]

    agree(pair, HELLO, scenario)
