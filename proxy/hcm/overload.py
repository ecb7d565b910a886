"""What a connection manager does under pressure: it answers requests with 503, and lets connections end.

Both stand in for a part that each request or response asks anyway, only while the controller says so: a manager
without pressure does nothing more for a request than one without an overload manager.
"""

from __future__ import annotations

from typing import Final

from proxy.base.stream_info import ConnectionInfo, DrainState, GradualDrain, StreamInfo
from proxy.codec.messages import ParsedRequest
from proxy.hcm.rejection import Rejection
from proxy.hcm.request_plan import RequestPlan, RequestPlanner
from proxy.hcm.stats import HttpStats
from proxy.overload.names import DECODE_HEADERS, DISABLE_HTTP_KEEPALIVE, STOP_ACCEPTING_REQUESTS
from proxy.overload.view import OverloadView

_HEADER: Final = ("x-envoy-local-overloaded", "true")


class OverloadedPlanner:
    """Plans requests as `planner` does, but those that are refused: their way ends before it has begun."""

    def __init__(self, planner: RequestPlanner, view: OverloadView, *, tells_clients: bool) -> None:
        self._planner = planner
        self._view = view
        self._rejection = Rejection(
            503,
            "overload",
            "envoy overloaded",
            stat="downstream_rq_overload_close",
            header=_HEADER if tells_clients else None,
        )

    def plan(
        self, request: ParsedRequest, connection: ConnectionInfo, info: StreamInfo, client: str
    ) -> RequestPlan:
        """See `RequestPlanner`; what was decided holds for this request alone."""
        view = self._view
        if view.sheds(DECODE_HEADERS) or view.happens(STOP_ACCEPTING_REQUESTS):
            plan = RequestPlan(request.head if request.owned else request.head.copy())
            plan.owned = request.owned
            plan.given_id = request.given_id
            plan.rejection = self._rejection
        else:
            plan = self._planner.plan(request, connection, info, client)
        plan.reusable = False
        return plan


class KeepaliveDrain(DrainState):
    """The worker's drain, with further responses that tell their connection to end."""

    __slots__ = ("_drain", "_stats", "_view")

    def __init__(self, drain: DrainState, view: OverloadView, stats: HttpStats) -> None:
        self._drain = drain
        self._view = view
        self._stats = stats

    @property
    def draining(self) -> bool | GradualDrain:  # type: ignore[override]
        """See `DrainState`."""
        if self._drain.draining:
            return True
        if self._view.happens(DISABLE_HTTP_KEEPALIVE):
            self._stats.downstream_cx_overload_disable_keepalive += 1
            return True
        return False
