"""What happens under pressure, beside Envoy: the pressure is a number in a file."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.configs import cluster, file_log, http_proxy, route
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client
from tests.support.origin import HELLO

GET: Final = b"GET /a?b HTTP/1.1\r\nhost: a\r\n\r\n"
MONITORS: Final = "type.googleapis.com/envoy.extensions.resource_monitors"
INJECTED: Final = "envoy.resource_monitors.injected_resource"
ACTIONS: Final = "envoy.overload_actions."
POINTS: Final = "envoy.load_shed_points."


def threshold(value: float) -> list[dict[str, Any]]:
    return [{"name": INJECTED, "threshold": {"value": value}}]


def scaled(low: float, high: float) -> list[dict[str, Any]]:
    return [{"name": INJECTED, "scaled": {"scaling_threshold": low, "saturation_threshold": high}}]


def config(codec: str = "AUTO", **manager: Any) -> dict[str, Any]:
    monitor = {
        "name": INJECTED,
        "typed_config": {
            "@type": f"{MONITORS}.injected_resource.v3.InjectedResourceConfig",
            "filename": "{{pressure}}",
        },
    }
    log = file_log("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:path)% %ROUTE_NAME%")
    return http_proxy(
        routes=[route()],
        clusters=[cluster()],
        hcm={"codec_type": codec, "append_local_overload": True, "access_log": [log]},
        overload_manager={"refresh_interval": "0.05s", "resource_monitors": [monitor], **manager},
    )


class Pressure:
    """The file of both sides."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0.0)

    def set(self, value: Any) -> None:
        """Envoy notices only a file that is moved there."""
        other = self.path.with_suffix(".new")
        other.write_text(str(value))
        os.replace(other, self.path)


def _percent(side: Side) -> int:
    return side.proxy.stats("overload.").get(f"overload.{INJECTED}.pressure", -1)


def wait(side: Side, percent: int) -> None:
    """Until the pressure is known, and workers had time to hear of it."""
    _until(lambda: _percent(side) == percent)
    time.sleep(0.1)


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def pressure(tmp_path: Path) -> Pressure:
    return Pressure(tmp_path / "pressure")


@pytest.fixture
def start(pressure: Pressure) -> Iterator[Callable[..., Pair]]:
    pairs: list[Pair] = []

    def started(**manager: Any) -> Pair:
        made = Pair(config(**manager), values={"pressure": str(pressure.path)})
        pairs.append(made.__enter__())
        return made

    yield started
    for pair in pairs:
        pair.close()


def shown(side: Side) -> dict[str, int]:
    stats = side.proxy.stats("overload.") | side.proxy.stats("http.ingress.") | side.proxy.stats("listener.")
    return {
        name.replace(str(side.proxy.port), "PORT"): value
        for name, value in stats.items()
        if ("overload" in name and "_delay" not in name and "premature" not in name)
    }


def request(side: Side) -> tuple[int, str | None, bytes, str]:
    side.origin.script(HELLO)
    reply = exchange(side.proxy.port, GET)
    head = reply.response
    return reply.status, head.get("x-envoy-local-overloaded"), head.body, reply.end


def test_requests_are_refused(start: Callable[..., Pair], pressure: Pressure) -> None:
    action = {"name": f"{ACTIONS}stop_accepting_requests", "triggers": threshold(0.9)}
    point = {"name": f"{POINTS}http_connection_manager_decode_headers", "triggers": threshold(0.95)}
    pair = start(actions=[action], loadshed_points=[point])
    assert pair.same_value("calm", request, settle=0)[0] == 200
    pressure.set(0.92)
    pair.both(lambda side: wait(side, 92))
    assert pair.same_value("refused", request, settle=0)[0] == 503
    assert pair.same_value("again", request, settle=0)[2] == b"envoy overloaded"
    pair.same_value("stats", shown)
    pressure.set(1.0)
    pair.both(lambda side: wait(side, 100))
    assert pair.same_value("shed", request, settle=0)[0] == 503
    counted = pair.same_value("stats shed", shown)
    assert counted[f"overload.{POINTS}http_connection_manager_decode_headers.shed_load_count"] == 1
    pressure.set(0.5)
    pair.both(lambda side: wait(side, 50))
    assert pair.same_value("calm again", request, settle=0)[0] == 200
    lines = pair.same_value("log", lambda side: side.proxy.access_log(5))
    assert lines[1].startswith("503 ")


def test_requests_of_http2_are_refused(start: Callable[..., Pair], pressure: Pressure) -> None:
    action = {"name": f"{ACTIONS}stop_accepting_requests", "triggers": threshold(0.9)}
    pair = start(actions=[action])

    def twice(side: Side) -> list[tuple[str, bytes]]:
        side.origin.script(HELLO)
        found = []
        with Http2Client(side.proxy.port) as client:
            for number, value in ((1, 0.0), (3, 0.95), (5, 0.95), (7, 0.0)):
                pressure.set(value)
                wait(side, round(value * 100))
                view = client.request(number)
                found.append((dict(view.heads[-1])[":status"], bytes(view.body)))
        return found

    expected = twice(pair.envoy)
    assert [status for status, _ in expected] == ["200", "503", "503", "200"]
    assert twice(pair.outrider) == expected


