"""The TCP proxy with a `tunneling_config`, beside real Envoy: CONNECT and POST, of HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import http2_frames as h2
from tests.support import tunnel_ends as ends
from tests.support.compare import Difference
from tests.support.configs import (
    Json,
    address,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    http2_cluster,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side
from tests.support.http2_origin import Http2Origin
from tests.support.origin import Origin, OriginConnection
from tests.support.ports import free_port
from tests.support.tunnels import Arrivals, FarFrames, FarText, TextEnd

TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
LOG = (
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %PROTOCOL% %UPSTREAM_PROTOCOL% "
    "%UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    "%DOWNSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_LOCAL_CLOSE_REASON% "
    "%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:TYPED)% "
    "%FILTER_STATE(envoy.tcp_proxy.propagate_response_trailers:TYPED)% "
    "%DYNAMIC_METADATA(envoy.filters.network.tcp_proxy)%"
)
EXTENDED = {h2.INITIAL_WINDOW_SIZE: 1 << 24, h2.ENABLE_CONNECT_PROTOCOL: 1}
#: Clusters are named after what their host speaks.
HOSTS = ("text", "frames")
HOSTNAME = {"hostname": "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%.example:443"}
TUNNELS: dict[str, Json] = {
    "connect": {},
    "post": {"use_post": True},
    "full": {
        "use_post": True,
        "post_path": "/tunnel?x=1",
        "headers_to_add": [
            {"header": {"key": "x-client", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}},
            {"header": {"key": "x-twice", "value": "1"}},
            {"header": {"key": "x-twice", "value": "2"}},
        ],
    },
    "told": {"propagate_response_headers": True, "propagate_response_trailers": True},
    "again": {},
    "waiting": {},
    "idle": {},
    "numbered": {
        "request_id_extension": {
            "typed_config": typed("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig")
        },
        "headers_to_add": [{"header": {"key": "x-own", "value": "1"}}],
    },
    "renamed": {
        "use_post": True,
        "request_id_extension": {
            "typed_config": typed("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig")
        },
        "request_id_header": "X-Tunnel-Id",
        "request_id_metadata_key": "number",
    },
}
OPTIONS: dict[str, Json] = {
    "again": {"max_connect_attempts": 3},
    "waiting": {
        "max_connect_attempts": 2,
        "backoff_options": {"base_interval": "0.01s", "max_interval": "0.05s"},
    },
    "idle": {"idle_timeout": "1s"},
}


def _name(kind: str, host: str) -> str:
    return f"{kind}_{host}"


def _listener(kind: str, host: str) -> Json:
    return _proxied(
        _name(kind, host),
        cluster=host,
        access_log=[file_log(LOG)],
        tunneling_config={**HOSTNAME, **TUNNELS[kind]},
        **OPTIONS.get(kind, {}),
    )


def _proxied(name: str, **fields: Any) -> Json:
    config = typed(TCP_PROXY, stat_prefix=name, **fields)
    return {
        "name": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": config}]}],
    }


def _through(to: str, **tunnel: Any) -> Json:
    """A listener whose tunnels end at the listener `back` of the same proxy."""
    name = f"through_{to}" if not tunnel else f"posted_{to}"
    return _proxied(name, cluster=f"back_{to}", tunneling_config={"hostname": "a:1", **tunnel})


def _alone() -> Json:
    """What only Outrider is asked, so nothing of it may show in what both are compared by."""
    return _proxied("alone", cluster="alone", tunneling_config={**HOSTNAME, "use_post": True})


def _back() -> Json:
    """Ends tunnels, and passes their bytes to `raw`."""
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {"allow_post": True}}
    posted = route("raw", upgrade_configs=[upgrade], timeout="0s")
    connected = {**posted, "match": {"connect_matcher": {}}}
    manager = connection_manager(
        {"name": "back", "virtual_hosts": [virtual_host([connected, posted])]},
        stat_prefix="back",
        http2_protocol_options={"allow_connect": True},
        upgrade_configs=[{"upgrade_type": "CONNECT"}],
    )
    return listener([manager], "back")


THROUGH = ("through_text", "through_frames", "posted_text", "posted_frames")
NAMES = [_name(kind, host) for kind in TUNNELS for host in (*HOSTS, "dead")]


def _config() -> Json:
    return bootstrap(
        [
            *(_listener(kind, host) for kind in TUNNELS for host in (*HOSTS, "dead")),
            *(_through(host) for host in HOSTS),
            *(_through(host, use_post=True) for host in HOSTS),
            _alone(),
            _back(),
        ],
        [
            cluster("text"),
            cluster("alone", "{{text_port}}"),
            http2_cluster("frames", http2={"allow_connect": True}),
            cluster("dead", "{{dead_port}}"),
            cluster("raw"),
            cluster("back_text", "{{back_port}}"),
            http2_cluster("back_frames", "{{back_port}}"),
        ],
    )


class FarTunnel(FarText):
    """A connection that an HTTP/1 origin got; what comes in chunks counts as what is in them."""

    @property
    def payload(self) -> bytes:
        head, _, rest = self.received.partition(b"\r\n\r\n")
        if b"chunked" not in head:
            return rest
        data = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            data += rest[: int(size, 16)] or b"<end>"
            rest = rest[int(size, 16) + 2 :]
        return data


class Client(TextEnd):
    """A client of bytes."""

    def __init__(self, port: int) -> None:
        super().__init__(socket.create_connection(("127.0.0.1", port), 5), head=False)


def _echo(connection: OriginConnection) -> None:
    while data := connection.receive():
        connection.send(data)
    connection.send(b"<end>")


class Try:
    """One connection through one side."""

    def __init__(self, port: int, arrivals: Arrivals) -> None:
        self.near = Client(port)
        self.far: Any = None
        self._arrivals = arrivals

    def arrive(self) -> Any:
        self.far = self._arrivals.next(3.0)
        return self.far

    def open(self) -> None:
        self.arrive()
        self.far.answer(200, [("x-far", "1")])
        self.near.send(b"ping")
        assert self.far.expect(b"ping"), self.far.view(ends=False)
        self.far.send(b"pong")
        assert self.near.expect(b"pong"), self.near.view(ends=False)

    def views(self, *, near: bool = True, far: bool = True) -> Any:
        return self.near.view(ends=near), self.far.view(ends=far)


class Tunnels:
    """A pair of proxies with origins whose requests come to the test."""

    def __init__(self) -> None:
        made: dict[int, Arrivals] = {}

        def text() -> Origin:
            arrivals = Arrivals()

            def take(connection: OriginConnection) -> None:
                far = FarTunnel(connection.socket)
                far.wait_head()
                arrivals.hand_over(far)

            origin = Origin(take_over=take)
            made[id(origin)] = arrivals
            return origin

        self.pair = Pair(
            _config(),
            origins={
                "raw": lambda: Origin(take_over=_echo),
                "text": text,
                "frames": lambda: Http2Origin(settings=EXTENDED),
            },
            listeners=(*NAMES, *THROUGH, "alone", "back"),
            values={"dead_port": free_port()},
        )
        self._arrivals: dict[int, dict[str, Arrivals]] = {}
        for side in (self.pair.envoy, self.pair.outrider):
            for name, origin in side.origins.items():
                arrivals = made.get(id(origin)) or Arrivals()
                self._arrivals.setdefault(id(side), {})[name] = arrivals
                if isinstance(origin, Http2Origin):
                    origin.script(arrivals.frames)

    def close(self) -> None:
        for arrivals in self._arrivals.values():
            for each in arrivals.values():
                each.release()
        self.pair.close()

    def same(self, play: Callable[[Try], Any], kind: str, host: str) -> Any:
        """`play` on both sides must give the same, log the same and count the same; Outrider's outcome."""
        name = _name(kind, host)
        before = self.pair.lines_logged()
        with self.pair.same_stats(f"tcp.{name}.", f"cluster.{host}.", ignore=_uncounted(host)):
            envoy, outrider = self.pair.both(lambda side: self._run(side, play, name, host))
            self.pair.check([] if envoy == outrider else [Difference("tunnel", envoy, outrider)])
            logged = self.pair.logged_since(before, 1)
        # The end of a connection of HTTP/2 may end sessions of earlier tests, whose clients' ends nobody noticed.
        assert sorted(map(_mask, logged[1])) == sorted(map(_mask, logged[0]))
        return outrider

    def as_connect(self, play: Callable[[Try], Any]) -> Any:
        """Outrider's outcome of `play` in a POST of HTTP/1: the bytes and ends that both have in a CONNECT."""
        outcome = self._run(self.pair.outrider, play, "alone", "text")
        assert _without_heads(outcome) == _without_heads(self.same(play, "connect", "text"))
        return outcome

    def _run(self, side: Side, play: Callable[[Try], Any], name: str, host: str) -> Any:
        arrivals = self._arrivals[id(side)].get(host) or Arrivals()
        attempt = Try(side.proxy.ports[name], arrivals)
        try:
            return play(attempt)
        finally:
            with contextlib.suppress(OSError):
                attempt.near.reset()
            attempt.near.close()
            time.sleep(0.03)  # who closes first is counted
            if isinstance(attempt.far, FarFrames):
                # The connection of an HTTP/1 host ends by itself.
                attempt.far.reset()
            arrivals.release()


