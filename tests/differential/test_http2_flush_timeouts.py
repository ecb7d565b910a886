"""For how long a client may leave a response in its window of zero: `stream_flush_timeout` and `flush_timeout`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support import http2_frames as h2
from tests.support.configs import Json, bootstrap, cluster, connection_manager, listener, route, virtual_host
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client

SHORT: Final = "0.3s"
LONG: Final = "2s"
#: Fields of the connection manager, of the route, and whether the short time counts.
CASES: Final[dict[str, tuple[Json, Json, bool]]] = {
    "route": ({}, {"flush_timeout": SHORT}, True),
    "route_idle": ({}, {"idle_timeout": SHORT}, False),
    "route_both": ({}, {"idle_timeout": SHORT, "flush_timeout": LONG}, False),
    "manager": ({"stream_flush_timeout": SHORT}, {}, True),
    "manager_idle": ({"stream_idle_timeout": SHORT}, {}, True),
    "manager_both": ({"stream_idle_timeout": SHORT, "stream_flush_timeout": LONG}, {}, False),
    "manager_and_idle_route": ({"stream_flush_timeout": SHORT}, {"idle_timeout": LONG}, True),
    "route_for_ever": ({"stream_flush_timeout": SHORT}, {"flush_timeout": "0s"}, False),
    "route_first": ({"stream_flush_timeout": LONG}, {"flush_timeout": SHORT}, True),
    "idle_for_ever": ({"stream_idle_timeout": SHORT}, {"idle_timeout": "0s"}, True),
}
ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000


def _listener(name: str, manager: Json, action: Json) -> Json:
    table = {"name": name, "virtual_hosts": [virtual_host([route(**action)])]}
    return listener([connection_manager(table, codec_type="HTTP2", **manager)], name)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    listeners = [_listener(name, manager, action) for name, (manager, action, _) in CASES.items()]
    with Pair(bootstrap(listeners, [cluster()]), listeners=tuple(CASES)) as made:
        yield made


@pytest.mark.parametrize("name", CASES)
def test_a_response_waits_as_long_as_in_envoy(pair: Pair, name: str) -> None:
    def wait(side: Side) -> tuple[Any, bool]:
        side.origins["origin"].script(ANSWER)
        with Http2Client(side.proxy.ports[name], settings={h2.INITIAL_WINDOW_SIZE: 0}) as client:
            begun = time.monotonic()
            client.send(h2.request(1))
            client.until(lambda client: client.stream(1).done, 1.2)
            return client.stream(1).reset, time.monotonic() - begun > 0.25

    envoy, outrider = pair.both(wait)
    assert outrider == envoy == ("INTERNAL_ERROR" if CASES[name][2] else None, True)
