"""Hosts that report their load on streams of their own (out-of-band ORCA), beside Envoy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from xds.data.orca.v3 import orca_load_report_pb2
from xds.service.orca.v3 import orca_pb2

from tests.support.certs import Authority
from tests.support.client import exchange
from tests.support.configs import Json, cluster, http2_cluster, http_proxy, typed
from tests.support.differential import Pair, Side
from tests.support.http2_origin import Http2Answer, Http2Origin, OriginStream

POLICIES: Final = "envoy.extensions.load_balancing_policies."
PREFIX: Final = "cluster.origin.lb_orca_oob."
Fields = tuple[tuple[str, str], ...]
GRPC: Final[Fields] = (("content-type", "application/grpc"),)
TLS: Final = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
PATH: Final = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"


def weighted() -> Json:
    policy = typed(
        f"{POLICIES}client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
        enable_oob_load_report=True,
        oob_reporting_period="0.2s",
        blackout_period="0s",
        weight_update_period="0.1s",
    )
    return {
        "load_balancing_policy": {
            "policies": [{"typed_extension_config": {"name": "x", "typed_config": policy}}]
        }
    }


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def report(rate: float, utilization: float = 0.5) -> bytes:
    message = orca_load_report_pb2.OrcaLoadReport(rps_fractional=rate, application_utilization=utilization)
    return frame(message.SerializeToString())


Play = Callable[[OriginStream], None]


def origin_script(play: Play, fields: Fields = ()) -> Play:
    """Answer requests with these fields, and play so when asked for reports."""

    def script(stream: OriginStream) -> None:
        if stream.path == PATH:
            stream.wait_end()
            play(stream)
        else:
            stream.answer(Http2Answer(fields=fields))

    return script


@contextmanager
def reporting(first: Play, second: Play, first_fields: Fields = (), hostname: str = "") -> Iterator[Pair]:
    made = http2_cluster("origin", "{{first_port}}", "{{second_port}}", **weighted())
    for host in made["load_assignment"]["endpoints"][0]["lb_endpoints"]:
        host["endpoint"]["hostname"] = hostname
    origins = {
        "first": lambda: Http2Origin(origin_script(first, first_fields)),
        "second": lambda: Http2Origin(origin_script(second)),
    }
    with Pair(http_proxy(clusters=[made]), origins=origins) as pair:
        # Only then the cluster is in use here.
        pair.both(get)
        yield pair


def get(side: Side) -> int:
    return exchange(side.proxy.port, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status


def numbers(side: Side) -> dict[str, int]:
    return {name.removeprefix(PREFIX): value for name, value in side.proxy.stats(PREFIX).items()}


def until(side: Side, name: str, least: int) -> dict[str, int]:
    deadline = time.monotonic() + 10
    while (now := numbers(side)).get(name, 0) < least:
        assert time.monotonic() < deadline, now
        time.sleep(0.02)
    return now


def ends(status: int = 200, fields: Fields = GRPC) -> Play:
    """Answer with a head alone."""
    return lambda stream: stream.head(status, fields, end=True)


def says(*frames: bytes, then: Callable[[OriginStream], None] | None = None) -> Play:
    """Send these, and nothing more unless `then` does."""

    def play(stream: OriginStream) -> None:
        stream.head(200, GRPC)
        for one in frames:
            stream.data(one)
        if then is not None:
            then(stream)

    return play


def repeats(one: bytes) -> Play:
    """Report every 0.1 s."""

    def play(stream: OriginStream) -> None:
        stream.head(200, GRPC)
        while stream.connection.end == "open" and stream.view.reset is None:
            stream.data(one)
            time.sleep(0.1)

    return play


def share_of_first(pair: Pair) -> tuple[float, float]:
    """Of the requests on both sides, when hosts have reported."""

    def run(side: Side) -> float:
        until(side, "reports_received", 4)
        # Each host has answered, and weights are renewed every 0.1 s.
        for _ in range(20):
            get(side)
        time.sleep(0.5)
        before = asked(side, "/")
        for _ in range(60):
            assert get(side) == 200
        return (asked(side, "/")[0] - before[0]) / 60

    return pair.both(run)


def asked(side: Side, path: str) -> list[int]:
    """How many streams each origin has seen."""
    return [sum(stream.path == path for stream in one.streams) for one in side.origins.values()]


def test_hosts_are_weighed_by_their_reports() -> None:
    with reporting(repeats(report(90)), repeats(report(10))) as pair:
        assert share_of_first(pair) == pytest.approx((0.9, 0.9), abs=0.05)


def test_reports_with_responses_count_too() -> None:
    fields = (("endpoint-load-metrics", "TEXT rps_fractional=900,application_utilization=0.5"),)
    with reporting(says(), repeats(report(10)), fields) as pair:
        assert share_of_first(pair) == pytest.approx((0.98, 0.98), abs=0.05)


@pytest.mark.parametrize("hostname", ["", "named.test"])
def test_what_hosts_are_asked(hostname: str) -> None:
    def run(side: Side) -> list[Any]:
        until(side, "reports_received", 2)
        found = []
        for one in side.origins.values():
            view = next(stream.view for stream in one.streams if stream.path == PATH)
            request = orca_pb2.OrcaLoadReportRequest.FromString(bytes(view.body[5:]))
            fields = sorted((name, value) for name, value in view.fields if name != ":authority")
            found.append(
                (fields, (view.get(":authority") or "").replace(str(one.port), "<port>"), view.ended)
            )
            found.append((bytes(view.body[:1]), request.report_interval.ToMilliseconds()))
        return found

    with reporting(says(report(1)), says(report(1)), hostname=hostname) as pair:
        envoy, outrider = pair.both(run)
        assert outrider == envoy


CASES: dict[str, Play] = {
    "a report": repeats(report(1)),
    "two in one piece": says(report(1) + report(2), then=lambda stream: stream.wait_end()),
    "no service": ends(fields=(*GRPC, ("grpc-status", "12"))),
    "not found": ends(404, ()),
    "not there": ends(fields=(*GRPC, ("grpc-status", "14"))),
    "no status": ends(),
    "no gRPC": ends(200, (("content-type", "text/plain"), ("grpc-status", "12"))),
    "no gRPC, with a body": lambda stream: stream.answer(Http2Answer(404)),
    "ended": says(report(1), then=lambda stream: stream.trailers([("grpc-status", "0")])),
    "ended without a service": says(then=lambda stream: stream.trailers([("grpc-status", "12")])),
    "ended without trailers": says(then=lambda stream: stream.data(b"", end=True)),
    "reset": says(report(1), then=lambda stream: stream.reset()),
    "compressed": says(frame(b"", 1)),
    "no report": says(frame(b"\xff")),
    "empty": says(frame(b""), report(1)),
    "too long": says(frame(b"\n" * 66_000)[:60_000]),
    "no rate": says(report(0)),
    "negative": says(report(-1)),
    "silence": says(),
}


@pytest.mark.parametrize("name", CASES)
def test_what_comes_of_streams(name: str) -> None:
    def run(side: Side) -> Any:
        deadline = time.monotonic() + 1.6
        while time.monotonic() < deadline:
            now = numbers(side)
            if now["stream_failures"] or now["stream_terminated"]:
                break
            time.sleep(0.02)
        time.sleep(0.1)
        now = numbers(side)
        # How often is a matter of chance.
        reports = bool(now.pop("reports_received"))
        return {
            **now,
            "stream_failures": bool(now["stream_failures"]),
            "report_errors": bool(now["report_errors"]),
        }, reports

    with reporting(CASES[name], repeats(report(1))) as pair:
        envoy, outrider = pair.both(run)
        assert outrider == envoy


@pytest.mark.parametrize("http2", [True, False])
def test_streams_are_encrypted_as_the_cluster_is(tmp_path_factory: Any, http2: bool) -> None:
    issued = Authority(tmp_path_factory.mktemp("authority")).issue("origin.test")
    context = issued.server_context(alpn=("h2", "http/1.1"))

    def one() -> Http2Origin:
        return Http2Origin(origin_script(repeats(report(1))), tls=context)

    socket = {"name": "tls", "typed_config": typed(TLS, common_tls_context={}, sni="origin.test")}
    make = http2_cluster if http2 else cluster
    made = make("origin", "{{first_port}}", **weighted(), transport_socket=socket)

    def run(side: Side) -> Any:
        until(side, "reports_received", 2)
        stream = next(stream for stream in side.origin.streams if stream.path == PATH)
        return stream.view.get(":scheme"), numbers(side)["active_sessions"]

    with Pair(http_proxy(clusters=[made]), origins={"first": one}) as pair:
        pair.both(get)
        assert pair.both(run) == (("https", 1), ("https", 1))