def _without_heads(outcome: Any) -> Any:
    """The bytes and the end of one view or of several."""
    return outcome[1:] if isinstance(outcome[1], bytes) else [_without_heads(view) for view in outcome]


def _mask(line: str) -> str:
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", line)
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", line)


def _uncounted(host: str) -> list[str]:
    """Sizes, which depend on the encoder and on what a peer still says to a connection that is being closed."""
    sizes = [f"{way}_bytes_{what}" for way in ("rx", "tx") for what in ("total", "buffered")]
    return [
        f"cluster.{host}.http2.nghttp2_upstream_connections",
        *(f"cluster.{host}.upstream_cx_{size}" for size in sizes),
    ]


@pytest.fixture(scope="module")
def tunnels() -> Iterator[Tunnels]:
    started = Tunnels()
    yield started
    started.close()


HOST = pytest.mark.parametrize("host", HOSTS)
#: A host that ends the response to a POST of HTTP/1 crashes Envoy 1.40. Outrider's clients then hear what they
#: would of the same host if they came with CONNECT, which both proxies agree on; see `Tunnels.as_connect`.
CRASHING = ("post", "text")
METHOD = pytest.mark.parametrize("kind", ["connect", "post"])


# -- who ends


def _far_finishes_and_hears_more(tunnel: Try) -> Any:
    tunnel.far.finish()
    time.sleep(0.1)
    tunnel.near.send(b"more")
    time.sleep(0.1)
    return tunnel.views(near=False, far=False)


