"""Replies that the proxy makes itself: the only place that turns an outcome into a response.

Source: Envoy's `LocalReply` and `LocalReplyConfig`. A plain text body unless a mapper or format says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from proxy.access_log.filters import LogFilter, compile_log_filter
from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import CONTENT_TYPE, encode_message, is_grpc, status_of_http
from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source
from proxy.formatter.body_format import BodyFormat, compile_substitution_format
from proxy.formatter.header_ops import HeaderOps, compile_header_ops


class _Mapper(Struct, frozen=True):
    matches: LogFilter
    status: int | None
    body: str | None
    body_format: BodyFormat | None
    header_ops: HeaderOps | None


class LocalReplyMapper(Struct, frozen=True):
    """A compiled `LocalReplyConfig`."""

    mappers: tuple[_Mapper, ...]
    body_format: BodyFormat | None

    def rewrite(self, head: ResponseHead, body: str, info: StreamInfo) -> tuple[str, str]:
        """Change status and fields of `head` as configured; gives (body, content type)."""
        info.response = head
        info.local_reply_body = body
        body_format = self.body_format
        for mapper in self.mappers:
            if not mapper.matches(info):
                continue
            if mapper.header_ops is not None:
                # Before the new status: Envoy's formatters show the old one here.
                mapper.header_ops.apply(head, info)
            if mapper.status is not None:
                head.status = info.response_code = mapper.status
            if mapper.body is not None:
                body = info.local_reply_body = mapper.body
            body_format = mapper.body_format or body_format
            break
        if body_format is None:
            return body, "text/plain"
        return body_format.render(info), body_format.content_type


def compile_local_reply(message: Any, path: str, context: CompileContext) -> LocalReplyMapper:
    """Compile `LocalReplyConfig`."""
    mappers = []
    for index, mapper in enumerate(message.mappers):
        where = f"{path}.mappers[{index}]"
        mappers.append(
            _Mapper(
                matches=compile_log_filter(mapper.filter, f"{where}.filter", context),
                status=mapper.status_code.value if mapper.HasField("status_code") else None,
                body=read_data_source(mapper.body, f"{where}.body", context).decode("latin-1")
                if mapper.HasField("body")
                else None,
                body_format=_body_format(mapper, "body_format_override", where, context),
                header_ops=compile_header_ops(
                    mapper.headers_to_add, (), f"{where}.headers_to_add", context, request=False
                ),
            )
        )
    return LocalReplyMapper(tuple(mappers), _body_format(message, "body_format", path, context))


def _body_format(message: Any, field: str, path: str, context: CompileContext) -> BodyFormat | None:
    if not message.HasField(field):
        return None
    return compile_substitution_format(getattr(message, field), f"{path}.{field}", context)


def make_local_reply(
    status: int,
    body: str,
    info: StreamInfo,
    mapper: LocalReplyMapper | None = None,
    modify: Callable[[HeaderMap], None] | None = None,
    grpc_status: int | None = None,
    *,
    asks_grpc: bool | None = None,
) -> tuple[ResponseHead, bytes]:
    """(head, body bytes) of a local reply. `body` is wire text: one character for each byte.

    `modify` adds fields before any mapper looks at them. A content type that it or a mapper's fields set stays,
    unless a mapper writes another body.

    A gRPC client gets HTTP 200 with the outcome in `grpc-status` (from the HTTP status unless given) and no body.
    `asks_grpc` tells whether the client is one; without it the content type of the request does.
    """
    request = info.request
    if asks_grpc is None:
        asks_grpc = request is not None and is_grpc(request.headers.get("content-type", ""))
    if asks_grpc:
        return _grpc_reply(status, body, info, mapper, modify, grpc_status)
    head = ResponseHead(status, HeaderMap())
    headers = head.headers
    if modify is not None:
        modify(headers)
    content_type = "text/plain"
    wanted = "content-type" not in headers
    if mapper is not None:
        type_before = headers.get("content-type")
        body_before = body
        body, content_type = mapper.rewrite(head, body, info)
        type_added = headers.get("content-type") != type_before
        wanted = not type_added and (wanted or body != body_before)
    encoded = body.encode("latin-1")
    if encoded:
        headers.set("content-length", str(len(encoded)))
        if wanted:
            headers.set("content-type", content_type)
    else:
        headers.remove("content-length")
        headers.remove("content-type")
    return head, encoded


def _grpc_reply(
    status: int,
    body: str,
    info: StreamInfo,
    mapper: LocalReplyMapper | None,
    modify: Callable[[HeaderMap], None] | None,
    grpc_status: int | None,
) -> tuple[ResponseHead, bytes]:
    headers = HeaderMap([("content-type", CONTENT_TYPE)])
    head = ResponseHead(200, headers)
    if modify is not None:
        modify(headers)
    if mapper is not None:
        body, content_type = mapper.rewrite(head, body, info)
        if content_type == "application/json":
            body = body.removesuffix("\n")
        if info.response_code != 200:
            status = info.response_code
    head.status = 200
    headers.set("content-type", CONTENT_TYPE)
    headers.remove("content-length")
    if grpc_status is None:
        grpc_status = status_of_http(status)
    headers.set("grpc-status", str(int(grpc_status)))
    if body:
        headers.set("grpc-message", encode_message(body.encode("latin-1")))
    return head, b""
