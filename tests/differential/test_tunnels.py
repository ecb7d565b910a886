"""Tunnels: upgrades and CONNECT between every pair of HTTP versions, and CONNECT that ends here."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import http2_frames as h2
from tests.support import tunnel_ends as ends
from tests.support.compare import Difference
from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    http2_cluster,
    listener,
    virtual_host,
)
from tests.support.differential import Pair, Side
from tests.support.http2_origin import Http2Origin
from tests.support.origin import Origin
from tests.support.ports import free_port
from tests.support.tunnels import Arrivals, NearFrames, NearText

LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% "
    "%REQ(UPGRADE)% %RESP(UPGRADE)% %PROTOCOL% %UPSTREAM_PROTOCOL% %BYTES_RECEIVED% %BYTES_SENT% "
    "%UPSTREAM_CLUSTER% %UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%"
)
#: Clusters are named after what their host speaks; `old` is HTTP/2 without extended CONNECT.
HOSTS = ("text", "frames", "old")
#: What ends here: cluster → fields of ConnectConfig.
ENDS_HERE: dict[str, Json] = {
    "raw": {},
    "first": {"proxy_protocol_config": {"version": "V1"}},
    "second": {"proxy_protocol_config": {"version": "V2"}},
    "post": {"allow_post": True},
    "dead": {},
}
EXTENDED = {h2.INITIAL_WINDOW_SIZE: 1 << 24, h2.ENABLE_CONNECT_PROTOCOL: 1}


def _routes(name: str, **action: Any) -> list[Json]:
    forward = {"cluster": name, **action}
    return [
        {"match": {"connect_matcher": {}}, "route": forward},
        {"match": {"prefix": "/"}, "route": forward},
    ]


def _listener(name: str, action: Json | None = None, **hcm: Any) -> Json:
    hosts = [virtual_host(_routes(host, **(action or {})), [host, f"{host}:80"]) for host in HOSTS]
    for host, connect_config in ENDS_HERE.items():
        upgrade = {"upgrade_type": "CONNECT", "connect_config": connect_config}
        hosts.append(
            virtual_host(_routes(host, **(action or {}), upgrade_configs=[upgrade]), [host, f"{host}:80"])
        )
    table = {"name": name, "virtual_hosts": hosts}
    return listener(
        [
            connection_manager(
                table,
                **{
                    "stat_prefix": name,
                    "access_log": [file_log(LOG)],
                    "delayed_close_timeout": "0.3s",
                    "http2_protocol_options": {"allow_connect": True},
                    "upgrade_configs": [{"upgrade_type": kind} for kind in ("websocket", "other", "CONNECT")],
                    **hcm,
                },
            )
        ],
        name,
    )


def _config() -> Json:
    connecting = {"allow_connect": True}
    return bootstrap(
        [
            _listener("main"),
            _listener("idle", stream_idle_timeout="0.3s"),
            _listener("hasty", {"timeout": "0.15s"}),
        ],
        [
            cluster("text"),
            http2_cluster("frames", http2=connecting),
            http2_cluster("old", http2=connecting),
            *(cluster(name) for name in ENDS_HERE if name != "dead"),
            cluster("dead", "{{dead_port}}"),
        ],
    )


def _uncounted(name: str, host: str) -> list[str]:
    """Sizes, which depend on the encoder and on what a peer still says to a connection that is being closed."""
    sizes = [f"{way}_bytes_{what}" for way in ("rx", "tx") for what in ("total", "buffered")]
    return [
        f"cluster.{host}.http2.nghttp2_upstream_connections",
        *(f"cluster.{host}.upstream_cx_{size}" for size in sizes),
        *(f"http.{name}.downstream_cx_{size}" for size in sizes),
    ]


class Tunnels:
    """A pair of proxies with origins whose requests come to the test."""

    def __init__(self) -> None:
        made: dict[int, Arrivals] = {}

        def raw() -> Origin:
            arrivals = Arrivals()
            origin = Origin(take_over=arrivals.raw)
            made[id(origin)] = arrivals
            return origin

        self.pair = Pair(
            _config(),
            origins={
                "text": Origin,
                "frames": lambda: Http2Origin(settings=EXTENDED),
                "old": Http2Origin,
                **{name: raw for name in ENDS_HERE if name != "dead"},
            },
            listeners=("main", "idle", "hasty"),
            values={"dead_port": free_port()},
        )
        self._arrivals: dict[int, dict[str, Arrivals]] = {}
        for side in (self.pair.envoy, self.pair.outrider):
            for name, origin in side.origins.items():
                arrivals = made.get(id(origin), Arrivals())
                self._arrivals.setdefault(id(side), {})[name] = arrivals
                if name in HOSTS:
                    origin.script(arrivals.text if isinstance(origin, Origin) else arrivals.frames)

    def close(self) -> None:
        for arrivals in self._arrivals.values():
            for each in arrivals.values():
                each.release()
        self.pair.close()

    def both(self, play: Callable[[Tunnel], Any], near: str, host: str, name: str = "main") -> Any:
        """`play` on both sides must give the same; Outrider's outcome."""

        def run(side: Side) -> Any:
            arrivals = self._arrivals[id(side)].get(host) or Arrivals()
            kind = NearText if near == "text" else NearFrames
            port = side.proxy.ports[name]
            tunnel = Tunnel(kind(port), arrivals, host, port)
            try:
                return play(tunnel)
            finally:
                tunnel.near.close()
                # Who closes first is counted.
                time.sleep(0.03)
                arrivals.release()

        envoy, outrider = self.pair.both(run)
        self.pair.check([] if envoy == outrider else [Difference("tunnel", envoy, outrider)])
        return outrider

    def same(self, play: Callable[[Tunnel], Any], near: str, host: str, name: str = "main") -> Any:
        """As `both`, and they must also log and count the same."""
        counted = (f"http.{name}.", f"cluster.{host}.")
        with self.pair.same_stats(*counted, ignore=_uncounted(name, host)):
            outcome = self.both(play, near, host, name)
            self.pair.same_log()
        return outcome


