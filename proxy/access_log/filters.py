"""Which streams a log wants. Source: `envoy.config.accesslog.v3.AccessLogFilter`."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from typing import Any

from envoy.config.accesslog.v3.accesslog_pb2 import ComparisonFilter, GrpcStatusFilter
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType

from proxy.base import response_flags
from proxy.base.digits import request_number
from proxy.base.headers import HeaderMap
from proxy.base.matchers import compile_header_matcher, fraction_denominator
from proxy.base.messages import RequestHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import StreamInfo
from proxy.base.value_matchers import compile_value_matcher
from proxy.config.context import CompileContext
from proxy.formatter.data_operators import lookup
from proxy.formatter.http_operators import response_grpc_code
from proxy.formatter.message_operators import current_request
from proxy.formatter.stream_operators import duration_ms

LogFilter = Callable[[StreamInfo], bool]

_COMPARISONS = {
    ComparisonFilter.EQ: operator.eq,
    ComparisonFilter.GE: operator.ge,
    ComparisonFilter.LE: operator.le,
    ComparisonFilter.NE: operator.ne,
}
_FLAGS: dict[str, ResponseFlag] = {short: flag for flag, (short, _) in response_flags.NAMES.items()}
_NO_REQUEST = RequestHead("", "", "", HeaderMap(), scheme="")


def _never(_info: StreamInfo) -> bool:
    return False


def compile_log_filter(message: Any, path: str, context: CompileContext) -> LogFilter:
    """Compile an `AccessLogFilter`; one that is refused matches nothing."""
    kind = message.WhichOneof("filter_specifier")
    compiler = _COMPILERS.get(kind or "")
    if compiler is None:
        reason = f"{kind} is not supported" if kind else "a filter must be given"
        context.problem(f"{path}.{kind}" if kind else path, reason)
        return _never
    return compiler(getattr(message, kind), f"{path}.{kind}", context)


def _comparison(
    message: Any, path: str, context: CompileContext, fact: Callable[[StreamInfo], int]
) -> LogFilter:
    comparison = message.comparison
    compare = _COMPARISONS.get(comparison.op)
    if compare is None:
        context.problem(f"{path}.comparison.op", "must be EQ, GE, LE or NE")
        return _never
    key, default = comparison.value.runtime_key, comparison.value.default_value
    if not key:
        return lambda info: compare(fact(info), default)
    runtime = context.runtime
    return lambda info: compare(fact(info), runtime.integer(key, default))


def _status_code(message: Any, path: str, context: CompileContext) -> LogFilter:
    return _comparison(message, path, context, lambda info: info.response_code)


def _duration(message: Any, path: str, context: CompileContext) -> LogFilter:
    return _comparison(message, path, context, duration_ms)


def _not_health_check(_message: Any, _path: str, _context: CompileContext) -> LogFilter:
    return lambda info: not info.health_check


def _traceable(_message: Any, _path: str, _context: CompileContext) -> LogFilter:
    return lambda info: info.traced


def _runtime(message: Any, _path: str, context: CompileContext) -> LogFilter:
    runtime, key = context.runtime, message.runtime_key
    numerator = message.percent_sampled.numerator
    denominator = fraction_denominator(message.percent_sampled)
    independent = message.use_independent_randomness

    def enabled(info: StreamInfo) -> bool:
        number = None if independent else request_number(info.request_id)
        if number is None:
            number = random.getrandbits(64)
        drawn: int = number
        return runtime.feature_enabled(key, numerator, denominator, lambda: drawn)

    return enabled


def _all_of(message: Any, path: str, context: CompileContext) -> LogFilter:
    filters = _nested(message, path, context)
    return lambda info: all(one(info) for one in filters)


def _any_of(message: Any, path: str, context: CompileContext) -> LogFilter:
    filters = _nested(message, path, context)
    return lambda info: any(one(info) for one in filters)


def _nested(message: Any, path: str, context: CompileContext) -> tuple[LogFilter, ...]:
    return tuple(
        compile_log_filter(one, f"{path}.filters[{index}]", context)
        for index, one in enumerate(message.filters)
    )


def _header(message: Any, path: str, context: CompileContext) -> LogFilter:
    matches = compile_header_matcher(message.header, f"{path}.header", context)
    return lambda info: matches(current_request(info) or _NO_REQUEST)


def _response_flag(message: Any, path: str, context: CompileContext) -> LogFilter:
    mask = 0
    for index, name in enumerate(message.flags):
        flag = _FLAGS.get(name)
        if flag is None:
            context.problem(f"{path}.flags[{index}]", f"unknown response flag {name!r}: {' '.join(_FLAGS)}")
        else:
            mask |= int(flag)
    if not message.flags:
        return lambda info: info.flags != 0
    return lambda info: info.flags & mask != 0


def _grpc_status(message: Any, _path: str, _context: CompileContext) -> LogFilter:
    wanted = frozenset(int(status) for status in message.statuses)
    exclude = message.exclude
    unknown = int(GrpcStatusFilter.UNKNOWN)

    def matches(info: StreamInfo) -> bool:
        code = response_grpc_code(info)
        return ((unknown if code is None else code) in wanted) is not exclude

    return matches


def _metadata(message: Any, path: str, context: CompileContext) -> LogFilter:
    matcher = message.matcher
    otherwise = message.match_if_key_not_found.value if message.HasField("match_if_key_not_found") else True
    if not message.HasField("matcher"):
        return lambda _info: otherwise
    test = compile_value_matcher(matcher.value, f"{path}.matcher.value", context)
    namespace, keys = matcher.filter, [segment.key for segment in matcher.path]

    def matches(info: StreamInfo) -> bool:
        value = lookup(info.own_metadata, namespace, keys)
        return otherwise if value is None else test(value)

    return matches


def _log_type(message: Any, _path: str, _context: CompileContext) -> LogFilter:
    names = frozenset(AccessLogType.Name(number) for number in message.types)
    exclude = message.exclude
    return lambda info: (info.access_log_type in names) is not exclude


_COMPILERS: dict[str, Callable[[Any, str, CompileContext], LogFilter]] = {
    "status_code_filter": _status_code,
    "duration_filter": _duration,
    "not_health_check_filter": _not_health_check,
    "traceable_filter": _traceable,
    "runtime_filter": _runtime,
    "and_filter": _all_of,
    "or_filter": _any_of,
    "header_filter": _header,
    "response_flag_filter": _response_flag,
    "grpc_status_filter": _grpc_status,
    "metadata_filter": _metadata,
    "log_type_filter": _log_type,
}
