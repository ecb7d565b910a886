"""The dynamic forward proxy filter: who waits, who is answered, with what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.base.address import Address
from proxy.filters.http.dynamic_forward_proxy import FACTORY, FilterConfig, RouteConfig
from proxy.upstream.dns_cache.config import DnsCacheConfig, DynamicForwardProxyConfig
from proxy.upstream.dns_cache.names import HostName
from proxy.upstream.dns_cache.view import DnsCacheViews
from tests.support.filters import FilteredStream
from tests.support.listeners import services

HOST = HostName("host:80", "host", 80)


class Setup:
    """One stream to a dynamic forward proxy cluster."""

    def __init__(
        self, *, named: bool = True, tls: Any = None, route: RouteConfig | None = None, **fields: Any
    ) -> None:
        cache = DnsCacheConfig(
            "c", max_hosts=fields.pop("max_hosts", 8), max_pending_requests=fields.pop("most", 8)
        )
        self.sent: list[tuple[Any, ...]] = []
        of = services()
        self.views = DnsCacheViews(of, self.sent.append)
        config = SimpleNamespace(
            kind=DynamicForwardProxyConfig(cache, named), transport_of=lambda metadata: tls
        )
        assert FACTORY.create is not None
        make = FACTORY.create(FilterConfig(cache, **fields), of, "")
        overrides = {} if route is None else {"filter0": route}
        self.stream = FilteredStream(make, cluster=SimpleNamespace(config=config), overrides=overrides)
        self.view = self.views.view(cache)

    def resolve(self, host: HostName = HOST, ip: str = "10.0.0.1", reason: str = "") -> None:
        self.views.resolved("c", [(*host, ip, reason)])

    @property
    def asked(self) -> list[str]:
        return [message[2] for message in self.sent]


def test_a_request_waits_for_its_host() -> None:
    setup = Setup()
    setup.stream.begin(end_stream=True)
    assert setup.stream.request == []
    assert setup.asked == ["host:80"]
    setup.resolve()
    assert setup.stream.request[0][0] == "head"
    assert not setup.stream.replies


def test_a_known_host_does_not_hold_anybody_up() -> None:
    setup = Setup()
    setup.resolve()
    setup.stream.begin(end_stream=True)
    assert setup.stream.request[0][0] == "head"
    assert not setup.sent


def test_hosts_of_a_cluster_with_tls_have_another_port() -> None:
    setup = Setup(tls=object())
    setup.stream.begin(end_stream=True)
    assert setup.asked == ["host:443"]


def test_a_cluster_of_another_name_is_left_alone() -> None:
    setup = Setup(named=False)
    setup.stream.begin(end_stream=True)
    assert setup.stream.request[0][0] == "head"
    assert not setup.sent


@pytest.mark.parametrize("known", [True, False])
def test_a_host_without_an_address(known: bool) -> None:
    setup = Setup()
    if known:
        setup.resolve(ip="", reason="no such name")
    setup.stream.begin(end_stream=True)
    if not known:
        setup.resolve(ip="", reason="no such name")
    assert setup.stream.replies == ["dns_resolution_failure{no_such_name}"]
    assert setup.stream.request == []


def test_limits() -> None:
    full = Setup(max_hosts=0)
    full.stream.begin()
    assert full.stream.replies == ["dns_cache_overflow"]
    busy = Setup(most=0)
    busy.stream.begin()
    assert busy.stream.replies == ["dynamic_forward_proxy_pending_request_overflow"]
    late = Setup()
    late.stream.begin()
    late.views.overflow("c", HOST.key)
    assert late.stream.replies == ["dns_cache_overflow"]


def test_a_route_may_say_the_host() -> None:
    setup = Setup(route=RouteConfig(literal="other:81"))
    setup.stream.begin()
    assert setup.asked == ["other:81"]
    by_field = Setup(route=RouteConfig(header="x-to"))
    by_field.stream.begin(x_to="third")
    assert by_field.asked == ["third:80"]
    without = Setup(route=RouteConfig(header="x-to"))
    without.stream.begin()
    assert without.asked == ["host:80"]


@pytest.mark.parametrize(("allowed", "asked"), [(True, "a.test:99"), (False, "host:80")])
def test_the_filter_state_may_say_the_host(allowed: bool, asked: str) -> None:
    setup = Setup(host_from_state=allowed)
    setup.stream.info.filter_state = {
        "envoy.upstream.dynamic_host": "a.test",
        "envoy.upstream.dynamic_port": 99,
    }
    setup.stream.begin()
    assert setup.asked == [asked]


def test_the_address_may_be_kept() -> None:
    setup = Setup(save_address=True)
    setup.stream.begin()
    setup.resolve()
    assert setup.stream.info.filter_state == {"envoy.stream.upstream_address": Address("10.0.0.1", 80)}


def test_a_stream_that_ends_waits_no_longer() -> None:
    setup = Setup()
    setup.stream.begin()
    assert setup.view.pending == 1
    setup.stream.finish()
    assert setup.view.pending == 0
    setup.resolve()
    assert setup.stream.request == []