class Tunnel:
    """One try of a tunnel on one side."""

    far: Any

    def __init__(self, near: Any, arrivals: Arrivals, host: str, proxy_port: int) -> None:
        self.near = near
        self.proxy_port = proxy_port
        self.host = host
        self._arrivals = arrivals

    def arrive(self, timeout: float = 3.0) -> Any:
        self.far = self._arrivals.next(timeout)
        return self.far

    def open(self, protocol: str = "websocket") -> None:
        """Ask, be accepted, and see bytes go both ways."""
        self.near.ask(authority=f"{self.host}:80", protocol=protocol, fields=[("x-own", "1")])
        self.arrive()
        if self.host in HOSTS:
            self.accept(protocol)
        assert self.near.status in (101, 200)
        self.near.send(b"ping")
        assert self.far.expect(b"ping"), self.far.view(ends=False)
        self.far.send(b"pong")
        assert self.near.expect(b"pong"), self.near.view(ends=False)

    def ask(self, protocol: str = "websocket", **options: Any) -> None:
        self.near.ask(authority=f"{self.host}:80", protocol=protocol, **options)

    def accept(self, protocol: str = "websocket") -> None:
        if self.host == "text" and protocol:
            self.far.answer(101, [("upgrade", protocol), ("connection", "Upgrade"), ("x-far", "1")])
        else:
            self.far.answer(200, [("x-far", "1")])

    def hide_ports(self, data: bytes) -> bytes:
        """`data` of the far end without what differs from side to side."""
        for port in (self.near.local_port, self.proxy_port):
            data = data.replace(str(port).encode(), b"<port>").replace(port.to_bytes(2, "big"), b"<port>")
        return data

    def views(self, *, near: bool = True, far: bool = True) -> tuple[Any, Any]:
        """What both ends have seen; `near` and `far` tell which of them sees an end."""
        return self.near.view(ends=near), self.far.view(ends=far)


@pytest.fixture(scope="module")
def tunnels() -> Iterator[Tunnels]:
    started = Tunnels()
    yield started
    started.close()


PAIRS = pytest.mark.parametrize(
    ("near", "host"), [(n, h) for n in ("text", "frames") for h in ("text", "frames")]
)
KINDS = pytest.mark.parametrize("protocol", ["websocket", ""], ids=["websocket", "connect"])


# -- who ends


def _far_finishes_then_near(tunnel: Tunnel) -> Any:
    tunnel.far.finish()
    time.sleep(0.1)
    tunnel.near.finish()
    return tunnel.views(far=False)


def _far_speaks_and_closes(tunnel: Tunnel) -> Any:
    tunnel.far.send(b"bye")
    tunnel.far.finish()
    return tunnel.near.view()


