"""Request mirroring: a copy of the request goes to another cluster, and what comes back is dropped.

The main request never waits for a copy: one that cannot be sent at once, or that falls behind, is given up. A copy
has as much time as the main request may have, and goes on when that is over, unless its body breaks off. It is
copied in turn if its cluster has policies of its own.
Source: `RouteAction.RequestMirrorPolicy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.services import Timers
from proxy.base.stream_info import StreamInfo
from proxy.codec.messages import ParsedResponse
from proxy.router.mirror_policy import MirrorPolicy
from proxy.router.request_kinds import kind_with
from proxy.router.response_stats import INTERNAL_CHARGES
from proxy.router.upstream_filters import mutations_for
from proxy.router.upstream_head import SingleHead
from proxy.router.upstream_plan import UpstreamPlan
from proxy.router.upstream_request import PoolLookup, UpstreamRequest
from proxy.upstream.pool.api import PoolFailure

_TIMED_OUT: Final = 504


class _Sink:
    """Takes the place of the stream behind a mirrored request."""

    def __init__(self, info: StreamInfo) -> None:
        self.info = StreamInfo(info.connection, info.start_time)
        self.request: UpstreamRequest | None = None

    def on_upstream_informational(self, response: ParsedResponse) -> None:
        """Dropped."""

    def on_upstream_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """Dropped."""

    def on_upstream_data(self, data: bytes, end_stream: bool) -> None:
        """Dropped."""

    def on_upstream_trailers(self, trailers: HeaderMap) -> None:
        """Dropped."""

    def on_upstream_failure(
        self,
        status: int,
        body: str,  # noqa: ARG002
        details: str,  # noqa: ARG002
        flags: int,  # noqa: ARG002
        host: Any,  # noqa: ARG002
        *,
        overloaded: bool = False,  # noqa: ARG002
    ) -> None:
        """Counted; nobody else hears of it."""
        if self.request is not None:
            self.request.count_own(status)

    def on_upstream_reset_after_response(self, details: str, flags: int) -> None:
        """Dropped."""

    def on_upstream_write_paused(self) -> None:
        """The copy has fallen behind: give it up rather than hold its bytes."""
        if self.request is not None:
            self.request.abandon()

    def on_upstream_write_resumed(self) -> None:
        """Nothing was held."""


class Mirror(UpstreamRequest):
    """One copy. It may take `timeout` seconds from the end of the request, 0.0 for any time."""

    timeout = 0.0
    timers: Timers
    _wake_up: Any = None

    def start(self, pools: PoolLookup, *, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        super().start(pools, end_stream=end_stream)
        self._start_clock()

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        super().send_data(data, end_stream)
        if end_stream:
            self._start_clock()

    def send_trailers(self, trailers: HeaderMap) -> None:
        """See `UpstreamRequest`."""
        super().send_trailers(trailers)
        self._start_clock()

    def leave(self) -> None:
        """The main request is over: without the rest of its body there is no copy of it."""
        if not self._complete:
            self.abandon()

    def on_wake(self, now: float) -> None:
        """See `Timers`."""
        del now
        self._wake_up = None
        if not self.over:
            self.expire(_TIMED_OUT, started=self._response_started)
            self.abandon()

    def _start_clock(self) -> None:
        if self.timeout and self._complete and not self.over and self._wake_up is None:
            self._wake_up = self.timers.wake(self._pool.now() + self.timeout, self)

    def _stop_clock(self) -> None:
        if self._wake_up is not None:
            self.timers.cancel(self._wake_up)
            self._wake_up = None

    def _end(self) -> None:
        super()._end()
        self._stop_clock()

    def _fail_before_response(self, failure: PoolFailure, detail: str) -> None:
        super()._fail_before_response(failure, detail)
        self._stop_clock()


def start_mirrors(
    manager: Any, policies: Sequence[MirrorPolicy], plan: UpstreamPlan, info: StreamInfo, end_stream: bool
) -> list[Mirror]:
    """Start a copy for each policy that applies; gives those that take the body and the end."""
    started: list[Mirror] = []
    if plan.head.method != "CONNECT":
        _start(manager, policies, plan.head, plan.timeout, info, end_stream, (), started)
    return started


def _start(
    manager: Any,
    policies: Sequence[MirrorPolicy],
    original: RequestHead,
    timeout: float,
    info: StreamInfo,
    end_stream: bool,
    way: tuple[str, ...],
    started: list[Mirror],
) -> None:
    """`original` is copied, itself a copy for the last of the clusters on its `way`."""
    number = manager.services.random()
    for policy in policies:
        if not policy.applies(lambda: number):
            continue
        name = policy.cluster or original.headers.get(policy.cluster_header, "")
        cluster = manager.clusters.get(name) if name else None
        if cluster is None:
            continue
        sink = _Sink(info)
        host = cluster.host_for(sink.info)
        if host is None:
            cluster.stats.codes[503] += 1
            INTERNAL_CHARGES.count(cluster.stats, 503)
            continue
        head = original.copy()
        if policy.host_rewrite:
            head.authority = policy.host_rewrite
        elif policy.host_suffix:
            head.authority = _shadowed(head.authority)
        if info.request_id and "x-request-id" in head.headers:
            head.headers.set("x-request-id", info.request_id)
        _mark_as_own(head.headers, manager.services.local_address)
        for ops in policy.request_ops:
            ops.apply(head, info)
        mutations: tuple[Any, ...] = ()
        if cluster.config.http_filters:
            # Config of routes is for the main request.
            mutations = mutations_for(cluster.config.http_filters, {})
        kind = kind_with(
            Mirror,
            tracked=cluster.config.follows_requests,
            log=manager.upstream_log,
            filtered=bool(mutations),
        )
        request = kind(
            sink,
            cluster,
            host,
            0,
            head.method,
            SingleHead(head, end_stream=end_stream),
            b"",
        )
        sink.request = request
        if mutations:
            request.mutations = mutations
        request.charges = INTERNAL_CHARGES
        request.timeout = timeout
        request.timers = manager.services.timers
        request.client_speaks_http2 = head.protocol == "HTTP/2"
        request.start(manager.pools, end_stream=end_stream)
        started.append(request)
        # In a circle, Envoy would make copies until it crashes.
        if cluster.config.mirrors and name not in way:
            _start(manager, cluster.config.mirrors, head, timeout, info, end_stream, (*way, name), started)


def _mark_as_own(headers: HeaderMap, address: str) -> None:
    """Envoy sends a copy as a request of its own: internal, and forwarded for its own address."""
    headers.set("x-envoy-internal", "true")
    present = headers.get("x-forwarded-for")
    headers.set("x-forwarded-for", f"{present},{address}" if present else address)


def _shadowed(authority: str) -> str:
    """`host:80` → `host-shadow:80`."""
    host, colon, port = authority.rpartition(":")
    if colon and port.isdigit():
        return f"{host}-shadow:{port}"
    return f"{authority}-shadow"
