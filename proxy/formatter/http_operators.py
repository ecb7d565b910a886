"""Operators on the target of a request, on gRPC status and on the sizes of heads."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from proxy.base.digits import is_hex
from proxy.base.headers import HeaderMap
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import grpc_status, is_grpc, status_of_http
from proxy.codec.head_template import REQUEST_ID_HOLE
from proxy.config.context import CompileContext
from proxy.formatter.message_operators import current_request, request_getter
from proxy.formatter.parse import Command, FormatError
from proxy.formatter.spec import Argument, Facts, Getter, Operator, OperatorSpec, fact, limited, operator

#: Bytes that `QUERY_PARAMS(DECODED)` leaves encoded. Seen in Envoy 1.40.
_KEPT_ENCODED = frozenset(chr(code) for code in range(256) if code <= 0x20 or code >= 0x7F) | set('"<>\\^{|}')


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: gRPC status names by number: `%GRPC_STATUS%` and `%GRPC_STATUS(SNAKE_STRING)%`.
_GRPC_CAMEL = _words(
    "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied"
    " ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss"
    " Unauthenticated"
)
_GRPC_SNAKE = _words(
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED"
    " RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE"
    " DATA_LOSS UNAUTHENTICATED"
)


def path_getter(source: str) -> Getter:
    """Where the path comes from: "ORIG", "PATH" or "ORIG_OR_PATH"."""
    original = request_getter("x-envoy-original-path")
    present = request_getter(":path")
    if source == "ORIG":
        return original
    if source == "PATH":
        return present

    def either(info: StreamInfo) -> str | None:
        value: str | None = original(info)
        return present(info) if value is None else value

    return either


def _path(command: Command, _context: CompileContext) -> Operator:
    query, _, source = command.argument.partition(":")
    source = source.partition(":")[0]
    if query not in {"", "WQ", "NQ"}:
        raise FormatError(f"invalid PATH option: {query!r}, only 'WQ'/'NQ' are allowed")
    if source not in {"", "ORIG", "PATH", "ORIG_OR_PATH"}:
        raise FormatError(f"invalid PATH option: {source!r}, only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed")
    read = path_getter(source)
    if query != "NQ":
        return operator(limited(read, command.max_length), static=True)

    def without_query(info: StreamInfo) -> str | None:
        path = read(info)
        return None if path is None else path.partition("?")[0]

    return operator(limited(without_query, command.max_length), static=True)


def _query(info: StreamInfo) -> str | None:
    """The query string of the path as it came; None if there is none."""
    head = current_request(info)
    if head is None:
        return None
    path = head.headers.get("x-envoy-original-path") or head.path
    _, mark, query = path.partition("?")
    return query if mark else None


def _query_param(command: Command, _context: CompileContext) -> Operator:
    wanted = command.argument

    def value(info: StreamInfo) -> str | None:
        query = _query(info)
        if query is None:
            return None
        for pair in query.partition("#")[0].split("&"):
            name, _, text = pair.partition("=")
            if _unquote(name) == wanted:
                return _unquote(text)
        return None

    return operator(limited(value, command.max_length), static=True)


def _unquote(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("latin-1") if "%" in text else text


def _query_params(command: Command, _context: CompileContext) -> Operator:
    match command.argument:
        case "" | "ORIG":
            return operator(limited(_query, command.max_length), static=True)
        case "DECODED":
            return operator(limited(_decoded_query, command.max_length), static=True)
        case other:
            raise FormatError(f"invalid QUERY_PARAMS option: {other!r}, only 'ORIG'/'DECODED' are allowed")


def _decoded_query(info: StreamInfo) -> str | None:
    query = _query(info)
    if query is None or "%" not in query:
        return query
    head, *rest = query.split("%")
    pieces = [head]
    for index, piece in enumerate(rest):
        digits = piece[:2]
        if len(digits) == 2 and is_hex(digits):
            character = chr(int(digits, 16))
            pieces.append("%" + piece if character in _KEPT_ENCODED else character + piece[2:])
        else:
            # Envoy swallows the percent sign of a bad escape, but not of one cut off by the end.
            at_end = index == len(rest) - 1 and len(digits) < 2
            pieces.append("%" + piece if at_end else piece)
    return "".join(pieces)


def _grpc_code(info: StreamInfo) -> int | None:
    head = current_request(info)
    if head is None:
        return None
    content_type = head.headers.get("content-type")
    if content_type is None or not is_grpc(content_type):
        return None
    return response_grpc_code(info)


def response_grpc_code(info: StreamInfo) -> int | None:
    """The gRPC status of the response, taken from its HTTP status if it has none; -1 if it is no number."""
    code = None if info.response_trailers is None else grpc_status(info.response_trailers)
    if code is None and info.response is not None:
        code = grpc_status(info.response.headers)
    if code is None and info.response_code:
        code = int(status_of_http(info.response_code))
    return code


def _grpc_names(names: tuple[str, ...]) -> Operator:
    def status(info: StreamInfo) -> str | None:
        code = _grpc_code(info)
        if code is None:
            return None
        return names[code] if 0 <= code < len(names) else str(code)

    return operator(status, kept=True)


_GRPC_FORMATS = {
    "": _grpc_names(_GRPC_CAMEL),
    "CAMEL_STRING": _grpc_names(_GRPC_CAMEL),
    "SNAKE_STRING": _grpc_names(_GRPC_SNAKE),
    "NUMBER": operator(_grpc_code, kept=True),
}


def _grpc_status(command: Command, _context: CompileContext) -> Operator:
    try:
        return _GRPC_FORMATS[command.argument]
    except KeyError:
        raise FormatError(
            f"GRPC_STATUS only supports CAMEL_STRING, SNAKE_STRING or NUMBER, got: {command.argument}"
        ) from None


def _fields_size(headers: HeaderMap) -> int:
    return sum(len(name) + len(value) for name, value in headers.fields())


def _request_headers_bytes(info: StreamInfo) -> int:
    head = current_request(info)
    if head is None:
        return 0
    pseudo = ((":method", head.method), (":path", head.path), (":authority", head.authority))
    size = sum(len(name) + len(value) for name, value in pseudo if value)
    if info.request_id:
        present = head.headers.get("x-request-id")
        if present is None:
            size += len("x-request-id") + len(info.request_id)
        elif present == REQUEST_ID_HOLE:
            size += len(info.request_id) - len(REQUEST_ID_HOLE)
    return size + len(":scheme") + len(head.scheme) + _fields_size(head.headers)


def _response_headers_bytes(info: StreamInfo) -> int:
    if info.response is None:
        return 0
    headers = info.response.headers
    size = len(":status200") + _fields_size(headers)
    coding = headers.get("transfer-encoding")
    # The framing of a connection is none of the response's fields to Envoy.
    return size if coding is None else size - len("transfer-encoding") - len(coding)


def _response_trailers_bytes(info: StreamInfo) -> int:
    return 0 if info.response_trailers is None else _fields_size(info.response_trailers)


OPERATORS: dict[str, OperatorSpec] = {
    "PATH": OperatorSpec(_path, Argument.OPTIONAL, length=True),
    "QUERY_PARAM": OperatorSpec(_query_param, Argument.REQUIRED, length=True),
    "QUERY_PARAMS": OperatorSpec(_query_params, Argument.OPTIONAL, length=True),
    "GRPC_STATUS": OperatorSpec(_grpc_status, Argument.OPTIONAL),
    "GRPC_STATUS_NUMBER": fact(_grpc_code, kept=True),
    "REQUEST_HEADERS_BYTES": fact(_request_headers_bytes),
    "RESPONSE_HEADERS_BYTES": fact(_response_headers_bytes, facts=Facts.RESPONSE),
    "RESPONSE_TRAILERS_BYTES": fact(_response_trailers_bytes),
}