def test_connections_end_after_a_response(start: Callable[..., Pair], pressure: Pressure) -> None:
    action = {"name": f"{ACTIONS}disable_http_keepalive", "triggers": threshold(0.9)}
    pair = start(actions=[action])

    def kept(side: Side) -> list[tuple[bytes, bool]]:
        side.origin.script(HELLO)
        found = []
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", side.proxy.port), 5) as client:
                client.sendall(GET)
                data = client.recv(65536)
                client.settimeout(0.4)
                try:
                    ended = client.recv(100) == b""
                except TimeoutError:
                    ended = False
                found.append((data.partition(b"\r\n")[0], b"connection: close" in data, ended))
        return found

    assert [one[1] for one in pair.same_value("calm", kept, settle=0)] == [False, False]
    pressure.set(0.95)
    pair.both(lambda side: wait(side, 95))
    assert [one[1] for one in pair.same_value("pressure", kept, settle=0)] == [True, True]
    pair.same_value("stats", shown)
    pressure.set(0.0)
    pair.both(lambda side: wait(side, 0))
    assert [one[1] for one in pair.same_value("calm again", kept, settle=0)] == [False, False]


def test_connections_wait(start: Callable[..., Pair], pressure: Pressure) -> None:
    action = {"name": f"{ACTIONS}stop_accepting_connections", "triggers": threshold(0.9)}
    pair = start(actions=[action])

    def waits(side: Side) -> tuple[bool, int]:
        pressure.set(0.95)
        wait(side, 95)
        side.origin.script(HELLO)
        with socket.create_connection(("127.0.0.1", side.proxy.port), 5) as client:
            client.sendall(GET)
            client.settimeout(0.5)
            try:
                early = bool(client.recv(100))
            except TimeoutError:
                early = False
            pressure.set(0.0)
            wait(side, 0)
            client.settimeout(5)
            status = int(client.recv(65536).split()[1])
        return early, status

    for side in (pair.envoy, pair.outrider, pair.outrider):
        assert waits(side) == (False, 200)
        assert request(side)[0] == 200


@pytest.mark.parametrize("kind", ["action", "point"])
def test_connections_are_closed(start: Callable[..., Pair], pressure: Pressure, kind: str) -> None:
    if kind == "action":
        fields = {"actions": [{"name": f"{ACTIONS}reject_incoming_connections", "triggers": threshold(0.9)}]}
    else:
        fields = {"loadshed_points": [{"name": f"{POINTS}tcp_listener_accept", "triggers": threshold(0.9)}]}
    pair = start(**fields)

    def closed(side: Side) -> bool:
        with socket.create_connection(("127.0.0.1", side.proxy.port), 5) as client:
            return client.recv(100) == b""

    pressure.set(0.95)
    pair.both(lambda side: wait(side, 95))
    assert pair.same_value("closed", closed, settle=0)
    assert any(value for name, value in pair.same_value("stats", shown).items() if "overload_reject" in name)


def test_a_scale_refuses_some(start: Callable[..., Pair], pressure: Pressure) -> None:
    action = {"name": f"{ACTIONS}stop_accepting_requests", "triggers": scaled(0.5, 1.0)}
    pair = start(actions=[action])
    pressure.set(0.75)
    pair.both(lambda side: wait(side, 75))

    def refused(side: Side) -> bool:
        found = [request(side)[0] for _ in range(40)]
        return 5 < found.count(503) < 35

    assert pair.same_value("some", refused, settle=0)
    assert pair.same_value(
        "stats", lambda side: {name: value for name, value in shown(side).items() if "actions" in name}
    ) == {f"overload.{ACTIONS}stop_accepting_requests.active": 0,
          f"overload.{ACTIONS}stop_accepting_requests.scale_percent": 50}  # fmt: skip


def test_a_pressure_that_cannot_be_told_is_counted(start: Callable[..., Pair], pressure: Pressure) -> None:
    action = {"name": f"{ACTIONS}stop_accepting_requests", "triggers": threshold(0.9)}
    pair = start(actions=[action])
    pressure.set("x")

    def failed(side: Side) -> bool:
        name = f"overload.{INJECTED}.failed_updates"
        _until(lambda: side.proxy.stats("overload.")[name] > 2)
        return request(side)[0] == 200

    assert pair.same_value("failed", failed, settle=0)


def test_memory_that_is_free_is_given_back(start: Callable[..., Pair], pressure: Pressure) -> None:
    action = {"name": f"{ACTIONS}shrink_heap", "triggers": threshold(0.9)}
    pair = start(actions=[action])
    pressure.set(0.95)
    pair.both(lambda side: wait(side, 95))
    assert pair.same_value("stats", shown)[f"overload.{ACTIONS}shrink_heap.active"] == 1


