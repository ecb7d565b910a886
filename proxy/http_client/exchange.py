"""One request that this proxy makes itself. Outcomes are those of Envoy's `Http::AsyncClient`.

What Envoy's router would answer in place of the host (503 if none can be reached, 504 when the time is over) is a
response like any other; only a response that breaks off or grows too long is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from proxy.base.headers import HeaderMap
from proxy.base.services import Timers
from proxy.base.stream_info import StreamInfo
from proxy.codec.messages import ParsedResponse
from proxy.router.own_request import OwnRequest


class ExchangeUser(Protocol):
    """Who wants to know the outcome: exactly one of the two."""

    def on_http_response(self, status: int, headers: HeaderMap, body: bytes) -> None:
        """The whole response, or what stands in for it."""

    def on_http_failure(self, reason: str) -> None:
        """The response began and cannot be had whole."""


class Exchange(OwnRequest):
    """See module. `timeout` is that of `OwnRequest`; a body of more than `max_body_bytes` is a failure."""

    def __init__(
        self,
        user: ExchangeUser,
        info: StreamInfo,
        timeout: float,
        max_body_bytes: int,
        timers: Timers,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(info, timeout, timers)
        self._user = user
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._body: list[bytes] = []
        self._size = 0
        self._status = 0
        self._headers = HeaderMap()

    def _time_out(self, status: int, body: str) -> None:
        if self._status:
            self._fail("response timeout")
        else:
            self.stand_in(status, body)

    def _fail(self, reason: str) -> None:
        if not self.over:
            self._finish()
            self._give_up()
            self._user.on_http_failure(reason)

    def stand_in(self, status: int, body: str) -> None:
        """Give the user what stands in for a response that will not come."""
        if not self.over:
            self._finish()
            self._give_up()
            text = body.encode("latin-1")
            headers = HeaderMap()
            headers.add("content-length", str(len(text)))
            headers.add("content-type", "text/plain")
            self._user.on_http_response(status, headers, text)

    def _end(self) -> None:
        if not self.over:
            self._finish()
            self.request = None
            self._user.on_http_response(self._status, self._headers, b"".join(self._body))

    # -- the stream of the request (`ResponseSink`)

    def on_upstream_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `ResponseSink`."""
        self._status = response.head.status
        # Later responses may share the parsed head.
        self._headers = response.head.headers.copy()
        taken = self._clock() - self.info.start_time
        self._headers.set("x-envoy-upstream-service-time", str(int(taken * 1000)))
        self.on_upstream_data(body, end_stream)

    def on_upstream_data(self, data: bytes, end_stream: bool) -> None:
        """See `ResponseSink`."""
        if self.over:
            return
        self._size += len(data)
        if self._size > self._max_body_bytes:
            self._fail(f"the response has more than {self._max_body_bytes} bytes")
            return
        self._body.append(data)
        if end_stream:
            self._end()

    def on_upstream_trailers(self, trailers: HeaderMap) -> None:  # noqa: ARG002
        """See `ResponseSink`."""
        self._end()

    def on_upstream_failure(
        self,
        status: int,
        body: str,
        details: str,  # noqa: ARG002
        flags: int,  # noqa: ARG002
        host: Any,  # noqa: ARG002
        *,
        overloaded: bool = False,  # noqa: ARG002
    ) -> None:
        """See `ResponseSink`."""
        if self.request is not None:
            self.request.count_own(status)
        self.stand_in(status, body)

    def on_upstream_reset_after_response(self, details: str, flags: int) -> None:  # noqa: ARG002
        """See `ResponseSink`."""
        self._fail(f"the response broke off: {details}")
