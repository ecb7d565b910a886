"""Health discovery (HDS): what is reported of the same hosts to the same control plane, beside Envoy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import grpc
import pytest
from envoy.service.health.v3 import hds_pb2
from google.protobuf.json_format import MessageToDict, ParseDict

from tests.support.configs import Json, address, bootstrap, http2_cluster
from tests.support.envoy import Envoy
from tests.support.origin import HELLO, Answer, Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.report_server import ReportServer
from xds_client.hds import METHOD

UNWELL: Final = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
DEGRADED: Final = b"HTTP/1.1 200 OK\r\nx-envoy-degraded: true\r\ncontent-length: 0\r\n\r\n"
QUICK: Final[Json] = {
    "timeout": "0.3s",
    "interval": "0.1s",
    "no_traffic_interval": "0.1s",
    "no_traffic_healthy_interval": "0.1s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
}
HTTP: Final[Json] = {**QUICK, "http_health_check": {"path": "/check"}}
TCP: Final[Json] = {**QUICK, "tcp_health_check": {}}
DEAD: Final = 1
COUNTED: Final = tuple(f"hds_delegate.{name}" for name in ("errors", "requests", "updates"))


class HealthServer(ReportServer):
    """See `ReportServer`."""

    method = METHOD
    report_type = hds_pb2.HealthCheckRequestOrEndpointHealthResponse


class Side:
    """One proxy with a control plane of its own; both ask the same hosts."""

    def __init__(self, kind: type[ProxyProcess], hosts: dict[str, int], stack: ExitStack) -> None:
        self.server = stack.enter_context(HealthServer())
        self._names = {port: name for name, port in hosts.items()}
        source = {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "hds"}}],
        }
        node = {"id": "me", "cluster": "us"}
        config = bootstrap([], [http2_cluster("hds", self.server.port)], node=node, hds_config=source)
        self.proxy = stack.enter_context(kind(config, listeners=()))

    def told(self, count: int) -> list[Any]:
        """The reports from that one on, the same one after another once."""
        found: list[Any] = []
        for report in list(self.server.reports)[count:]:
            if report.HasField("health_check_request"):
                found.append("hello")
                continue
            told = self._plain(MessageToDict(report.endpoint_health_response))
            if not found or told != found[-1]:
                found.append(told)
        return found

    def _plain(self, value: Any) -> Any:
        """Ports as names of hosts, lists of localities in one order."""
        if isinstance(value, list):
            return sorted((self._plain(one) for one in value), key=str)
        if isinstance(value, dict):
            return {key: self._plain(one) for key, one in value.items()}
        return self._names.get(value, value) if isinstance(value, int) else value

    def stats(self, *prefixes: str) -> dict[str, str]:
        lines = (line.partition(": ") for line in self.proxy.admin("/stats")[1].splitlines())
        return {name: value for name, _, value in lines if name.startswith(prefixes)}


class Mesh:
    def __init__(self, stack: ExitStack) -> None:
        self.well = stack.enter_context(Origin())
        self.unwell = stack.enter_context(Origin(UNWELL))
        self.slow = stack.enter_context(Origin(Answer(delay=2.0)))
        self.degraded = stack.enter_context(Origin(DEGRADED))
        hosts = {name: origin.port for name, origin in vars(self).items() if isinstance(origin, Origin)}
        self.sides = (Side(Envoy, hosts, stack), Side(subject(), hosts, stack))

    def tell(self, *clusters: Json, interval: str | None = "0.3s") -> None:
        fields: Json = {"cluster_health_checks": list(clusters)}
        if interval is not None:
            fields["interval"] = interval
        specifier = ParseDict(fields, hds_pb2.HealthCheckSpecifier())
        for side in self.sides:
            side.server.tell(specifier)

    def same_in_the_end(self) -> Any:
        """Both report the same before long, for a while; gives it."""
        before = [len(side.server.reports) for side in self.sides]
        deadline = time.monotonic() + 10
        while True:
            time.sleep(1.0)
            envoy, ours = (side.told(count)[-1:] for side, count in zip(self.sides, before, strict=True))
            if envoy and envoy == ours:
                return envoy[0]
            assert time.monotonic() < deadline, (envoy, ours)

    def on_both(self, act: Callable[[Side], None]) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(act, self.sides))


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    with ExitStack() as stack:
        yield Mesh(stack)


def endpoint(port: int, **fields: Any) -> Json:
    return {"address": address(port), **fields}


def checked(port: int, **check: Any) -> Json:
    return endpoint(port, health_check_config=check)


def place(zone: str, *endpoints: Json) -> Json:
    return {"locality": {"region": "r", "zone": zone}, "endpoints": list(endpoints)}


def delegated(name: str, checks: list[Json], *places: Json) -> Json:
    return {"cluster_name": name, "health_checks": checks, "locality_endpoints": list(places)}


def statuses(report: Any) -> list[tuple[Any, str]]:
    """Of the older list: hosts with what is said of them."""
    return [
        (one["endpoint"]["address"]["socketAddress"]["portValue"], one["healthStatus"])
        for one in report["endpointsHealth"]
    ]


def test_hosts_are_told_of_by_cluster_and_locality(mesh: Mesh) -> None:
    mesh.tell(
        delegated(
            "a",
            [HTTP],
            place("z1", endpoint(mesh.well.port), endpoint(mesh.unwell.port)),
            place("z2", endpoint(mesh.slow.port), endpoint(mesh.degraded.port), endpoint(DEAD)),
        ),
        delegated("b", [TCP], place("z1", endpoint(mesh.well.port), endpoint(DEAD))),
    )
    report = mesh.same_in_the_end()
    assert sorted(statuses(report), key=str) == [
        ("degraded", "UNHEALTHY"),
        ("slow", "TIMEOUT"),
        ("unwell", "UNHEALTHY"),
        ("well", "HEALTHY"),
        ("well", "HEALTHY"),
        (DEAD, "UNHEALTHY"),
        (DEAD, "UNHEALTHY"),
    ]
    for side in mesh.sides:
        assert side.told(0)[0] == "hello"
        assert "health_check.attempt" in "".join(side.stats("cluster.a.", "cluster.b."))
        hello = side.server.reports[0].health_check_request
        assert (hello.node.id, list(hello.capability.health_check_protocols)) == ("me", [0, 1])


def test_a_host_that_recovers_is_told_of(mesh: Mesh) -> None:
    mesh.tell(delegated("a", [HTTP], place("z", endpoint(mesh.unwell.port))))
    assert statuses(mesh.same_in_the_end()) == [("unwell", "UNHEALTHY")]
    mesh.unwell.script(HELLO)
    assert statuses(mesh.same_in_the_end()) == [("unwell", "HEALTHY")]
    mesh.unwell.script(DEGRADED)
    assert statuses(mesh.same_in_the_end()) == [("unwell", "UNHEALTHY")]


def test_what_is_asked_for_changes(mesh: Mesh) -> None:
    mesh.tell(delegated("a", [HTTP], place("z", endpoint(mesh.well.port), endpoint(mesh.unwell.port))))
    mesh.same_in_the_end()
    mesh.tell(delegated("a", [HTTP, TCP], place("y", endpoint(mesh.well.port), endpoint(mesh.unwell.port))))
    assert statuses(mesh.same_in_the_end()) == [("unwell", "UNHEALTHY"), ("well", "HEALTHY")]
    mesh.tell(delegated("a", [HTTP], place("y", endpoint(mesh.unwell.port))), delegated("b", [HTTP]))
    assert statuses(mesh.same_in_the_end()) == [("unwell", "UNHEALTHY")]
    mesh.tell(delegated("c", [], place("z", endpoint(mesh.well.port))), interval="0.5s")
    assert statuses(mesh.same_in_the_end()) == [("well", "UNHEALTHY")]
    mesh.tell()
    mesh.same_in_the_end()
    stats = [side.stats(*COUNTED) for side in mesh.sides]
    assert stats[0] == stats[1]
    # As long as it was checked, it had numbers.
    assert not mesh.sides[1].stats("cluster.a.health_check.")


def test_a_host_may_be_checked_elsewhere_by_another_name_or_not_at_all(mesh: Mesh) -> None:
    mesh.tell(
        delegated(
            "a",
            [HTTP],
            place(
                "z",
                checked(DEAD, port_value=mesh.well.port, hostname="a.test"),
                checked(mesh.unwell.port, disable_active_health_check=True),
            ),
        )
    )
    assert statuses(mesh.same_in_the_end()) == [(DEAD, "HEALTHY")]
    assert {request.get("host") for request in mesh.well.requests} == {"a.test"}


def test_what_cannot_be_checked_is_refused_whole(mesh: Mesh) -> None:
    mesh.tell(delegated("a", [TCP], place("z", endpoint(mesh.well.port))))
    good = mesh.same_in_the_end()
    mesh.tell(
        delegated("b", [TCP], place("z", endpoint(mesh.well.port))),
        delegated("c", [{"tcp_health_check": {}}], place("z", endpoint(mesh.well.port))),
    )
    assert mesh.same_in_the_end() == good
    mesh.tell(
        delegated("d", [TCP], place("z", endpoint(mesh.well.port))),
        delegated("d", [TCP], place("z", endpoint(DEAD))),
    )
    assert statuses(mesh.same_in_the_end()) == [("well", "HEALTHY")]
    stats = [side.stats(*COUNTED) for side in mesh.sides]
    assert stats[0] == stats[1]
    log = mesh.sides[1].proxy.log()
    assert "cluster_health_checks[1].health_checks[0].timeout: must be set" in log
    assert "'d' comes more than once" in log


def test_the_control_plane_goes_and_comes_back(mesh: Mesh) -> None:
    mesh.tell(delegated("a", [TCP], place("z", endpoint(mesh.well.port))))
    before = mesh.same_in_the_end()

    def cut(side: Side) -> None:
        opened = side.server.streams_opened
        side.server.cut(grpc.StatusCode.UNAVAILABLE)
        side.server.wait_for(lambda: side.server.streams_opened > opened)

    mesh.on_both(cut)
    assert mesh.same_in_the_end() == before
    for side in mesh.sides:
        assert side.told(0).count("hello") == 2
        assert side.stats("hds_delegate.errors") == {"hds_delegate.errors": "1"}


def test_without_an_interval_a_report_comes_every_second(mesh: Mesh) -> None:
    mesh.tell(delegated("a", [TCP], place("z", endpoint(mesh.well.port))), interval=None)
    mesh.same_in_the_end()
    before = [len(side.server.reports) for side in mesh.sides]
    time.sleep(3.0)
    for side, count in zip(mesh.sides, before, strict=True):
        assert 2 <= len(side.server.reports) - count <= 4