ENDS = (
    ends.near_closes,
    ends.near_resets,
    ends.near_finishes,
    ends.near_finishes_then_far,
    ends.far_closes,
    ends.far_resets,
    ends.far_finishes,
    _far_finishes_then_near,
    _far_speaks_and_closes,
)


@PAIRS
@KINDS
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))
def test_how_tunnels_end(tunnels: Tunnels, near: str, host: str, protocol: str, end: Any) -> None:
    def play(tunnel: Tunnel) -> Any:
        tunnel.open(protocol)
        return end(tunnel)

    tunnels.same(play, near, host)


# -- what hosts answer

#: (status, fields, body, whether the end comes with the head)
ANSWERS: tuple[tuple[int, list[tuple[str, str]], bytes, bool], ...] = (
    (101, [("upgrade", "websocket"), ("connection", "upgrade")], b"", False),
    (101, [("upgrade", "other"), ("connection", "upgrade")], b"x", False),
    (101, [("upgrade", "websocket"), ("connection", "upgrade"), ("content-length", "0")], b"", False),
    (200, [("content-length", "2")], b"ok", False),
    (200, [], b"endless", False),
    (200, [], b"", True),
    (201, [("content-length", "2")], b"ok", False),
    (204, [], b"", True),
    (206, [], b"endless", False),
    (302, [("location", "/there")], b"", True),
    (403, [("content-length", "2"), ("x-own", "1")], b"no", False),
    (426, [("upgrade", "websocket"), ("connection", "upgrade"), ("content-length", "2")], b"no", False),
    (500, [], b"endless", False),
    (503, [], b"", True),
)


#: What depends on the kind of upgrade, by its number above. A 101 that nobody asked for is 502 here.
BY_KIND = {"websocket": range(len(ANSWERS)), "other": (0, 3, 10), "": range(3, len(ANSWERS))}


@PAIRS
@pytest.mark.parametrize(
    ("protocol", "number"),
    [(protocol, number) for protocol, numbers in BY_KIND.items() for number in numbers],
    ids=lambda value: str(value or "connect") if isinstance(value, str) else f"{value}-{ANSWERS[value][0]}",
)
def test_answers(tunnels: Tunnels, near: str, host: str, protocol: str, number: int) -> None:
    status, fields, body, end = ANSWERS[number]
    if host == "frames":
        fields = [field for field in fields if field[0] not in ("upgrade", "connection")]

    def play(tunnel: Tunnel) -> Any:
        tunnel.ask(protocol)
        tunnel.arrive()
        tunnel.far.answer(status, fields, end=end)
        if not end:
            tunnel.far.send(body)
            time.sleep(0.05)
            tunnel.far.finish()
        return tunnel.near.view()

    tunnels.same(play, near, host)


@PAIRS
@KINDS
@pytest.mark.parametrize("status", [0, 403])
def test_early_data(tunnels: Tunnels, near: str, host: str, protocol: str, status: int) -> None:
    def play(tunnel: Tunnel) -> Any:
        tunnel.ask(protocol)
        tunnel.arrive()
        tunnel.near.send(b"early")
        before = tunnel.far.view(ends=False)
        if status:
            tunnel.far.answer(status, [("content-length", "2")])
            tunnel.far.send(b"no")
        else:
            tunnel.accept(protocol)
            tunnel.near.send(b"bytes")
        after = tunnel.views(near=False, far=False)
        return before, after

    tunnels.same(play, near, host)


# -- who may not have a tunnel


@pytest.mark.parametrize("near", ["text", "frames"])
@pytest.mark.parametrize("host", ["old", "frames"])
@pytest.mark.parametrize(
    "protocol", ["websocket", "unknown", "bytestream", "WebSocket", "websocket, other", ""]
)
def test_protocols(tunnels: Tunnels, near: str, host: str, protocol: str) -> None:
    def play(tunnel: Tunnel) -> Any:
        tunnel.ask(protocol)
        try:
            tunnel.arrive(0.4)
        except queue.Empty:
            return tunnel.near.view(ends=False)
        tunnel.accept(protocol)
        return tunnel.views(near=False, far=False)

    tunnels.same(play, near, host)


# -- time


