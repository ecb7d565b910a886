"""Tries of requests to clusters that track them: how large heads and bodies are, and what of the time was used.

A kind of request becomes one that is tracked by `tracked`; the kinds themselves know nothing of it, so that others
pay nothing. Source: `config.cluster.v3.TrackClusterStats`, and what Envoy's router records when.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.head_template import REQUEST_ID_HOLE
from proxy.codec.messages import ParsedResponse
from proxy.router.upstream_plan import UpstreamPlan
from proxy.router.upstream_request import PoolLookup, UpstreamRequest
from proxy.upstream.pool.api import PoolFailure
from proxy.upstream.tracked import Tracked


class _Tracking(UpstreamRequest):
    """Records one try when it is over."""

    #: Of a copy, see `Mirror`.
    timeout = 0.0
    _began = 0.0
    _body_sent = 0
    _body_received = 0
    _response_fields: tuple[int, int] | None = None
    _answered = False
    _dropped = False
    _expired = False
    #: Whether the end of the try is yet to be recorded by whoever asked for it.
    _waits = False
    _recorded = False

    def start(self, pools: PoolLookup, *, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        self._info: StreamInfo = self._stream.info
        self._clock = self.cluster.services.loop.time
        self._began = self._clock()
        super().start(pools, end_stream=end_stream)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        if self._connection is not None and not self._complete:
            self._body_sent += len(data)
        super().send_data(data, end_stream)

    def on_pool_ready(self, connection: Any) -> None:
        """See `PoolRequest`."""
        self._body_sent = sum(map(len, self._pending or ()))
        super().on_pool_ready(connection)

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        self._response_fields = _measured_response(response.head)
        self._waits = True
        super().on_response(response, body, end_stream)
        self._waits = False
        if not self._dropped:
            self._body_received += len(body)
            self._answered = end_stream
        if self.over:
            self._record()

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        self._body_received += len(data)
        self._answered = end_stream
        super().on_response_data(data, end_stream)

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        """See `PoolRequest`."""
        self._answered = True
        super().on_response_trailers(trailers)

    def drop_response(self, status: int) -> None:
        """See `UpstreamRequest`."""
        self._dropped = True
        super().drop_response(status)

    def expire(self, status: int, *, started: bool) -> bool:
        """See `UpstreamRequest`."""
        self._expired = True
        return super().expire(status, started=started)

    def on_stale(self) -> bool:
        """See `PoolRequest`."""
        self._waits = True
        again = super().on_stale()
        self._waits = False
        if again and self.over:
            self._record()
        return again

    def _end(self) -> None:
        super()._end()
        if not self._waits:
            self._record()

    def _fail_before_response(self, failure: PoolFailure, detail: str) -> None:
        self._record()
        super()._fail_before_response(failure, detail)

    def _limits(self) -> tuple[float, float]:
        """How long the request and one try of it may take, 0.0 for any time."""
        plan = self.head
        if isinstance(plan, UpstreamPlan):
            return plan.timeout, 0.0 if plan.retry is None else plan.retry.per_try_timeout
        return self.timeout, 0.0

    def _record(self) -> None:
        tracked: Tracked | None = self._charged.tracked
        if tracked is None or self._recorded:
            return
        self._recorded = True
        if tracked.sizes:
            self._record_sizes(tracked)
        if tracked.budgets:
            self._record_budgets(tracked)

    def _record_sizes(self, tracked: Tracked) -> None:
        outgoing: Any = self.head
        size, count = _measured_request(outgoing.head, self.request_id)
        tracked.record("upstream_rq_headers_size", size)
        tracked.record("upstream_rq_headers_count", count)
        tracked.record("upstream_rq_body_size", self._body_sent)
        if self._response_fields is not None:
            size, count = self._response_fields
            tracked.record("upstream_rs_headers_size", size)
            tracked.record("upstream_rs_headers_count", count)
            tracked.record("upstream_rs_body_size", self._body_received)

    def _record_budgets(self, tracked: Tracked) -> None:
        now = self._clock()
        limit, limit_of_try = self._limits()
        # A copy has no client that it waits for.
        complete = self._info.request_complete or self._began
        if self._answered or self._expired:
            used = _percent(now - complete, limit)
            tracked.record("upstream_rq_timeout_budget_percent_used", used)
        if not self._expired:
            used = _percent(now - self._began, limit_of_try)
            tracked.record("upstream_rq_timeout_budget_per_try_percent_used", used)


def _percent(seconds: float, limit: float) -> int:
    """What `seconds` are of the limit; nothing is any part of no limit."""
    return int(seconds * 100 / limit) if limit else 0


def _measured(fields: HeaderMap) -> tuple[int, int]:
    """Bytes of names and values, and the number of fields."""
    size = count = 0
    for name, value in fields.fields():
        size += len(name) + len(value)
        count += 1
    return size, count


def _measured_response(head: ResponseHead) -> tuple[int, int]:
    size, count = _measured(head.headers)
    return size + len(":status200"), count + 1


def _measured_request(head: RequestHead, request_id: bytes) -> tuple[int, int]:
    size, count = _measured(head.headers)
    if head.headers.get("x-request-id") == REQUEST_ID_HOLE:
        size += len(request_id) - len(REQUEST_ID_HOLE)
    for name, value in (
        (":method", head.method),
        (":path", head.path),
        (":authority", head.authority),
        (":scheme", head.scheme),
    ):
        if value:
            size += len(name) + len(value)
            count += 1
    return size, count


@cache
def tracked(kind: type[UpstreamRequest]) -> type[UpstreamRequest]:
    """The kind of request that is as `kind` and is recorded."""
    return type(f"Tracked{kind.__name__}", (_Tracking, kind), {})