@pytest.mark.parametrize("when", ["before", "while"])
def test_idle_connections_end_earlier(start: Callable[..., Pair], pressure: Pressure, when: str) -> None:
    """Under pressure from the start, or with pressure that comes while a connection is idle."""
    factor = {"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "0.5s"}
    kind = "type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig"
    action = {
        "name": f"{ACTIONS}reduce_timeouts",
        "triggers": threshold(0.9),
        "typed_config": {"@type": kind, "timer_scale_factors": [factor]},
    }
    pair = start(actions=[action])

    def ends(side: Side) -> bool:
        side.origin.script(HELLO)
        with socket.create_connection(("127.0.0.1", side.proxy.port), 5) as client:
            if when == "before":
                pressure.set(0.95)
                wait(side, 95)
            client.sendall(GET)
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            if when == "while":
                pressure.set(0.95)
                wait(side, 95)
            client.settimeout(12)
            return client.recv(100) == b""

    for side in (pair.envoy, pair.outrider):
        assert ends(side)
        pressure.set(0.0)
        wait(side, 0)
        assert request(side)[0] == 200
    pair.same_value(
        "stats", lambda side: side.proxy.stats("http.ingress.")["http.ingress.downstream_cx_idle_timeout"]
    )


def _talk(side: Side, *pieces: bytes) -> tuple[list[str], bool]:
    """The first line that came after each piece, which the pressure precedes if it is the last; and the end."""
    pressure = Pressure(Path(str(side.proxy.values["pressure"])))
    wait(side, 0)
    side.origin.script(HELLO)
    found = []
    with socket.create_connection(("127.0.0.1", side.proxy.port), 5) as client:
        for number, piece in enumerate(pieces, 1):
            if number == len(pieces):
                pressure.set(0.95)
                wait(side, 95)
            client.sendall(piece)
            client.settimeout(5 if number == len(pieces) else 0.4)
            try:
                found.append(client.recv(65536).decode().partition("\r")[0])
            except (TimeoutError, ConnectionResetError):
                found.append("")
        try:
            ended = client.recv(100) == b""
        except TimeoutError:
            ended = False
        except ConnectionResetError:
            ended = True
    return found, ended


COUNTED: Final = (
    "downstream_rq_overload_close", "downstream_rq_total", "downstream_rq_5xx", "downstream_cx_destroy_local",
    "downstream_cx_protocol_error", "downstream_rq_rx_reset", "downstream_rq_response_before_rq_complete",
)  # fmt: skip


@pytest.mark.parametrize("point", ["hcm_ondata_creating_codec", "http1_server_abort_dispatch"])
def test_reads_are_shed(start: Callable[..., Pair], point: str) -> None:
    pair = start(loadshed_points=[{"name": f"{POINTS}{point}", "triggers": threshold(0.9)}])
    body = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab"
    for name, pieces in (
        ("fresh", (GET,)),
        ("half", (b"GET / HT", b"TP/1.1\r\nhost: a\r\n\r\n")),
        ("body", (body, b"cde")),
        ("used", (GET, GET)),
    ):
        # In turn: both sides read the same file.
        expected = _talk(pair.envoy, *pieces)
        assert (name, _talk(pair.outrider, *pieces)) == (name, expected)

    def stats(side: Side) -> dict[str, int]:
        counted = side.proxy.stats("http.ingress.")
        shed = side.proxy.stats("overload.")[f"overload.{POINTS}{point}.shed_load_count"]
        return {name: counted[f"http.ingress.{name}"] for name in COUNTED} | {"shed": shed}

    assert pair.same_value("stats", stats)["shed"] == (1 if point.startswith("hcm") else 4)
    pair.same_value("log", lambda side: side.proxy.access_log(4))


@pytest.mark.parametrize("codec", ["AUTO", "HTTP2"])
def test_connections_of_http2_are_shed_before_they_begin(
    start: Callable[..., Pair], pressure: Pressure, codec: str
) -> None:
    points = [f"{POINTS}hcm_ondata_creating_codec", f"{POINTS}http1_server_abort_dispatch"]
    pair = start(
        codec=codec,
        loadshed_points=[
            {"name": points[0], "triggers": threshold(0.95)},
            {"name": points[1], "triggers": threshold(0.9)},
        ],
    )

    def asked(side: Side) -> tuple[list[str], bool]:
        side.origin.script(HELLO)
        with Http2Client(side.proxy.port) as client:
            view = client.request(1)
            status = [value for name, value in view.heads[-1] if name == ":status"] if view.heads else []
            # Whether the peer has read all by then decides between a close and a reset.
            return status, client.end == "open"

    for value, status in ((0.0, ["200"]), (0.92, ["200"]), (1.0, []), (0.0, ["200"])):
        pressure.set(value)
        pair.both(lambda side, value=value: wait(side, round(value * 100)))
        assert pair.same_value(f"at {value}", asked, settle=0)[0] == status
    pair.same_value("stats", shown)
