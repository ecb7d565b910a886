"""Connections that wait until the name in their ClientHello is resolved."""

from __future__ import annotations

from typing import Any

from proxy.base.stream_info import ConnectionInfo
from proxy.filters.api import Pending
from proxy.filters.network.sni_dynamic_forward_proxy import SniDynamicForwardProxyFilter
from proxy.upstream.dns_cache.config import DnsCacheConfig
from proxy.upstream.dns_cache.names import host_name
from proxy.upstream.dns_cache.view import DnsCacheViews
from tests.support.listeners import services
from tests.support.streams import connection

PORT = "envoy.upstream.dynamic_port"


class Setup:
    """The filter, and a connection that takes notes of what it decides."""

    def __init__(self, name: str = "a.test", state: dict[str, Any] | None = None, **limits: int) -> None:
        of = services()
        self.sent: list[tuple[Any, ...]] = []
        self.views = DnsCacheViews(of, self.sent.append)
        self.view = self.views.view(DnsCacheConfig("c", **limits))  # type: ignore[arg-type]
        self.gate = SniDynamicForwardProxyFilter(443, self.view)
        self.connection: ConnectionInfo = connection()
        self.connection.requested_server_name = name
        self.connection.filter_state = state or {}
        self.decided: list[bool] = []

    def on_decided(self, passes: bool) -> None:
        self.decided.append(passes)

    def ask(self) -> bool | Pending:
        return self.gate.on_connection(self.connection, self)


def test_a_connection_waits_for_its_name() -> None:
    setup = Setup()
    assert not isinstance(setup.ask(), bool)
    assert [message[2] for message in setup.sent] == ["a.test:443"]
    assert setup.connection.filter_state[PORT] == 443
    setup.views.resolved("c", [(*host_name("a.test", 443), "10.0.0.1", "")])
    assert setup.decided == [True]
    assert setup.ask() is True


def test_a_name_without_an_address_is_left_to_the_cluster() -> None:
    setup = Setup()
    setup.ask()
    setup.views.resolved("c", [(*host_name("a.test", 443), "", "no such name")])
    assert setup.decided == [True]


def test_without_a_name_there_is_nothing_to_wait_for() -> None:
    setup = Setup(name="")
    assert setup.ask() is True
    assert not setup.sent


def test_the_filter_state_comes_first() -> None:
    setup = Setup(state={"envoy.upstream.dynamic_host": "b.test", PORT: 99})
    setup.ask()
    assert [message[2] for message in setup.sent] == ["b.test:99"]


def test_limits_close_the_connection() -> None:
    assert Setup(max_hosts=0).ask() is False
    assert Setup(max_pending_requests=0).ask() is False
    setup = Setup()
    setup.ask()
    setup.views.overflow("c", "a.test:443")
    assert setup.decided == [False]


def test_a_client_that_leaves_waits_no_longer() -> None:
    setup = Setup()
    pending = setup.ask()
    assert not isinstance(pending, bool)
    pending.cancel()
    assert setup.view.pending == 0
    setup.views.resolved("c", [(*host_name("a.test", 443), "10.0.0.1", "")])
    assert setup.decided == []