def _far_finishes_then_near(tunnel: Try) -> Any:
    tunnel.far.finish()
    time.sleep(0.1)
    tunnel.near.finish()
    return tunnel.views()


ENDS = (
    ends.near_closes,
    ends.near_resets,
    ends.near_finishes,
    ends.near_finishes_then_far,
    ends.far_closes,
    ends.far_resets,
    ends.far_finishes,
    _far_finishes_and_hears_more,
    _far_finishes_then_near,
)


@HOST
@METHOD
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))
def test_how_tunnels_end(tunnels: Tunnels, kind: str, host: str, end: Any) -> None:
    def play(tunnel: Try) -> Any:
        tunnel.open()
        return end(tunnel)

    if (kind, host) == CRASHING and end.__name__.strip("_").startswith("far"):
        tunnels.as_connect(play)
    else:
        tunnels.same(play, kind, host)


@HOST
@pytest.mark.parametrize("kind", [kind for kind in TUNNELS if kind != "idle"])
def test_what_hosts_are_asked(tunnels: Tunnels, kind: str, host: str) -> None:
    def play(tunnel: Try) -> Any:
        tunnel.open()
        tunnel.near.reset()
        return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", str(tunnel.far.view()))

    tunnels.same(play, kind, host)


# -- what hosts answer

ANSWERS: tuple[tuple[int, list[tuple[str, str]], bytes, bool], ...] = (
    (200, [("content-length", "2")], b"ok", False),
    (200, [], b"", True),
    (201, [], b"ok", False),
    (204, [], b"", True),
    (302, [("location", "/there")], b"", True),
    (403, [("content-length", "2")], b"no", False),
    (500, [], b"endless", False),
    (503, [], b"", True),
)


