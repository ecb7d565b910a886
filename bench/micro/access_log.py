"""Rendering a line of the access log, without writing it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.extensions.access_loggers.file.v3 import file_pb2

from bench.micro.timing import microseconds
from proxy.access_log.compile import compile_access_logs
from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.config.context import CompileContext

#: Fields of Istio's default JSON log.
_JSON: Final = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "route_name": "%ROUTE_NAME%",
}


def _stream() -> StreamInfo:
    now = time.monotonic()
    connection = ConnectionInfo(7, Address("10.0.0.1", 53986), Address("10.0.0.2", 80), now, DrainState())
    info = StreamInfo(connection, now)
    fields = [("user-agent", "curl/8"), ("x-request-id", "8f14e45f-ceea-467f-ab2d-3a1b2c4d5e6f")]
    info.request = RequestHead("GET", "/catalogue/items/7?page=2", "shop.example.com", HeaderMap(fields))
    info.response = ResponseHead(200, HeaderMap([("content-type", "application/json")]))
    info.protocol = "HTTP/1.1"
    info.response_code = 200
    info.response_complete = now + 0.0035
    host: Any = SimpleNamespace(address=Address("10.0.0.9", 8080), hostname="", metadata=None)
    info.upstream_host = host
    return info


def _render(json: bool) -> Callable[[], object]:
    config = file_pb2.FileAccessLog(path="/dev/null")
    if json:
        for name, value in _JSON.items():
            config.log_format.json_format[name] = value
    message = AccessLog(name="x")
    message.typed_config.Pack(config)
    context = CompileContext()
    (log,) = compile_access_logs([message], "", context)
    assert not context.problems
    info = _stream()
    return lambda: log.render(info)


def figures() -> dict[str, float]:
    """Microseconds of one line: Envoy's default text, and 18 fields as JSON."""
    return microseconds({"us_text_line": _render(json=False), "us_json_line": _render(json=True)})
