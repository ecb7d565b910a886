"""Operators that read one field of a request, response or trailers.

A request is shown as it went upstream, rewritten and with what was added, for Envoy has only one request head
and changes that.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.head_template import REQUEST_ID_HOLE, SERVICE_TIME_HOLE
from proxy.config.context import CompileContext
from proxy.formatter.coalesced import COALESCED_IN_REQUEST, COALESCED_IN_RESPONSE
from proxy.formatter.parse import Command, FormatError
from proxy.formatter.spec import Argument, Facts, Getter, Operator, OperatorSpec, limited, operator

#: Not a plain field of the head as it came: the connection manager makes a new one for each request.
_PER_REQUEST = frozenset({"x-request-id"})
#: Of a response, the fields that are made anew for each.
_PER_RESPONSE = frozenset({"x-request-id", "date", "x-envoy-upstream-service-time"})
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def field_names(argument: str) -> tuple[str, str]:
    """(main, alternative) of `X?Y`, lower-case; the alternative may be ""."""
    names = argument.lower().split("?")
    if len(names) > 2:
        raise FormatError(f"more than 1 alternative header specified in token: {argument}")
    for name in names:
        if not set(name.removeprefix(":")) <= _TOKEN:
            raise FormatError(f"{name!r} contains characters that no header name may have")
    return names[0], names[1] if len(names) == 2 else ""


def _first_line(headers: HeaderMap, repeated: dict[str, list[str]], name: str) -> str | None:
    lines = repeated.get(name)
    return headers.get(name) if lines is None else lines[0]


def request_getter(name: str) -> Getter:
    """Reads one field or pseudo-field of the request."""
    if name in _SPECIAL:
        return _SPECIAL[name]
    coalesced = name in COALESCED_IN_REQUEST

    def field(info: StreamInfo) -> str | None:
        head = info.upstream_request_head or info.request
        if head is None:
            return None
        headers = head.headers
        if coalesced or headers.repeated is None:
            return headers.get(name)
        return _first_line(headers, headers.repeated, name)

    return field


def response_getter(name: str) -> Getter:
    """Reads one field or `:status` of the response."""
    if name in _SPECIAL_OF_RESPONSE:
        return _SPECIAL_OF_RESPONSE[name]
    coalesced = name in COALESCED_IN_RESPONSE

    def field(info: StreamInfo) -> str | None:
        head = info.response
        if head is None:
            return None
        headers = head.headers
        if coalesced or headers.repeated is None:
            return headers.get(name)
        return _first_line(headers, headers.repeated, name)

    return field


def trailer_getter(name: str) -> Getter:
    """Reads one field of the response's trailers."""

    def field(info: StreamInfo) -> str | None:
        trailers = info.response_trailers
        if trailers is None or trailers.repeated is None:
            return None if trailers is None else trailers.get(name)
        return _first_line(trailers, trailers.repeated, name)

    return field


def current_request(info: StreamInfo) -> RequestHead | None:
    """The request as it was changed last."""
    return info.upstream_request_head or info.request


def _method(info: StreamInfo) -> str | None:
    head = info.upstream_request_head or info.request
    return None if head is None else head.method or None


def _path(info: StreamInfo) -> str | None:
    head = info.upstream_request_head or info.request
    return None if head is None else head.path or None


def _authority(info: StreamInfo) -> str | None:
    head = info.upstream_request_head or info.request
    return None if head is None else head.authority or None


def _scheme(info: StreamInfo) -> str | None:
    head = info.upstream_request_head or info.request
    return None if head is None else head.scheme or None


def _request_id(info: StreamInfo) -> str | None:
    """Of the stream's own head: one sent upstream may be shared by requests that differ in nothing else."""
    if info.request_id is not None:
        return info.request_id
    return None if info.request is None else info.request.headers.get("x-request-id")


_SPECIAL: dict[str, Getter] = {
    ":method": _method,
    ":path": _path,
    ":authority": _authority,
    "host": _authority,
    ":scheme": _scheme,
    "x-request-id": _request_id,
}


def _status(info: StreamInfo) -> str | None:
    return None if info.response is None else str(info.response.status)


def _service_time(info: StreamInfo) -> str | None:
    """A kept head has a hole in its place; what stood there in this response follows from the times."""
    head = info.response
    if head is None:
        return None
    value = head.headers.get("x-envoy-upstream-service-time")
    if value != SERVICE_TIME_HOLE:
        return value
    elapsed = info.upstream_first_byte_received - info.request_complete
    return str(int(elapsed * 1000)) if elapsed > 0 else "0"


def _response_request_id(info: StreamInfo) -> str | None:
    head = info.response
    if head is None:
        return None
    value = head.headers.get("x-request-id")
    return info.request_id or "" if value == REQUEST_ID_HOLE else value


_SPECIAL_OF_RESPONSE: dict[str, Getter] = {
    ":status": _status,
    "x-envoy-upstream-service-time": _service_time,
    "x-request-id": _response_request_id,
}


def either(main: Getter, alternative: Getter | None) -> Getter:
    """The main value, or the alternative where the main one is absent."""
    if alternative is None:
        return main
    second = alternative

    def pick(info: StreamInfo) -> str | None:
        value: str | None = main(info)
        return second(info) if value is None else value

    return pick


def _fields(
    getter: Callable[[str], Getter], *, of_request: bool = False
) -> Callable[[Command, CompileContext], Operator]:
    def build(command: Command, _context: CompileContext) -> Operator:
        main, alternative = field_names(command.argument)
        read = either(getter(main), getter(alternative) if alternative else None)
        names = {main, alternative}
        kept = not (_PER_REQUEST if of_request else _PER_RESPONSE) & names
        facts = Facts.RESPONSE if "date" in names and not of_request else Facts.NONE
        return operator(limited(read, command.max_length), static=of_request and kept, kept=kept, facts=facts)

    return build


def _without_query(command: Command, _context: CompileContext) -> Operator:
    main, alternative = field_names(command.argument)
    read = either(request_getter(main), request_getter(alternative) if alternative else None)

    def cut(info: StreamInfo) -> str | None:
        value = read(info)
        return None if value is None else value.partition("?")[0]

    static = not _PER_REQUEST & {main, alternative}
    return operator(limited(cut, command.max_length), static=static)


_REQUEST = OperatorSpec(_fields(request_getter, of_request=True), Argument.REQUIRED, length=True)
_RESPONSE = OperatorSpec(_fields(response_getter), Argument.REQUIRED, length=True)
_TRAILER = OperatorSpec(_fields(trailer_getter), Argument.REQUIRED, length=True)

OPERATORS: dict[str, OperatorSpec] = {
    "REQ": _REQUEST,
    "REQUEST_HEADER": _REQUEST,
    "RESP": _RESPONSE,
    "RESPONSE_HEADER": _RESPONSE,
    "TRAILER": _TRAILER,
    "RESPONSE_TRAILER": _TRAILER,
}

#: Available only where the config names their formatter extension.
REQ_WITHOUT_QUERY = OperatorSpec(_without_query, Argument.REQUIRED, length=True)
