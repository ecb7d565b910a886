"""Tunnels: upgrades and CONNECT between every pair of HTTP versions, and CONNECT that ends here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import http2_frames as h2
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
from tests.support.tunnels import Arrivals, End, NearFrames, NearText

LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% "
    "%REQ(UPGRADE)% %RESP(UPGRADE)% %PROTOCOL% %UPSTREAM_PROTOCOL% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% "
    "%UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%"
)
#: Clusters are named after what their host speaks; `old` is HTTP/2 without extended CONNECT.
HOSTS = ("text", "frames", "old")
EXTENDED = {h2.INITIAL_WINDOW_SIZE: 1 << 24, h2.ENABLE_CONNECT_PROTOCOL: 1}


def _routes(name: str, **action: Any) -> list[Json]:
    forward = {"cluster": name, **action}
    return [
        {"match": {"connect_matcher": {}}, "route": forward},
        {"match": {"prefix": "/"}, "route": forward},
    ]


def _listener(name: str, **hcm: Any) -> Json:
    hosts = [virtual_host(_routes(host), [host, f"{host}:80"]) for host in HOSTS]
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
                    "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
                    **hcm,
                },
            )
        ],
        name,
    )


def _config() -> Json:
    connecting = {"allow_connect": True}
    return bootstrap(
        [_listener("main"), _listener("idle", stream_idle_timeout="0.3s")],
        [
            cluster("text"),
            http2_cluster("frames", http2=connecting),
            http2_cluster("old", http2=connecting),
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
        self._arrivals: dict[int, dict[str, Arrivals]] = {}
        self.pair = Pair(
            _config(),
            origins={
                "text": Origin,
                "frames": lambda: Http2Origin(settings=EXTENDED),
                "old": Http2Origin,
            },
            listeners=("main", "idle"),
        )
        for side in (self.pair.envoy, self.pair.outrider):
            for name, origin in side.origins.items():
                arrivals = self._arrivals.setdefault(id(side), {})[name] = Arrivals()
                origin.script(arrivals.text if isinstance(origin, Origin) else arrivals.frames)

    def close(self) -> None:
        for arrivals in self._arrivals.values():
            for each in arrivals.values():
                each.release()
        self.pair.close()

    def same(self, play: Callable[[Tunnel], Any], near: str, host: str, name: str = "main") -> Any:
        """`play` on both sides must give the same, log the same and count the same; Outrider's outcome."""

        def run(side: Side) -> Any:
            arrivals = self._arrivals[id(side)][host]
            kind = NearText if near == "text" else NearFrames
            tunnel = Tunnel(kind(side.proxy.ports[name]), arrivals, host)
            try:
                return play(tunnel)
            finally:
                tunnel.near.close()
                arrivals.release()

        pair = self.pair
        with pair.same_stats(f"http.{name}.", f"cluster.{host}.", ignore=_uncounted(name, host)):
            envoy, outrider = pair.both(run)
            pair.check([] if envoy == outrider else [Difference("tunnel", envoy, outrider)])
            pair.same_log()
        return outrider


class Tunnel:
    """One try of a tunnel on one side."""

    far: Any

    def __init__(self, near: Any, arrivals: Arrivals, host: str) -> None:
        self.near = near
        self.host = host
        self._arrivals = arrivals

    def arrive(self) -> Any:
        self.far = self._arrivals.next()
        return self.far

    def open(self, protocol: str = "websocket") -> None:
        """Ask, be accepted, and see bytes go both ways."""
        self.near.ask(authority=f"{self.host}:80", protocol=protocol, fields=[("x-own", "1")])
        self.arrive()
        self.accept(protocol)
        assert self.near.status in (101, 200)
        self.near.send(b"ping")
        assert self.far.expect(b"ping"), self.far.view(ends=False)
        self.far.send(b"pong")
        assert self.near.expect(b"pong"), self.near.view(ends=False)

    def accept(self, protocol: str = "websocket") -> None:
        if self.host == "text" and protocol:
            self.far.answer(101, [("upgrade", protocol), ("connection", "Upgrade"), ("x-far", "1")])
        else:
            self.far.answer(200, [("x-far", "1")])

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


def _near_closes(tunnel: Tunnel) -> Any:
    tunnel.near.close()
    return tunnel.far.view()


def _near_resets(tunnel: Tunnel) -> Any:
    tunnel.near.reset()
    return tunnel.far.view()


def _near_finishes(tunnel: Tunnel) -> Any:
    tunnel.near.finish()
    time.sleep(0.1)
    tunnel.far.send(b"more")
    return tunnel.views(near=False, far=False)


def _near_finishes_then_far(tunnel: Tunnel) -> Any:
    tunnel.near.finish()
    time.sleep(0.1)
    tunnel.far.finish()
    return tunnel.views()


def _far_closes(tunnel: Tunnel) -> Any:
    tunnel.far.close()
    return tunnel.near.view()


def _far_resets(tunnel: Tunnel) -> Any:
    tunnel.far.reset()
    return tunnel.near.view()


def _far_finishes(tunnel: Tunnel) -> Any:
    tunnel.far.finish()
    return tunnel.views(far=False)


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
    _near_closes,
    _near_resets,
    _near_finishes,
    _near_finishes_then_far,
    _far_closes,
    _far_resets,
    _far_finishes,
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