@HOST
@pytest.mark.parametrize("kind", ["connect", "post", "told", "again"])
@pytest.mark.parametrize("number", range(len(ANSWERS)), ids=lambda number: f"{number}-{ANSWERS[number][0]}")
def test_answers(tunnels: Tunnels, kind: str, host: str, number: int) -> None:
    status, fields, body, end = ANSWERS[number]
    attempts = OPTIONS.get(kind, {}).get("max_connect_attempts", 1)
    # To HTTP/1, 2xx opens a tunnel whatever else it says.
    refused = not 200 <= status < 300 if host == "text" else status != 200 or end

    def play(tunnel: Try) -> Any:
        for _ in range(attempts if refused else 1):
            tunnel.arrive()
            tunnel.far.answer(status, fields, end=end)
            if not end:
                tunnel.far.send(body)
        time.sleep(0.1)
        tunnel.far.finish()
        return tunnel.near.view()

    if (kind, host) == CRASHING:
        tunnels.as_connect(play)
    else:
        tunnels.same(play, kind, host)


@HOST
@METHOD
@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("body", [b"", b"whole"])
def test_a_whole_answer_at_once(tunnels: Tunnels, kind: str, host: str, status: int, body: bytes) -> None:
    def play(tunnel: Try) -> Any:
        tunnel.arrive().answer_whole(status, body)
        return tunnel.near.view()

    heard = tunnels.as_connect(play) if (kind, host) == CRASHING else tunnels.same(play, kind, host)
    assert heard[1] == (body if status == 200 else b"")


@HOST
@pytest.mark.parametrize("kind", ["again", "waiting"])
def test_the_second_attempt_succeeds(tunnels: Tunnels, kind: str, host: str) -> None:
    def play(tunnel: Try) -> Any:
        tunnel.near.send(b"early")
        tunnel.arrive()
        tunnel.far.answer(503, end=True)
        tunnel.arrive()
        tunnel.far.answer(200)
        heard = tunnel.far.expect(b"early")
        tunnel.near.reset()
        return heard

    assert tunnels.same(play, kind, host)


@HOST
@METHOD
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_host_that_goes_without_an_answer(tunnels: Tunnels, kind: str, host: str, how: str) -> None:
    def play(tunnel: Try) -> Any:
        getattr(tunnel.arrive(), how)()
        return tunnel.near.view()

    if (kind, host) == CRASHING:
        tunnels.as_connect(play)
    else:
        tunnels.same(play, kind, host)


@pytest.mark.parametrize("kind", ["connect", "again", "waiting"])
def test_nobody_listens(tunnels: Tunnels, kind: str) -> None:
    tunnels.same(lambda tunnel: tunnel.near.view(), kind, "dead")


@HOST
@pytest.mark.parametrize("when", ["before", "after"])
def test_idle_tunnels(tunnels: Tunnels, host: str, when: str) -> None:
    def play(tunnel: Try) -> Any:
        tunnel.open() if when == "after" else tunnel.arrive()
        return tunnel.views()

    tunnels.same(play, "idle", host)


def test_trailers_are_told(tunnels: Tunnels) -> None:
    def play(tunnel: Try) -> Any:
        tunnel.open()
        tunnel.far.stream.trailers([("x-end", "1")])
        time.sleep(0.1)
        tunnel.near.finish()
        return tunnel.near.view()

    tunnels.same(play, "told", "frames")


@pytest.mark.parametrize("name", THROUGH)
def test_through_a_proxy_that_ends_the_tunnel(tunnels: Tunnels, name: str) -> None:
    sent = bytes(range(256)) * 1024

    def run(side: Side) -> tuple[bool, tuple[object, ...]]:
        client = Client(side.proxy.ports[name])
        try:
            client.send(sent)
            echoed = client.expect(sent)
            if not name.endswith("frames"):
                return echoed, ()
            client.finish()
            return echoed, client.view()[2:]
        finally:
            client.close()

    envoy, outrider = tunnels.pair.both(run)
    assert outrider == envoy
    assert outrider[0]
