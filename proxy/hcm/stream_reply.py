"""Replies of our own, and the last step of any response: filters, framing, codec."""

from __future__ import annotations

from collections.abc import Callable

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.hcm.local_reply import make_local_reply
from proxy.hcm.response_plan import (
    finish_response,
    frame_response,
)
from proxy.hcm.stream_state import StreamState
from proxy.router.route import Route


class ReplyPart(StreamState):
    """See module."""

    def local_reply(
        self,
        status: int,
        body: str,
        details: str,
        flags: int = 0,
        modify: Callable[[HeaderMap], None] | None = None,
        grpc_status: int | None = None,
    ) -> None:
        """See `StreamCallbacks`: answer from here."""
        info = self.info
        info.flags |= flags
        info.response_code_details = details
        if self.response_started:
            self.connection.abort_response()
            self._finish()
            return
        info.response_code = status
        if self.upstream is not None:
            self.upstream.abandon()
        if details == "request_payload_too_large":
            self.manager.stats.downstream_rq_too_large += 1
        if status == 400 and not self.manager.config.keep_open_on_error:
            # Envoy takes any 400 of its own as a sign that the two sides no longer understand each other.
            self.connection.close_after_response()
        route = self.plan.route
        if route is not None and details != "direct_response":
            modify = self._by_route(route, modify)
        mapper = self.manager.config.local_reply
        head, encoded = make_local_reply(
            status, body, info, mapper, modify, grpc_status, asks_grpc=self.asks_grpc
        )
        if details == "direct_response":
            # A reply, but the route's own: its body counts as no local reply's once it is rendered.
            info.local_reply_body = ""
        self._send_own_response(head, encoded)

    def _by_route(
        self, route: Route, modify: Callable[[HeaderMap], None] | None
    ) -> Callable[[HeaderMap], None] | None:
        """`modify` after what the route does to all responses."""
        info = self.info
        tells_attempts = route.include_attempt_count_in_response and info.attempt_count > 0
        if not route.response_ops and not tells_attempts:
            return modify

        def modify_by_route(headers: HeaderMap) -> None:
            if tells_attempts:
                headers.set("x-envoy-attempt-count", str(info.attempt_count))
            reply = ResponseHead(info.response_code, headers)
            for ops in route.response_ops:
                ops.apply(reply, info)
            if modify is not None:
                modify(headers)

        return modify_by_route

    def _send_own_response(self, head: ResponseHead, body: bytes) -> None:
        if self.head_request:
            body = b""
        self.info.response_code = head.status
        self._encode(head, body, True)

    def _enter_tunnel(self) -> None:
        self.upgraded = True
        self.deadline = 0.0
        self.connection.enter_tunnel()

    def _encode(self, head: ResponseHead, body: bytes, end_stream: bool) -> None:
        finish_response(
            head,
            self.manager.config,
            date=self.manager.date.text(),
            request_id=self.request_id,
            request=self.info.request,
        )
        self.info.response = head
        if self._filters is not None and not self._filters.responding:
            self._filters.encode_headers(head, body, end_stream)
        else:
            # Filters that hold a response back must not meet the one that takes its place.
            self.send_head(head, body, end_stream)

    def send_head(self, head: ResponseHead, body: bytes, end_stream: bool) -> None:
        """The response head has passed the filters: frame and write it."""
        self.info.response_code = head.status
        if self.span is not None:
            self.span.on_response(head)
        if self.connection.http2:
            chunked = False
        elif self.upgraded:
            chunked = False
            _frame_tunnel(head, end_stream=end_stream and not body)
        else:
            chunked = frame_response(
                head,
                end_stream=end_stream and not body,
                is_head=self.head_request,
                is_http10=self.head.protocol == "HTTP/1.0",
            )
            bodyless = self.head_request or head.status in (204, 304)
            if not (chunked or end_stream or bodyless or "content-length" in head.headers):
                self.connection.close_after_response()
        self._response_chunked = chunked
        self.response_started = True
        self.connection.write_head(head, body, end_stream, chunked)
        self._after_sending(len(body), end_stream)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """Response body bytes that have passed the filters."""
        self.connection.write_body(data, end_stream, chunked=self._response_chunked)
        self._after_sending(len(data), end_stream)

    def send_trailers(self, trailers: HeaderMap) -> None:
        """Response trailers that have passed the filters."""
        keep = self.connection.http2 or (self.manager.config.enable_trailers and self._response_chunked)
        self.connection.write_trailers(trailers if keep else None, chunked=self._response_chunked)
        self._after_sending(0, True)

    def _after_sending(self, size: int, end_stream: bool) -> None:
        info = self.info
        info.bytes_sent += size
        if not info.response_first_byte_sent:
            info.response_first_byte_sent = self.last_activity
        if end_stream:
            self.response_complete = True
            self._finish()


def _frame_tunnel(head: ResponseHead, *, end_stream: bool) -> None:
    """What a head of HTTP/1 says of a tunnel after it, as from Envoy's codec."""
    headers = head.headers
    if end_stream and "content-length" not in headers and head.status not in {101, 204}:
        headers.set("content-length", "0")
    if head.status not in {101, 200}:
        headers.set("connection", "close")
