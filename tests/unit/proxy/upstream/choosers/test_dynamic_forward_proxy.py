"""dynamic_forward_proxy: which host a stream goes to, and how hosts come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2  # noqa: F401  (json_format finds it)
import pytest

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.runtime import Runtime
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.upstream.choosers import make_chooser
from proxy.upstream.cluster import Cluster
from proxy.upstream.dns_cache.names import host_name
from proxy.upstream.dns_cache.view import DnsCacheViews
from tests.support.cluster_messages import compiled, problems
from tests.support.listeners import services

TYPE = "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def fields(**config: Any) -> dict[str, Any]:
    typed = {"@type": TYPE, "dns_cache_config": {"name": "c"}, **config}
    return {
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": typed},
    }


class Setup:
    """A cluster whose cache the test fills."""

    def __init__(self) -> None:
        self.of = services()
        self.sent: list[tuple[Any, ...]] = []
        self.views = DnsCacheViews(self.of, self.sent.append)
        self.cluster = Cluster(compiled(**fields()), Runtime(), lambda: 0)

    def start(self) -> None:
        lookup: Any = SimpleNamespace()
        self.cluster.choose_by_stream = make_chooser(self.cluster, lookup, self.of)

    def resolve(self, name: str, ip: str) -> None:
        self.views.resolved("c", [(*host_name(name, 80), ip, "")])

    def chosen(self, info: StreamInfo) -> Address | None:
        host = self.cluster.host_for(info)
        return None if host is None else host.address

    def shown(self) -> list[str]:
        self.of.timers.advance(0.1)  # type: ignore[attr-defined]
        return sorted(host.hostname for host in self.cluster.hosts)


@pytest.fixture
def setup() -> Setup:
    made = Setup()
    made.resolve("a.test", "10.0.0.1")
    made.resolve("a.test:8080", "10.0.0.2")
    made.start()
    return made


def stream(authority: str | None = None, sni: str = "") -> StreamInfo:
    connection = ConnectionInfo(1, Address("9.9.9.9", 1), Address("9.9.9.9", 2), 0.0, DrainState())
    connection.requested_server_name = sni
    info = StreamInfo(connection, 0.0)
    if authority is not None:
        info.request = RequestHead("GET", "/", authority, HeaderMap())
    return info


def test_names_differ_by_port(setup: Setup) -> None:
    assert setup.chosen(stream("a.test")) == Address("10.0.0.1", 80)
    assert setup.chosen(stream("a.test:80")) == Address("10.0.0.1", 80)
    assert setup.chosen(stream("a.test:8080")) == Address("10.0.0.2", 8080)


def test_a_connection_is_known_by_its_server_name(setup: Setup) -> None:
    assert setup.chosen(stream(sni="a.test")) == Address("10.0.0.1", 80)
    assert setup.chosen(stream()) is None


def test_what_a_route_made_of_the_authority_counts(setup: Setup) -> None:
    info = stream("b.test")
    info.upstream_request_head = RequestHead("GET", "/", "a.test", HeaderMap())
    assert setup.chosen(info) == Address("10.0.0.1", 80)


@pytest.mark.parametrize(("port", "chosen"), [(8080, "10.0.0.2"), (0, "10.0.0.1"), (70000, "10.0.0.1")])
def test_the_filter_state_comes_first(setup: Setup, port: int, chosen: str) -> None:
    info = stream("b.test")
    info.connection.filter_state = {"envoy.upstream.dynamic_host": "a.test"}
    info.filter_state = {"envoy.upstream.dynamic_port": port}
    host = setup.cluster.host_for(info)
    assert host is not None
    assert host.address.ip == chosen


def test_an_unknown_host_is_there_for_the_next(setup: Setup) -> None:
    assert setup.chosen(stream("b.test")) is None
    assert setup.cluster.stats.upstream_cx_none_healthy == 1
    assert [message[2] for message in setup.sent] == ["b.test:80"]
    setup.resolve("b.test", "10.0.0.3")
    assert setup.chosen(stream("b.test")) == Address("10.0.0.3", 80)


def test_hosts_come_change_and_go(setup: Setup) -> None:
    assert setup.shown() == ["a.test:80", "a.test:8080"]
    host = setup.cluster.host_for(stream("a.test"))
    setup.resolve("a.test", "10.0.0.9")
    setup.resolve("b.test", "10.0.0.3")
    setup.resolve("nobody.test", "")
    assert setup.shown() == ["a.test:80", "a.test:8080", "b.test:80"]
    assert setup.cluster.host_for(stream("a.test")) is host
    assert setup.chosen(stream("a.test")) == Address("10.0.0.9", 80)
    setup.views.forgotten("c", "a.test:80")
    assert setup.shown() == ["a.test:8080", "b.test:80"]
    assert host is not None
    assert host.removed
    assert setup.chosen(stream("a.test")) is None


def test_use_is_told(setup: Setup) -> None:
    setup.chosen(stream("a.test"))
    assert setup.sent[0][2:] == ("a.test:80", "a.test", 80, False)


def test_a_cluster_that_has_gone_hears_no_more(setup: Setup) -> None:
    setup.cluster.close()
    setup.resolve("b.test", "10.0.0.3")
    assert setup.shown() == ["a.test:80", "a.test:8080"]


def test_names_of_hosts_are_checked_unless_that_is_waived() -> None:
    config = compiled(**fields())
    assert (config.auto_sni.sni, config.auto_sni.san) == (True, True)
    half = {"upstream_http_protocol_options": {"auto_sni": True}}
    (problem,) = problems(**fields(), **half)
    assert "allow_insecure_cluster_options" in problem[1]
    assert not problems(**fields(allow_insecure_cluster_options=True), **half)


def test_a_cache_is_needed() -> None:
    typed = {"@type": TYPE}
    kind = {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": typed}
    found = problems(lb_policy="CLUSTER_PROVIDED", cluster_type=kind)
    assert found[0][0] == "c.cluster_type.typed_config.dns_cache_config"
