"""What a connection manager does under pressure, and no longer without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.base.stream_info import DrainState
from proxy.hcm.overload import KeepaliveDrain, OverloadedPlanner
from proxy.hcm.request_plan import RequestPlan
from proxy.overload.names import DECODE_HEADERS, DISABLE_HTTP_KEEPALIVE, STOP_ACCEPTING_REQUESTS
from proxy.overload.view import OverloadView


class Planner:
    def plan(self, request: Any, connection: Any, info: Any, client: str) -> RequestPlan:
        del connection, info, client
        return RequestPlan(request.head)


def planned(view: OverloadView, *, tells_clients: bool = False) -> RequestPlan:
    request: Any = SimpleNamespace(head=SimpleNamespace(copy=lambda: None), owned=False, given_id="")
    nothing: Any = None
    planner: Any = Planner()
    return OverloadedPlanner(planner, view, tells_clients=tells_clients).plan(request, nothing, nothing, "")


def test_requests_are_refused_while_it_says_so() -> None:
    view = OverloadView(lambda: 0, [DECODE_HEADERS])
    assert planned(view).rejection is None
    for name in (STOP_ACCEPTING_REQUESTS, DECODE_HEADERS):
        view.use({name: 1.0})
        plan = planned(view)
        assert plan.rejection is not None
        assert (plan.rejection.status, plan.rejection.details) == (503, "overload")
        assert plan.rejection.header is None
    assert view.stats.shed == {DECODE_HEADERS: 1}


def test_what_was_decided_under_pressure_is_not_kept() -> None:
    view = OverloadView(lambda: 2**64 - 1, ())
    view.use({STOP_ACCEPTING_REQUESTS: 0.5})
    plan = planned(view)
    assert plan.rejection is None
    assert not plan.reusable


def test_clients_are_told_if_that_is_wanted() -> None:
    view = OverloadView(lambda: 0, ())
    view.use({STOP_ACCEPTING_REQUESTS: 1.0})
    rejection = planned(view, tells_clients=True).rejection
    assert rejection is not None
    assert rejection.header == ("x-envoy-local-overloaded", "true")


def test_responses_ask_connections_to_end() -> None:
    view = OverloadView(lambda: 0, ())
    drain = DrainState()
    stats: Any = SimpleNamespace(downstream_cx_overload_disable_keepalive=0)
    both = KeepaliveDrain(drain, view, stats)
    assert not both.draining
    view.use({DISABLE_HTTP_KEEPALIVE: 1.0})
    assert both.draining
    assert stats.downstream_cx_overload_disable_keepalive == 1
    drain.draining = True
    assert both.draining
    assert stats.downstream_cx_overload_disable_keepalive == 1
