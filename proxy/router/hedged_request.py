"""A request that is hedged: a try that takes too long goes on beside another, and the first good response wins.

Source: `envoy.config.route.v3.HedgePolicy.hedge_on_per_try_timeout`, x-envoy-hedge-on-per-try-timeout. A bad
response is passed on only when nothing better can come any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.codec.grpc import grpc_status
from proxy.codec.messages import ParsedResponse
from proxy.router.attempt import Attempt
from proxy.router.retry_policy import ANY_GRPC, FOR_ANY_STATUS, wants_retry_of_response
from proxy.router.retrying_request import RetryingRequest
from proxy.upstream.pool.api import PoolFailure, ResetReason

if TYPE_CHECKING:
    from proxy.hcm.stream import Stream

#: What a try notes of itself in the `StreamInfo`.
_FACTS: Final = (
    "upstream_host",
    "upstream_connection",
    "upstream_pool_requested",
    "upstream_pool_ready",
    "upstream_first_byte_sent",
    "upstream_last_byte_sent",
    "upstream_transport_failure_reason",
)


class HedgedAttempt(Attempt):
    """One of several tries at the same time: before it tells anything, its owner turns to it."""

    owner: HedgedRequest | None
    #: What the `StreamInfo` said of it before another try began.
    facts: tuple[Any, ...] | None = None

    def on_pool_ready(self, connection: Any) -> None:
        """See `PoolRequest`."""
        self._announce()
        super().on_pool_ready(connection)

    def on_pool_failure(self, failure: PoolFailure, detail: str) -> None:
        """See `PoolRequest`."""
        self._announce()
        super().on_pool_failure(failure, detail)

    def on_informational(self, response: ParsedResponse) -> None:
        """See `PoolRequest`."""
        self._announce()
        super().on_informational(response)

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        self._announce()
        super().on_response(response, body, end_stream)

    def on_reset(self, reason: ResetReason, detail: str) -> None:
        """See `PoolRequest`."""
        self._announce()
        super().on_reset(reason, detail)

    def _announce(self) -> None:
        if self.owner is not None:
            self.owner.turn_to(self)


class HedgedRequest(RetryingRequest):
    """See module. `_try` is the try that something happens to, `_waiting` are all that may still answer."""

    def __init__(self, stream: Stream, first: HedgedAttempt, *rest: Any) -> None:
        super().__init__(stream, first, *rest)
        self._waiting = [first]
        #: The one that the `StreamInfo` tells of.
        self._latest = first

    def turn_to(self, tried: HedgedAttempt) -> None:
        """Something happens to this try."""
        self._try = tried

    def expire(self, status: int, *, started: bool) -> bool:
        """See `UpstreamRequest`."""
        if started:
            return super().expire(status, started=True)
        for tried in self._waiting:
            tried.expire(status, started=False)
        return False

    def on_upstream_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `ResponseSink`."""
        tried = self._try
        if not self._retries and response.head.status < 400 and not self._policy.on & FOR_ANY_STATUS:
            self._pass_on(response, body, end_stream)
            return
        status = grpc_status(response.head.headers) if self._policy.on & ANY_GRPC else None
        if wants_retry_of_response(self._policy, response.head, status):
            if not tried.hedged and self._take_retry():
                self._try_again_after(response)
                return
            if len(self._waiting) > 1 or self._retry_at:
                tried.drop_response(response.head.status)
                self._leave(tried)
                tried.abandon()
                return
        elif not tried.hedged:
            self._succeed()
        self._pass_on(response, body, end_stream)

    def _fail(
        self, status: int, body: str, details: str, flags: int, host: Any, *, overloaded: bool = False
    ) -> None:
        tried = self._try
        if not tried.hedged:
            if self._wants_retry_of_failure(tried, overloaded=overloaded):
                if self._take_retry():
                    self._leave(tried)
                    self._schedule(None)
                    return
            else:
                self._succeed()
        if len(self._waiting) > 1 or self._retry_at:
            tried.count_own(status)
            self._leave(tried)
            return
        self._pass_failure_on(status, body, details, flags, host, overloaded=overloaded)

    def _try_timed_out(self, tried: Attempt, details: str, counter: str) -> None:
        del details, counter
        tried.stop_clock()
        tried.time_out()
        if self._passed_on or not self._policy.on or tried.hedged:
            return
        self._try = tried
        if self._take_retry():
            tried.hedged = True
            self._schedule(None, timed_out=True)

    def _in_flight(self) -> tuple[Attempt, ...]:
        return tuple(tried for tried in self._waiting if not tried.over)

    def _begin(self, again: Attempt) -> None:
        assert isinstance(again, HedgedAttempt)
        if self._latest in self._waiting:
            info = self.info
            self._latest.facts = tuple([getattr(info, name) for name in _FACTS])
        self._latest = again
        self._waiting.append(again)
        super()._begin(again)

    def _leave(self, tried: Attempt) -> None:
        super()._leave(tried)
        self._waiting = [other for other in self._waiting if other is not tried]

    def _settle(self) -> None:
        super()._settle()
        self._win()

    def _pass_on(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        if len(self._waiting) > 1 or self._retries or self._retry_at:
            self._win()
        super()._pass_on(response, body, end_stream)

    def _win(self) -> None:
        """The response is to be that of `_try`."""
        winner = self._try
        self._retry_at = 0.0
        self._drop_others()
        if winner is not self._latest and isinstance(winner, HedgedAttempt) and winner.facts is not None:
            for name, value in zip(_FACTS, winner.facts, strict=True):
                setattr(self.info, name, value)
            self._latest = winner

    def _drop_others(self) -> None:
        for other in self._waiting:
            if other is not self._try:
                self._leave(other)
                other.abandon()

    def _end(self) -> None:
        self._drop_others()
        super()._end()
