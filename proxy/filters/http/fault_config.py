"""`HTTPFault` compiled: which requests meet a fault, and what each kind of fault does to them.

Source: envoy.extensions.filters.http.fault.v3. A fault is asked for with the request's fields, since it may leave
its value and its percentage to them. Every number may be overridden by a runtime key; a caller that names itself
in `x-envoy-downstream-service-cluster` has keys of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.matchers import compile_header_matchers, fraction_denominator, parse_integer
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.formatter.json_value import plain_value
from proxy.formatter.wire import to_wire

_MAX_UINT32: Final = 2**32 - 1
NO_LIMIT: Final = 2**64 - 1

#: Runtime keys, by the field of `HTTPFault` that replaces each.
_RUNTIME_KEYS: Final = {
    "delay_percent_runtime": "fault.http.delay.fixed_delay_percent",
    "abort_percent_runtime": "fault.http.abort.abort_percent",
    "delay_duration_runtime": "fault.http.delay.fixed_duration_ms",
    "abort_http_status_runtime": "fault.http.abort.http_status",
    "abort_grpc_status_runtime": "fault.http.abort.grpc_status",
    "max_active_faults_runtime": "fault.http.max_active_faults",
    "response_rate_limit_percent_runtime": "fault.http.rate_limit.response_percent",
}


class Percentage(Struct, frozen=True):
    """How many requests of `denominator` (100, 10^4 or 10^6). The request may ask for fewer in `header`."""

    numerator: int
    denominator: int
    header: str

    def asked(self, headers: HeaderMap) -> int:
        """The numerator for a request with these fields."""
        if not self.header:
            return self.numerator
        wanted = _first_number(headers, self.header, _MAX_UINT32)
        return self.numerator if wanted is None else min(wanted, self.numerator)


class Delay(Struct, frozen=True):
    """`milliseconds` None leaves it to `x-envoy-fault-delay-request`."""

    percentage: Percentage
    milliseconds: int | None

    def asked(self, headers: HeaderMap) -> int | None:
        """The delay of a request with these fields; None for none."""
        if self.milliseconds is not None:
            return self.milliseconds
        return _first_number(headers, "x-envoy-fault-delay-request", NO_LIMIT)


class Abort(Struct, frozen=True):
    """One of the statuses is set, or neither: then `x-envoy-fault-abort-request` and its like of gRPC say it."""

    percentage: Percentage
    http_status: int | None
    grpc_status: int | None

    def asked(self, headers: HeaderMap) -> tuple[int | None, int | None]:
        """(HTTP status, gRPC status): at most one of them."""
        if self.http_status is not None or self.grpc_status is not None:
            return self.http_status, self.grpc_status
        http = _first_number(headers, "x-envoy-fault-abort-request", NO_LIMIT)
        if http is not None and 200 <= http < 600:
            return http, None
        return None, _first_number(headers, "x-envoy-fault-abort-grpc-request", NO_LIMIT)


class RateLimit(Struct, frozen=True):
    """`kbps` is KiB a second; None leaves it to `x-envoy-fault-throughput-response`."""

    percentage: Percentage
    kbps: int | None

    def asked(self, headers: HeaderMap) -> int | None:
        """The limit for the response to a request with these fields; None for none."""
        if self.kbps is not None:
            return self.kbps
        return _first_number(headers, "x-envoy-fault-throughput-response", NO_LIMIT) or None


class FaultConfig(Struct, frozen=True):
    """One compiled `HTTPFault`. `keys` are runtime keys by the name of the field that may set them."""

    delay: Delay | None
    abort: Abort | None
    rate_limit: RateLimit | None
    upstream_cluster: str
    matches: tuple[Callable[[Any], bool], ...]
    downstream_nodes: frozenset[str]
    max_active_faults: int
    counts_callers: bool
    metadata: Mapping[str, Any]
    keys: Mapping[str, str]

    @property
    def idle(self) -> bool:
        """Whether it has no fault to inject, whatever the request says."""
        return self.delay is None and self.abort is None and self.rate_limit is None


def compile_fault(message: Any, path: str, context: CompileContext) -> FaultConfig:
    """An `HTTPFault`, of the filter or of a route."""
    delay = abort = limit = None
    if message.HasField("delay"):
        delay = _delay(message.delay)
    if message.HasField("abort"):
        abort = _abort(message.abort)
    if message.HasField("response_rate_limit"):
        limit = _rate_limit(message.response_rate_limit)
    limited = message.HasField("max_active_faults")
    return FaultConfig(
        delay,
        abort,
        limit,
        message.upstream_cluster,
        compile_header_matchers(message.headers, f"{path}.headers", context),
        frozenset(map(to_wire, message.downstream_nodes)),
        message.max_active_faults.value if limited else NO_LIMIT,
        not message.disable_downstream_cluster_stats,
        plain_value(message.filter_metadata),
        {field: getattr(message, field) or key for field, key in _RUNTIME_KEYS.items()},
    )


def _percentage(message: Any, header: str) -> Percentage:
    percentage = message.percentage
    return Percentage(percentage.numerator, fraction_denominator(percentage), header)


def _delay(message: Any) -> Delay:
    if message.HasField("header_delay"):
        return Delay(_percentage(message, "x-envoy-fault-delay-request-percentage"), None)
    return Delay(_percentage(message, ""), int(seconds(message, "fixed_delay", 0.0) * 1000))


def _abort(message: Any) -> Abort:
    kind = message.WhichOneof("error_type")
    if kind == "header_abort":
        return Abort(_percentage(message, "x-envoy-fault-abort-request-percentage"), None, None)
    status = getattr(message, kind)
    plain = _percentage(message, "")
    return Abort(plain, status, None) if kind == "http_status" else Abort(plain, None, status)


def _rate_limit(message: Any) -> RateLimit:
    if message.HasField("header_limit"):
        return RateLimit(_percentage(message, "x-envoy-fault-throughput-response-percentage"), None)
    return RateLimit(_percentage(message, ""), message.fixed_limit.limit_kbps)


def _first_number(headers: HeaderMap, name: str, most: int) -> int | None:
    """The first value of an untrusted field, if it is an integer from 0 to `most`."""
    values = headers.values_of(name)
    number = parse_integer(values[0]) if values else None
    return number if number is not None and 0 <= number <= most else None
