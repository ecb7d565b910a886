"""A request that may be tried more than once: stands between a stream and the tries, and shows it only the last.

After the retry half of Envoy's `Router::Filter`. Until a response is passed on, the body of the request is kept; a
body that is larger than its limit ends the right to another try. A request whose response has begun is never
repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.response_flags import ResponseFlag
from proxy.codec.grpc import grpc_status
from proxy.codec.messages import ParsedResponse
from proxy.router.attempt import Attempt
from proxy.router.retry_policy import (
    ANY_GRPC,
    DEFAULT_BASE,
    FOR_ANY_STATUS,
    TOO_EARLY,
    RetryPolicy,
    back_off,
    reset_wait,
    wants_retry_of_reset,
    wants_retry_of_response,
)
from proxy.router.upstream_plan import timeout_body
from proxy.router.upstream_request import RELAYED_INTERIM
from proxy.upstream.host import Host
from proxy.upstream.lb.retry_choice import RetryChoice
from proxy.upstream.pool.api import PoolFailure, ResetReason

if TYPE_CHECKING:
    from proxy.hcm.stream import Stream
    from proxy.upstream.cluster import Cluster

_TRY_TIMED_OUT: Final = "upstream_per_try_timeout"
_TRY_IDLE: Final = "upstream_per_try_idle_timeout"


class RetryingRequest:
    """See module. To the stream it is an `UpstreamRequest`, to each `Attempt` a `ResponseSink`.

    `limit` is the most of the request's body that is kept, in bytes; None for that of the cluster's connections.
    """

    # Most requests are tried once, and these stay as they are: no object has its own until then.
    _retries = 0
    _choice: RetryChoice | None = None
    _body_bytes = 0
    _trailers: HeaderMap | None = None
    _complete = False
    _holds_retry = False
    _retry_at = 0.0
    _wake_up: Any = None
    #: Whether the stream has the head of the response of `_try`.
    _passed_on = False
    #: Whether it has an interim one, which ends the right to another try.
    _settled = False
    _held: ParsedResponse | None = None
    _over = False
    #: Whether the last try took too long.
    _timed_out = False
    #: The counter of the back-off before the next try, if it has one.
    _back_off: str | None = None
    #: Whether any try that was reset had a connection.
    _began = False

    def __init__(
        self,
        stream: Stream,
        first: Attempt,
        policy: RetryPolicy,
        cluster: Cluster,
        request_hash: int | None,
        limit: int | None,
    ) -> None:
        self._stream: Any = stream
        self.info = stream.info
        self._policy = policy
        self._cluster = cluster
        self._hash = request_hash
        self._try = first
        self._sample = first
        self._left = policy.most_retries
        self._body: list[bytes] | None = []
        self._limit = limit
        #: Not 0.0 if a try may last only so long.
        self.limits_tries = policy.per_try_timeout or policy.per_try_idle_timeout
        first.owner = self
        first.redirect(self)

    # -- as the stream sees it

    @property
    def cluster(self) -> Any:
        """See `UpstreamRequest`."""
        return self._try.cluster

    @property
    def host(self) -> Host:
        """See `UpstreamRequest`."""
        return self._try.host

    @property
    def charges(self) -> Any:
        """See `UpstreamRequest`."""
        return self._try.charges

    @property
    def over(self) -> bool:
        """See `UpstreamRequest`."""
        return self._over or (self._passed_on and self._try.over)

    def start(self, pools: Any, *, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        self._pools = pools
        self._complete = end_stream
        self._try.start(pools, end_stream=end_stream)

    def hold(self, data: bytes) -> None:
        """See `UpstreamRequest`."""
        self._keep(data)
        self._try.hold(data)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        if self._over or self._complete:
            return
        self._complete = end_stream
        if data and not self._keep(data):
            return
        if not self._retry_at:
            self._try.send_data(data, end_stream)
            if end_stream:
                self._start_clock(self._try)

    def send_trailers(self, trailers: HeaderMap) -> None:
        """See `UpstreamRequest`."""
        if self._over or self._complete:
            return
        self._complete = True
        self._trailers = trailers
        if not self._retry_at:
            self._try.send_trailers(trailers)
            self._start_clock(self._try)

    def abandon(self) -> None:
        """See `UpstreamRequest`."""
        self._end()
        if not self._try.over:
            self._try.abandon()

    def pause_reading(self) -> None:
        """See `UpstreamRequest`."""
        self._try.pause_reading()

    def resume_reading(self) -> None:
        """See `UpstreamRequest`."""
        self._try.resume_reading()

    def describe_bytes(self, info: Any) -> None:
        """See `UpstreamRequest`."""
        self._try.describe_bytes(info)

    def count_own(self, status: int) -> None:
        """See `UpstreamRequest`."""
        self._try.count_own(status)

    def expire(self, status: int, *, started: bool) -> bool:
        """See `UpstreamRequest`; between two tries there is nothing that has taken too long."""
        return not self._retry_at and self._try.expire(status, started=started)

    def uncount(self, status: int) -> None:
        """See `UpstreamRequest`."""
        self._try.uncount(status)

    def fail_open_outcome(self) -> bool:
        """See `UpstreamRequest`."""
        return self._try.fail_open_outcome()

    def _keep(self, data: bytes) -> bool:
        """Keep body bytes for further tries; False if the request ends because there is no room."""
        if self._body is None:
            return True
        self._body_bytes += len(data)
        limit = self._try.cluster.config.buffer_limit if self._limit is None else self._limit
        if self._body_bytes <= limit:
            self._body.append(data)
            return True
        self._body = None
        self._release_retry()
        self._cluster.stats.retry_or_shadow_abandoned += 1
        if not self._retry_at:
            return True
        self._end()
        self._stream.on_upstream_failure(
            507,
            "exceeded request buffer limit while retrying upstream",
            "request_payload_exceeded_retry_buffer_limit",
            0,
            self._try.host,
        )
        return False

    # -- as a try sees it

    @property
    def repeats_resets(self) -> bool:
        """Whether the policy would have a request sent again that was reset after it had been sent."""
        return (
            self._left > 0
            and self._body is not None
            and wants_retry_of_reset(
                self._policy.on, overflow=False, connect=False, refused=False, request_began=True
            )
        )

    def on_connected(self, tried: Attempt) -> None:
        """The try has a connection: its time begins once the request is complete."""
        if self._policy.per_try_idle_timeout:
            tried.idle_since = self._now()
            self._arm()
        if self._complete:
            self._start_clock(tried)

    def on_upstream_informational(self, response: ParsedResponse) -> None:
        """See `ResponseSink`."""
        if response.head.status in RELAYED_INTERIM and not self._settled:
            self._settle()
        self._stream.on_upstream_informational(response)

    def on_upstream_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `ResponseSink`."""
        policy = self._policy
        if response.head.status < 400 and not policy.on & FOR_ANY_STATUS:
            if self._retries:
                self._succeed()
            self._pass_on(response, body, end_stream)
            return
        by_grpc = policy.on & ANY_GRPC
        status = grpc_status(response.head.headers) if by_grpc else None
        if wants_retry_of_response(policy, response.head, status):
            if self._take_retry():
                self._try_again_after(response)
                return
        elif (
            by_grpc
            and self._try.grpc
            and status is None
            and not end_stream
            and response.head.status == 200
            and self._left
            and self._body is not None
        ):
            # Its status comes with the trailers: the head waits until a message shows that there is more.
            self._held = response
            if body:
                self._pass_held_on(body, False)
            return
        elif self._retries:
            self._succeed()
        self._pass_on(response, body, end_stream)

    def on_upstream_data(self, data: bytes, end_stream: bool) -> None:
        """See `ResponseSink`."""
        if self._held is not None:
            self._pass_held_on(data, end_stream)
            return
        if self._try.idle_since:
            self._try.idle_since = self._now()
        self._stream.on_upstream_data(data, end_stream)

    def on_upstream_trailers(self, trailers: HeaderMap) -> None:
        """See `ResponseSink`."""
        held = self._held
        if held is not None:
            status = grpc_status(trailers)
            self._held = None
            if status is not None and wants_retry_of_response(self._policy, held.head, status):
                if self._take_retry():
                    self._discard(held)
                    self._leave(self._try)
                    self._schedule(None)
                    return
            else:
                self._succeed()
            self._pass_on(held, b"", False)
        self._stream.on_upstream_trailers(trailers)

    def on_upstream_failure(
        self, status: int, body: str, details: str, flags: int, host: Any, *, overloaded: bool = False
    ) -> None:
        """See `ResponseSink`."""
        self._fail(status, body, details, flags, host, overloaded=overloaded)

    def on_upstream_reset_after_response(self, details: str, flags: int) -> None:
        """See `ResponseSink`."""
        if self._held is not None:
            self._held = None
            self._fail(503, "", details, flags, self._try.host)
            return
        self._end()
        self._stream.on_upstream_reset_after_response(details, flags)

    def on_upstream_write_paused(self) -> None:
        """See `ResponseSink`."""
        self._stream.on_upstream_write_paused()

    def on_upstream_write_resumed(self) -> None:
        """See `ResponseSink`."""
        self._stream.on_upstream_write_resumed()

    # -- decisions

    def _fail(
        self, status: int, body: str, details: str, flags: int, host: Any, *, overloaded: bool = False
    ) -> None:
        tried = self._try
        tried.stop_clock()
        if self._wants_retry_of_failure(tried, overloaded=overloaded):
            if self._take_retry():
                self._leave(tried)
                self._schedule(None, timed_out=details in {_TRY_TIMED_OUT, _TRY_IDLE})
                return
        else:
            self._succeed()
        self._pass_failure_on(status, body, details, flags, host, overloaded=overloaded)

    def _wants_retry_of_failure(self, tried: Attempt, *, overloaded: bool) -> bool:
        self._began = self._began or tried.request_began
        reason = tried.reason
        return wants_retry_of_reset(
            self._policy.on,
            overflow=overloaded or reason is ResetReason.OVERFLOW,
            connect=isinstance(reason, PoolFailure),
            refused=reason is ResetReason.REMOTE_REFUSED_STREAM,
            request_began=self._began,
        )

    def _pass_failure_on(
        self, status: int, body: str, details: str, flags: int, host: Any, *, overloaded: bool
    ) -> None:
        if self._retries:
            body = body.replace(". reset reason: ", ". retried and the latest reset reason: ", 1)
        self._stream.on_upstream_failure(status, body, details, flags, host, overloaded=overloaded)

    def _take_retry(self) -> bool:
        """Whether there may be another try; says why not in the stream's flags."""
        cluster = self._cluster
        stats = cluster.stats
        self._release_retry()
        if self._over or self._settled or self._body is None:
            return False
        if not self._left:
            stats.upstream_rq_retry_limit_exceeded += 1
            if self._try.charges is not None:
                self._try.charges.retry("upstream_rq_retry_limit_exceeded")
            self.info.flags |= ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
            return False
        self._left -= 1
        breaker = cluster.breakers[self._try.priority]
        if not breaker.acquire_retry(int(self._try.over and self._try.request_began)):
            stats.upstream_rq_retry_overflow += 1
            breaker.refused("retries")
            if self._try.charges is not None:
                self._try.charges.retry("upstream_rq_retry_overflow")
            self.info.flags |= ResponseFlag.UPSTREAM_OVERFLOW
            return False
        if not cluster.may_retry():
            breaker.retries.release()
            return False
        self._holds_retry = True
        return True

    def _succeed(self) -> None:
        """What was tried again need not be once more; as in Envoy, a success even if the try has failed."""
        if self._retries and self._body is not None and not self._settled:
            self._cluster.stats.upstream_rq_retry_success += 1
            if self._try.charges is not None:
                self._try.charges.retry("upstream_rq_retry_success")

    def _try_again_after(self, response: ParsedResponse) -> None:
        wait = reset_wait(self._policy, response.head.headers, self._wall_time(), self._cluster.draw())
        if response.head.status == TOO_EARLY and TOO_EARLY in self._policy.status_codes:
            wait = 0.0
        self._discard(response)
        self._leave(self._try)
        self._schedule(wait)

    def _discard(self, response: ParsedResponse) -> None:
        """A response that nobody will see counts as one of a retry."""
        tried = self._try
        status = response.head.status
        tried.count_as_retried(status)
        if not tried.over:
            tried.abandon()
        self.info.upstream_header_bytes_received += response.header_bytes

    def _leave(self, tried: Attempt) -> None:
        """Nothing more will come of it; what refers back to us would wait for the garbage collector."""
        tried.stop_clock()
        tried.describe_bytes(self.info)
        tried.owner = None
        tried.redirect(None)
        self._stream.on_upstream_write_resumed()

    def _schedule(self, wait: float | None, *, timed_out: bool = False) -> None:
        """Try again after a while: `wait` seconds, 0.0 for at once, or None for those of the back-off."""
        tried = self._try
        cluster = self._cluster
        self._timed_out = timed_out
        if self._choice is None:
            self._choice = self._policy.host_choice()
        self._choice.note(tried.host)
        self._back_off = None
        if wait is None:
            self._back_off = "upstream_rq_retry_backoff_exponential"
            base = cluster.retry_base(DEFAULT_BASE)
            wait = back_off(self._policy, self._retries + 1, cluster.draw(), base)
        elif wait:
            self._back_off = "upstream_rq_retry_backoff_ratelimited"
        self._retry_at = self._now() + wait
        self._arm()

    def _retry(self) -> None:
        self._retry_at = 0.0
        self._retries += 1
        self._count_retry()
        assert self._choice is not None
        host = self._cluster.host_for_retry(self.info, self._hash, self._choice)
        sample = self._sample
        if host is None:
            self._end()
            self._try.count_own(503)
            self._stream.on_upstream_failure(
                503, "no healthy upstream", "no_healthy_upstream", ResponseFlag.NO_HEALTHY_UPSTREAM, None
            )
            return
        info = self.info
        info.attempt_count += 1
        again = type(sample)(
            self, self._cluster, host, sample.priority, sample.method, sample.head, sample.request_id
        )
        again.take_after(sample)
        again.owner = self
        plan: Any = self._try.head
        elapsed = self._now() - info.request_complete if info.request_complete else 0.0
        again.head = plan.for_attempt(info.attempt_count, elapsed, timed_out=self._timed_out)
        self._begin(again)
        for data in self._body or ():
            again.hold(data)
        again.start(self._pools, end_stream=self._complete and self._trailers is None)
        if self._trailers is not None and self._try is again:
            again.send_trailers(self._trailers)

    def _count_retry(self) -> None:
        stats = self._cluster.stats
        stats.upstream_rq_retry += 1
        if self._try.charges is not None:
            self._try.charges.retry("upstream_rq_retry")
        if self._back_off is not None:
            setattr(stats, self._back_off, getattr(stats, self._back_off) + 1)

    def _begin(self, again: Attempt) -> None:
        self._try = again

    def _settle(self) -> None:
        """The stream has an interim response of this try, so the response must be of this one too."""
        self._settled = True
        self._try.deadline = 0.0
        self._release_retry()

    def _pass_on(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """The stream gets this response, and everything after it."""
        if self._holds_retry:
            self._release_retry()
        self._passed_on = True
        self._body = None
        tried = self._try
        tried.owner = None
        if self._policy.per_try_idle_timeout:
            tried.deadline = 0.0
            tried.idle_since = self._now()
        else:
            # Nobody need stand between them any longer.
            if self._wake_up is not None:
                tried.deadline = 0.0
                self._cancel_wake_up()
            stream = self._stream
            stream.upstream = tried
            tried.redirect(stream)
        self._stream.on_upstream_response(response, body, end_stream)

    def _pass_held_on(self, data: bytes, end_stream: bool) -> None:
        held = self._held
        self._held = None
        assert held is not None
        self._succeed()
        self._pass_on(held, data, end_stream)

    # -- time

    def _start_clock(self, tried: Attempt) -> None:
        if self._policy.per_try_timeout and tried.request_began and not self._passed_on and not self._settled:
            tried.deadline = due = self._now() + self._policy.per_try_timeout
            if self._wake_up is None:
                self._wake_up = self._stream.manager.services.timers.wake(due, self)
            else:
                self._arm()

    def _in_flight(self) -> tuple[Attempt, ...]:
        return () if self._retry_at or self._try.over else (self._try,)

    def _arm(self) -> None:
        due = self._retry_at
        for tried in self._in_flight():
            slow = tried.due(self._policy.per_try_idle_timeout)
            due = min(due, slow) if due and slow else due or slow
        if due:
            self._cancel_wake_up()
            self._wake_up = self._stream.manager.services.timers.wake(due, self)

    def on_wake(self, now: float) -> None:
        """See `Timers`."""
        self._wake_up = None
        for tried in self._in_flight():
            if self._over:
                return
            if tried.deadline and now >= tried.deadline:
                self._try_timed_out(tried, _TRY_TIMED_OUT, "upstream_rq_per_try_timeout")
            elif tried.idle_since and now >= tried.idle_since + self._policy.per_try_idle_timeout:
                self._try_timed_out(tried, _TRY_IDLE, "upstream_rq_per_try_idle_timeout")
        if self._retry_at and now >= self._retry_at:
            self._retry()
        if not self._over:
            self._arm()

    def _try_timed_out(self, tried: Attempt, details: str, counter: str) -> None:
        stats = self._cluster.stats
        setattr(stats, counter, getattr(stats, counter) + 1)
        flags = ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
        self._held = None
        tried.host.stats.rq_timeout += 1
        tried.time_out()
        if not self._passed_on:
            tried.host.stats.rq_error += 1
        tried.abandon()
        if self._passed_on:
            self._end()
            self._stream.on_upstream_reset_after_response(details, flags)
            return
        tried.reason = ResetReason.LOCAL_RESET
        plan: Any = self._sample.head
        status = plan.timeout_status
        self._fail(status, timeout_body(status), details, flags, tried.host)

    # -- the end

    def _release_retry(self) -> None:
        if self._holds_retry:
            self._holds_retry = False
            self._cluster.breakers[self._try.priority].retries.release()

    def _end(self) -> None:
        self._over = True
        self._retry_at = 0.0
        self._body = None
        self._held = None
        self._release_retry()
        self._cancel_wake_up()
        self._try.owner = None

    def _cancel_wake_up(self) -> None:
        if self._wake_up is not None:
            self._stream.manager.services.timers.cancel(self._wake_up)
            self._wake_up = None

    def _now(self) -> float:
        now: float = self._stream.connection.now()
        return now

    def _wall_time(self) -> float:
        wall: float = self._stream.manager.services.wall_clock.at(self._now())
        return wall
