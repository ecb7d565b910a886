"""A request that the proxy makes itself, as the stream of its `UpstreamRequest`: its start, its time, its end."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.services import Timers
from proxy.base.stream_info import StreamInfo
from proxy.codec.messages import ParsedResponse
from proxy.router.upstream_request import PoolLookup, UpstreamRequest

_TIMED_OUT: Final = 504


class OwnRequest:
    """See module. When `over`, its user has heard of the outcome or does not want to.

    `timeout` is in seconds from the start, 0.0 for none. It hears of the response as a `ResponseSink`.
    """

    def __init__(self, info: StreamInfo, timeout: float, timers: Timers) -> None:
        self.info = info
        self.over = False
        self.request: UpstreamRequest | None = None
        self._timeout = timeout
        self._timers = timers
        self._timer: Any = None

    def send(self, body: bytes, pools: PoolLookup) -> None:
        """Start: the request is complete with `body`."""
        request = self.request
        assert request is not None
        if self._timeout:
            self._timer = self._timers.wake(self.info.start_time + self._timeout, self)
        if body:
            request.hold(body)
        request.start(pools, end_stream=True)

    def cancel(self) -> None:
        """The user does not want to know any more."""
        if not self.over:
            self._finish()
            self._give_up()

    def on_wake(self, now: float) -> None:
        """The time is over; see `Timers`."""
        del now
        self._timer = None
        request = self.request
        if self.over or request is None:
            return
        request.cluster.stats.upstream_rq_timeout += 1
        request.host.stats.rq_timeout += 1
        request.time_out()
        request.count_own(_TIMED_OUT)
        self._time_out(_TIMED_OUT, "upstream request timeout")

    def _time_out(self, status: int, body: str) -> None:
        """The outcome is that of a request that Envoy's router answers so."""
        raise NotImplementedError

    def _finish(self) -> None:
        self.over = True
        if self._timer is not None:
            self._timers.cancel(self._timer)
            self._timer = None

    def _give_up(self) -> None:
        request, self.request = self.request, None
        if request is not None:
            request.abandon()

    # -- what no such request cares for (`ResponseSink`)

    def on_upstream_informational(self, response: ParsedResponse) -> None:
        """See `ResponseSink`."""

    def on_upstream_write_paused(self) -> None:
        """See `ResponseSink`: there is nothing more to send."""

    def on_upstream_write_resumed(self) -> None:
        """See `ResponseSink`."""
