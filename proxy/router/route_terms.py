"""What a route under one connection manager does to every head alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.codec.grpc import is_grpc
from proxy.router.cluster_action import ClusterAction
from proxy.router.retry_policy import policy_for, within
from proxy.router.upstream_head import http1_framing
from proxy.router.upstream_plan import UpstreamPlan, expected_milliseconds

if TYPE_CHECKING:
    from proxy.base.messages import RequestHead
    from proxy.router.cluster_choice import ClusterChoice
    from proxy.router.response_stats import Charges
    from proxy.router.retry_policy import RetryPolicy
    from proxy.router.route import Route


class RouteTerms:
    """`number` is one that no other route of this process has.

    `choice` is the only cluster that the route leads to, None if there are more or none. With
    `leaves_fields_alone` what reaches it is a function of the fields and the target apart; with `charges_by_fields`
    so is where responses count. An `ordinary` route demands nothing more of a head that is ordinary
    (`ParsedRequest.ordinary`) than `plan_ordinary` does, and nobody looks at that head afterwards.
    """

    __slots__ = (
        "_attempts",
        "_expected_timeout",
        "_retry",
        "_timeout",
        "charges_by_fields",
        "choice",
        "leaves_fields_alone",
        "number",
        "ordinary",
        "route",
    )

    def __init__(
        self, route: Route, number: int, *, plain_manager: bool, suppress_envoy_headers: bool
    ) -> None:
        """`plain_manager`: nothing in the connection manager looks at heads or changes them."""
        action = route.action
        self.route = route
        self.number = number
        self.choice: ClusterChoice | None = None
        self.leaves_fields_alone = self.charges_by_fields = self.ordinary = False
        self._timeout = 0.0
        self._retry: RetryPolicy | None = None
        self._expected_timeout = ""
        self._attempts = route.virtual_host.include_request_attempt_count
        if not isinstance(action, ClusterAction) or action.single is None:
            return
        choice = self.choice = action.single
        self.leaves_fields_alone = not (
            route.request_ops
            or choice.request_ops
            or choice.host_rewrite
            or action.rewrites
            or action.auto_host_rewrite
        )
        self.charges_by_fields = not route.virtual_host.has_virtual_clusters
        self.ordinary = (
            self.leaves_fields_alone
            and self.charges_by_fields
            and plain_manager
            and not route.stat_prefix
            and not route.reads_facts
            and not action.max_stream_duration_set
            and action.max_grpc_timeout is None
            and action.hash_policy is None
            and action.internal_redirect is None
            # Its terms may depend on the request.
            and (action.retry_policy is None or not action.retry_policy.request_matchers)
        )
        self._timeout = float(action.timeout)
        if action.retry_policy is not None:
            self._retry = within(action.retry_policy, self._timeout)
        expected = expected_milliseconds(self._timeout, self._retry)
        if expected and not suppress_envoy_headers:
            self._expected_timeout = str(expected)

    def plan_ordinary(
        self, head: RequestHead, charges: Charges | None, response_key: int, *, end_stream: bool
    ) -> UpstreamPlan:
        """As `plan_upstream`, in place."""
        action = self.route.action
        assert isinstance(action, ClusterAction)
        assert self.choice is not None
        headers = head.headers
        if self._expected_timeout:
            headers["x-envoy-expected-rq-timeout-ms"] = self._expected_timeout
        if self._attempts:
            headers["x-envoy-attempt-count"] = "1"
        framing = http1_framing(head, end_stream=end_stream, upgrade=False)
        return UpstreamPlan(
            head,
            action,
            self.choice,
            self._timeout,
            None,
            False,
            True,
            framing,
            framing is not None and not end_stream,
            None,
            self.route.response_ops,
            response_key,
            charges,
            None,
            is_grpc(headers.get("content-type", "")),
            retry=None if self._retry is None else policy_for(self._retry, head),
            tells_attempts=self._attempts,
            tells_timeouts=self.route.virtual_host.include_is_timeout_retry_header,
            tells_time=bool(self._expected_timeout),
        )
