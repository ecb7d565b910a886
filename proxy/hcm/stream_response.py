"""The response on its way from the upstream to the filters."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.base.response_flags import ResponseFlag
from proxy.codec.head_template import DATE_HOLE, REQUEST_ID_HOLE, SERVICE_TIME_HOLE
from proxy.codec.http2_render import string
from proxy.codec.messages import ParsedResponse
from proxy.hcm import internal_redirect
from proxy.hcm.response_plan import (
    ResponsePlan,
    finish_upstream_response,
    plan_response,
)
from proxy.hcm.stream_state import StreamState
from proxy.router.upstream_plan import UpstreamPlan
from proxy.router.upstream_request import RELAYED_INTERIM

_REQUEST_ID: Final = ord(REQUEST_ID_HOLE)
_SERVICE_TIME: Final = ord(SERVICE_TIME_HOLE)
_DATE: Final = ord(DATE_HOLE)
#: Kept with one response head: one for each route whose responses carry it.
MAX_PLANS_PER_RESPONSE: Final = 64
_HOP_BY_HOP: Final = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "content-length")
)
_TERMINATED: Final = "upstream_reset_after_response_started{connection_termination}"
_SERVICE_TIME_AND_DATE: Final = (_SERVICE_TIME, _DATE)


class ResponsePart(StreamState):
    """See module."""

    def on_upstream_informational(self, response: ParsedResponse) -> None:
        """Passed on if the client is to hear of it, which Envoy allows for a few statuses."""
        relayed = response.head.status in RELAYED_INTERIM and not self.response_started
        if relayed and self.manager.config.proxy_100_continue:
            self.original_response_names = response.original_names
            self.connection.write_interim(response.head)

    def on_upstream_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """The response head, with what has come of the body."""
        info = self.info
        clock = self.connection.now  # see `Stream._finish`
        self.last_activity = info.upstream_first_byte_received = now = clock()
        if self._redirect_policy is not None and internal_redirect.follow(
            self, self._redirect_policy, response
        ):
            return
        info.response_code = response.head.status
        info.response_code_details = "via_upstream"
        complete = info.request_complete
        service_time = 0
        if complete and now > complete:
            service_time = int((now - complete) * 1000)
        if end_stream:
            info.upstream_last_byte_received = now
            if complete and self.upstream is not None and self.manager.times_upstreams:
                self.upstream.cluster.stats.upstream_rq_time.record(service_time)
        upstream_plan = self.upstream_plan
        assert upstream_plan is not None
        key = upstream_plan.response_key
        if key and complete and self._filters is None and not response.upgrade:
            key = key << 2 | bool(body) << 1 | end_stream
            if key in response.plans:
                self._send_planned(response, key, service_time, body, end_stream)
                return
            if len(response.plans) < MAX_PLANS_PER_RESPONSE:
                response.plans[key] = None
        self._send_upstream_response(response, upstream_plan, service_time, body, end_stream)

    def _send_upstream_response(
        self,
        response: ParsedResponse,
        upstream_plan: UpstreamPlan,
        service_time: int,
        body: bytes,
        end_stream: bool,
    ) -> None:
        info = self.info
        info.upstream_header_bytes_received += response.header_bytes
        self.original_response_names = response.original_names
        self.describe_upstream()
        head = response.head.copy()
        options = self.manager.config.router_options
        status = response.head.status
        finish_upstream_response(
            head,
            info,
            upstream_plan.response_ops,
            # Envoy measures from the end of the request, which may not have come yet.
            service_time=None
            if options.suppress_envoy_headers or not info.request_complete
            else str(service_time),
            upgrade=self.plan.upgrade not in {"", "connect"} and bool(response.upgrade),
        )
        virtual_host = self.plan.route.virtual_host if self.plan.route is not None else None
        if virtual_host is not None and virtual_host.include_attempt_count_in_response:
            head.headers.set("x-envoy-attempt-count", str(info.attempt_count))
        for cookie in upstream_plan.cookies:
            head.headers.add("set-cookie", cookie)
        if (
            self.plan.upgrade == "websocket"
            and status < 400
            and status != 101
            and info.upstream_protocol != "HTTP/2"
        ):
            assert self.upstream is not None
            self.upstream.uncount(status)
            # Envoy passes the refusal on without its body: clients need only the head (RFC 6455 section 4.1).
            original = response.head.headers
            self.local_reply(
                status,
                "",
                "websocket_handshake_unsuccessful",
                modify=lambda headers: _copy_end_to_end(original, headers),
            )
            return
        if self._accepts(status):
            if status == 101:
                head.headers.remove("content-length")
            self._enter_tunnel()
        if self._filters is not None and body and end_stream and self._ends_apart:
            self._encode(head, body, False)
            if not self.destroyed:
                self._filters.encode_data(b"", True)
        else:
            self._encode(head, body, end_stream)

    def _accepts(self, status: int) -> bool:
        """Whether the host lets the client have its tunnel."""
        if self.plan.upgrade == "connect":
            return 200 <= status < 300
        return status == 101 and bool(self.plan.upgrade)

    @property
    def _ends_apart(self) -> bool:
        """Whether filters hear of the end of a body after its last bytes, as with Envoy's codec of HTTP/1."""
        return self.info.upstream_protocol != "HTTP/2"

    def _send_planned(
        self, response: ParsedResponse, key: int, service_time: int, body: bytes, end_stream: bool
    ) -> None:
        """A response head that came before, for a route that does the same to all of them."""
        manager = self.manager
        plan = response.plans[key]
        if plan is None:
            assert self.upstream_plan is not None
            plan = response.plans[key] = plan_response(
                response.head,
                self.info,
                manager.config,
                self.upstream_plan.response_ops,
                end_stream=end_stream and not body,
                is_head=self.head.method == "HEAD",
                suppress_envoy_headers=manager.config.router_options.suppress_envoy_headers,
                http2=self.connection.http2,
                has_id=self.request_id is not None,
            )
        template = plan.template
        if template is None:
            assert self.upstream_plan is not None
            self._send_upstream_response(response, self.upstream_plan, service_time, body, end_stream)
            return
        date = manager.date
        http2 = self.connection.http2
        if template.holes == _SERVICE_TIME_AND_DATE:
            before, between, after = template.segments
            if http2:
                time = b"%d" % service_time
                head = b"%b%c%b%b\x1d%b%b" % (before, len(time), time, between, date.encoded(), after)
            else:
                head = b"%b%d%b%b%b" % (before, service_time, between, date.encoded(), after)
        else:
            values = {_SERVICE_TIME: b"%d" % service_time, _DATE: date.encoded()}
            if self.request_id is not None:
                values[_REQUEST_ID] = self.request_id.encode("latin-1")
            if http2:
                values = {hole: string(value) for hole, value in values.items()}
            head = template.fill(values)
        info = self.info
        if manager.access_log is not None:
            self._note_planned(response, plan, service_time, whole=end_stream, body=bool(body))
        else:
            info.response = plan.head
        self._response_chunked = plan.chunked
        self.response_started = True
        self.connection.write_rendered(head, body, end_stream, plan.chunked)
        info.bytes_sent = len(body)
        info.response_first_byte_sent = self.last_activity
        if end_stream:
            self.response_complete = True
            self._finish()

    def _note_planned(
        self, response: ParsedResponse, plan: ResponsePlan, service_time: int, *, whole: bool, body: bool
    ) -> None:
        """Note what the access log reads, as far as it does, of a response with a kept head."""
        manager = self.manager
        info = self.info
        sized = not body or "content-length" in plan.head.headers
        known = whole and sized and manager.tracer is None
        if known and self.plan.upstream is self.upstream_plan and not info.flags:
            host = info.upstream_host
            info.kept_key = (info.upstream_request_head, plan, host, host.address)
        if manager.describes_upstreams:
            self.describe_upstream()
        if manager.counts_bytes:
            info.upstream_header_bytes_received += response.header_bytes
        info.response = plan.head
        if manager.fills_response_heads:
            info.response = self._filled_head(plan.head, service_time, manager.date.text())

    def _filled_head(self, head: ResponseHead, service_time: int, date: str) -> ResponseHead:
        head = head.copy()
        headers = head.headers
        if headers.get("x-envoy-upstream-service-time") == SERVICE_TIME_HOLE:
            headers["x-envoy-upstream-service-time"] = str(service_time)
        if headers.get("date") == DATE_HOLE:
            headers["date"] = date
        if headers.get("x-request-id") == REQUEST_ID_HOLE:
            headers["x-request-id"] = self.request_id or ""
        return head

    def on_upstream_data(self, data: bytes, end_stream: bool) -> None:
        """More of the response body."""
        connection = self.connection
        self.last_activity = now = connection.now()
        if not end_stream and self._filters is None:
            # The common case of a large body.
            self.info.bytes_sent += len(data)
            connection.write_body(data, False, chunked=self._response_chunked)
            return
        if end_stream:
            if self.upgraded and not self._tunnel_ends:
                # A connection has no end of a half, so in Envoy's books the upstream has broken the tunnel off.
                self.info.upstream_last_byte_received = now
                self._note_broken_tunnel(_TERMINATED, ResponseFlag.UPSTREAM_CONNECTION_TERMINATION)
            else:
                self._count_upstream_time(now)
        if self._filters is not None:
            if data and end_stream and self._ends_apart:
                self._filters.encode_data(data, False)
                if self.destroyed:
                    return
                data = b""
            self._filters.encode_data(data, end_stream)
        else:
            self.send_data(data, end_stream)

    def on_upstream_trailers(self, trailers: HeaderMap) -> None:
        """Trailers of the response, which end it."""
        self._count_upstream_time(self.connection.now())
        if self._filters is not None:
            # Filters may change them, and equal ones of later responses are the same object.
            trailers = self.info.response_trailers = trailers.copy()
            self._filters.encode_trailers(trailers)
        else:
            self.info.response_trailers = trailers
            self.send_trailers(trailers)

    @property
    def _tunnel_ends(self) -> bool:
        """Whether the upstream can end its half of a tunnel, and not only break it off."""
        return self.info.upstream_protocol != "HTTP/1.1"

    def _note_broken_tunnel(self, details: str, flags: int) -> None:
        info = self.info
        info.flags |= flags
        info.response_code_details = details
        self.manager.stats.downstream_rq_tx_reset += 1
        self.manager.stats.downstream_rq_rx_reset += 1

    def _count_upstream_time(self, now: float) -> None:
        info = self.info
        info.upstream_last_byte_received = now
        upstream = self.upstream
        if upstream is not None and info.request_complete and self.manager.times_upstreams:
            upstream.cluster.stats.upstream_rq_time.record(int((now - info.request_complete) * 1000))

    def on_upstream_failure(
        self, status: int, body: str, details: str, flags: int, host: Any, *, overloaded: bool = False
    ) -> None:
        """No response came and none will."""
        if self.destroyed or self.responding:
            return
        info = self.info
        info.upstream_host = host
        if self.upstream is not None:
            self.upstream.count_own(status)
        self.local_reply(status, body, details, flags, _mark_overloaded if overloaded else None)

    def on_upstream_reset_after_response(self, details: str, flags: int) -> None:
        """The upstream broke off in the middle of the response: the client must see that."""
        if self.destroyed:
            return
        if self.upgraded:
            self._note_broken_tunnel(details, flags)
        else:
            if self.upstream is not None and self.upstream.fail_open_outcome():
                self.manager.stats.rq_reset_after_downstream_response_started += 1
            self.info.response_code_details = details
            self.info.flags |= flags
            self.manager.stats.downstream_rq_tx_reset += 1
        self.connection.abort_response()
        self._finish()

    def on_upstream_write_paused(self) -> None:
        """The upstream does not read as fast as the client sends."""
        if not self._write_paused:
            self._write_paused = True
            self.connection.pause_reading()

    def on_upstream_write_resumed(self) -> None:
        """The upstream reads again."""
        if self._write_paused:
            self._write_paused = False
            self.connection.resume_reading()


def _copy_end_to_end(original: HeaderMap, headers: HeaderMap) -> None:
    for name, value in original.fields():
        if name not in _HOP_BY_HOP:
            headers.add(name, value)


def _mark_overloaded(headers: HeaderMap) -> None:
    headers.set("x-envoy-overloaded", "true")