@PAIRS
@KINDS
@pytest.mark.parametrize("when", ["before", "after"])
def test_idle_tunnels(tunnels: Tunnels, near: str, host: str, protocol: str, when: str) -> None:
    def play(tunnel: Tunnel) -> Any:
        if when == "after":
            tunnel.open(protocol)
        else:
            tunnel.ask(protocol)
            tunnel.arrive()
        return tunnel.views()

    tunnels.same(play, near, host, "idle")


@PAIRS
@KINDS
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_route_has_a_timeout(tunnels: Tunnels, near: str, host: str, protocol: str, when: str) -> None:
    def play(tunnel: Tunnel) -> Any:
        if when == "after":
            tunnel.open(protocol)
        else:
            tunnel.ask(protocol)
            tunnel.arrive()
        return tunnel.views(near=False, far=False)

    tunnels.same(play, near, host, "hasty")


# -- CONNECT that ends here

NEARS = pytest.mark.parametrize("near", ["text", "frames"])


@NEARS
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))
def test_how_connect_to_bytes_ends(tunnels: Tunnels, near: str, end: Any) -> None:
    def play(tunnel: Tunnel) -> Any:
        tunnel.open("")
        return end(tunnel)

    tunnels.same(play, near, "raw")


@NEARS
@pytest.mark.parametrize("host", ["first", "second"])
def test_the_proxy_protocol_tells_the_client(tunnels: Tunnels, near: str, host: str) -> None:
    def play(tunnel: Tunnel) -> Any:
        tunnel.ask("")
        tunnel.near.send(b"early")
        tunnel.arrive()
        tunnel.near.expect(b"")
        _, data, end = tunnel.far.view(ends=False)
        return tunnel.hide_ports(data), end, tunnel.near.view(ends=False)

    tunnels.same(play, near, host)


@NEARS
def test_a_server_may_speak_first(tunnels: Tunnels, near: str) -> None:
    def play(tunnel: Tunnel) -> Any:
        tunnel.ask("")
        tunnel.arrive()
        tunnel.far.send(b"220 welcome")
        return tunnel.near.expect(b"220 welcome"), tunnel.views(near=False, far=False)

    tunnels.same(play, near, "raw")


@NEARS
def test_nobody_listens(tunnels: Tunnels, near: str) -> None:
    def play(tunnel: Tunnel) -> Any:
        tunnel.ask("")
        return tunnel.near.view(ends=False)

    tunnels.same(play, near, "dead")


@NEARS
@pytest.mark.parametrize("when", ["before", "after"])
def test_idle_bytes(tunnels: Tunnels, near: str, when: str) -> None:
    def play(tunnel: Tunnel) -> Any:
        tunnel.open("") if when == "after" else tunnel.ask("")
        tunnel.arrive() if when == "before" else None
        return tunnel.views()

    tunnels.same(play, near, "raw", "idle")


POST_TEXT = b"POST / HTTP/1.1\r\nhost: post:80\r\ntransfer-encoding: chunked\r\n\r\n4\r\nping\r\n"


@NEARS
@pytest.mark.parametrize("end", [True, False])
def test_post_may_end_here_too(tunnels: Tunnels, near: str, end: bool) -> None:
    def play(tunnel: Tunnel) -> Any:
        if near == "text":
            tunnel.near.send(POST_TEXT + (b"0\r\n\r\n" if end else b""))
        else:
            head = h2.request(1, method="POST", authority="post:80", end=False)
            tunnel.near.client.send(head + h2.data(1, b"ping", end=end))
        tunnel.arrive()
        got = b"ping" in tunnel.far.received or tunnel.far.expect(b"ping")
        tunnel.far.send(b"pong")
        time.sleep(0.05)
        tunnel.far.finish()
        return got, tunnel.near.view()

    tunnels.same(play, near, "post")


# -- pressure


@pytest.mark.parametrize("host", ["text", "raw"])
def test_a_client_that_does_not_read_stops_the_host(tunnels: Tunnels, host: str) -> None:
    """How much is taken depends on the system's buffers; there is an end to it, and nothing is lost."""
    limit = 64 << 20
    piece = bytes(range(256)) * 256

    def play(tunnel: Tunnel) -> Any:
        tunnel.open("")
        sent = 0
        tunnel.far.socket.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while sent < limit:
                sent += tunnel.far.socket.send(piece[sent % len(piece) :])
        tunnel.far.finish()
        _, got, _ = tunnel.near.view()
        return sent < limit, got == b"pong" + (piece * (sent // len(piece) + 1))[:sent]

    assert tunnels.both(play, "text", host) == (True, True)
