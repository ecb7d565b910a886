"""When and how a request is tried again: `envoy.config.route.v3.RetryPolicy`, and what a request adds to it.

Source: the proto, and Envoy's `x-envoy-retry-on` and related fields. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from proxy.base.digits import UINT64, whole_number
from proxy.base.headers import HeaderMap
from proxy.base.matchers import compile_header_matchers
from proxy.base.messages import RequestHead, ResponseHead
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.upstream.host import Host
from proxy.upstream.lb.previous_priorities import PreviousPriorities
from proxy.upstream.lb.retry_choice import HostPredicate, RetryChoice

_PREDICATES: Final = "envoy.extensions.retry.host."
_PREVIOUS_PRIORITIES: Final = (
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
)
#: Such a response is tried again at once.
TOO_EARLY: Final = 425
#: Milliseconds, where neither policy nor runtime says otherwise.
DEFAULT_BASE: Final = 25
_MOST_RESET_SECONDS: Final = 300.0
#: Fields of a request that change its policy.
RETRY_FIELDS: Final = frozenset(
    {
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-max-retries",
        "x-envoy-retriable-status-codes",
        "x-envoy-retriable-header-names",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-hedge-on-per-try-timeout",
    }
)


class RetryOn:
    """The conditions of `retry_on`, bits of a number; names are those of the texts.

    Not an `IntFlag`, of which every `&` makes an object: that was a tenth of the CPU of a request with a policy.
    """

    NONE: Final = 0
    SERVER_ERROR: Final = 1  # 5xx
    GATEWAY_ERROR: Final = 2
    RESET: Final = 4
    RESET_BEFORE_REQUEST: Final = 8
    CONNECT_FAILURE: Final = 16
    ENVOY_RATELIMITED: Final = 32
    RETRIABLE_4XX: Final = 64
    REFUSED_STREAM: Final = 128
    RETRIABLE_STATUS_CODES: Final = 256
    RETRIABLE_HEADERS: Final = 512
    CANCELLED: Final = 1024
    DEADLINE_EXCEEDED: Final = 2048
    INTERNAL: Final = 4096
    RESOURCE_EXHAUSTED: Final = 8192
    UNAVAILABLE: Final = 16384


_HTTP_CONDITIONS: Final = {
    "5xx": RetryOn.SERVER_ERROR,
    "gateway-error": RetryOn.GATEWAY_ERROR,
    "reset": RetryOn.RESET,
    "reset-before-request": RetryOn.RESET_BEFORE_REQUEST,
    "connect-failure": RetryOn.CONNECT_FAILURE,
    "envoy-ratelimited": RetryOn.ENVOY_RATELIMITED,
    "retriable-4xx": RetryOn.RETRIABLE_4XX,
    "refused-stream": RetryOn.REFUSED_STREAM,
    "retriable-status-codes": RetryOn.RETRIABLE_STATUS_CODES,
    "retriable-headers": RetryOn.RETRIABLE_HEADERS,
}
_GRPC_CONDITIONS: Final = {
    "cancelled": RetryOn.CANCELLED,
    "deadline-exceeded": RetryOn.DEADLINE_EXCEEDED,
    "internal": RetryOn.INTERNAL,
    "resource-exhausted": RetryOn.RESOURCE_EXHAUSTED,
    "unavailable": RetryOn.UNAVAILABLE,
}
#: By gRPC status.
GRPC_STATUSES: Final = {
    1: RetryOn.CANCELLED,
    4: RetryOn.DEADLINE_EXCEEDED,
    8: RetryOn.RESOURCE_EXHAUSTED,
    13: RetryOn.INTERNAL,
    14: RetryOn.UNAVAILABLE,
}
ANY_GRPC: Final = sum(GRPC_STATUSES.values())
#: Conditions that responses of any status may meet; others ask for 400 or more.
FOR_ANY_STATUS: Final = (
    RetryOn.ENVOY_RATELIMITED | RetryOn.RETRIABLE_STATUS_CODES | RetryOn.RETRIABLE_HEADERS | ANY_GRPC
)


class ResetField(Struct, frozen=True):
    """A field that tells when to come again: in seconds, or as Unix time."""

    name: str
    unix_time: bool


class RetryPolicy(Struct, frozen=True):
    """See module. `most_retries` beyond the first try; `back_off` is (base, maximum), None for the default.

    `on` holds bits of `RetryOn`. `per_try_timeout` and `per_try_idle_timeout` are 0.0 for none. `predicates` refuse
    hosts, at most `host_attempts` times in a row. `request_matchers` say which requests the policy is for, if there
    are any. With a `priority_frequency`, every so many tries the priorities that were tried are left out. If the
    policy `hedges`, a try that takes too long goes on beside another.
    """

    on: int = RetryOn.NONE
    most_retries: int = 1
    per_try_timeout: float = 0.0
    per_try_idle_timeout: float = 0.0
    back_off: tuple[float, float] | None = None
    reset_fields: tuple[ResetField, ...] = ()
    most_reset_seconds: float = _MOST_RESET_SECONDS
    status_codes: frozenset[int] = frozenset()
    header_matchers: tuple[Callable[[Any], bool], ...] = ()
    header_names: tuple[str, ...] = ()
    request_matchers: tuple[Callable[[Any], bool], ...] = ()
    predicates: tuple[HostPredicate, ...] = ()
    host_attempts: int = 1
    priority_frequency: int = 0
    hedges: bool = False

    def host_choice(self) -> RetryChoice:
        """How a request with this policy chooses hosts for its retries; one for each request."""
        frequency = self.priority_frequency
        priorities = PreviousPriorities(frequency) if frequency else None
        return RetryChoice(self.predicates, self.host_attempts, priorities)


NO_POLICY: Final = RetryPolicy()


def parse_conditions(text: str, known: dict[str, int]) -> int:
    """The conditions in a comma-separated text; others are passed over, as in Envoy."""
    found = RetryOn.NONE
    for name in text.split(","):
        found |= known.get(name.strip(), RetryOn.NONE)
    return found


def compile_retry_policy(message: Any, path: str, ctx: CompileContext) -> RetryPolicy:
    """Check and compile a `RetryPolicy`; problems go to `ctx`."""
    if len(message.retry_options_predicates):
        ctx.problem(f"{path}.retry_options_predicates", "is not supported")
    waits = None
    if message.HasField("retry_back_off"):
        back_off = message.retry_back_off
        base = seconds(back_off, "base_interval", 0.0)
        most = seconds(back_off, "max_interval", 0.0)
        if base < 0.001:
            base = 0.001
        if most and most < base:
            ctx.problem(
                f"{path}.retry_back_off", "max_interval must be greater than or equal to the base_interval"
            )
        waits = (base, most or base * 10)
    limited = message.rate_limited_retry_back_off
    return RetryPolicy(
        on=parse_conditions(message.retry_on, _HTTP_CONDITIONS | _GRPC_CONDITIONS),
        most_retries=message.num_retries.value if message.HasField("num_retries") else 1,
        per_try_timeout=seconds(message, "per_try_timeout", 0.0),
        per_try_idle_timeout=seconds(message, "per_try_idle_timeout", 0.0),
        back_off=waits,
        reset_fields=tuple(ResetField(one.name.lower(), bool(one.format)) for one in limited.reset_headers),
        most_reset_seconds=seconds(limited, "max_interval", _MOST_RESET_SECONDS),
        status_codes=frozenset(message.retriable_status_codes),
        header_matchers=compile_header_matchers(message.retriable_headers, f"{path}.retriable_headers", ctx),
        request_matchers=compile_header_matchers(
            message.retriable_request_headers, f"{path}.retriable_request_headers", ctx
        ),
        predicates=_compile_predicates(message.retry_host_predicate, f"{path}.retry_host_predicate", ctx),
        host_attempts=message.host_selection_retry_max_attempts or 1,
        priority_frequency=_priority_frequency(message, f"{path}.retry_priority", ctx),
    )


def _priority_frequency(message: Any, path: str, ctx: CompileContext) -> int:
    if not message.HasField("retry_priority"):
        return 0
    config = unpack_extension(message.retry_priority, path, ctx)
    if config is None:
        return 0
    if config.DESCRIPTOR.full_name != _PREVIOUS_PRIORITIES:
        ctx.problem(f"{path}.typed_config", f"{config.DESCRIPTOR.full_name} is no choice of priorities")
        return 0
    return int(config.update_frequency)


def _compile_predicates(messages: Any, path: str, ctx: CompileContext) -> tuple[HostPredicate, ...]:
    found: list[HostPredicate] = []
    for index, message in enumerate(messages):
        config = unpack_extension(message, f"{path}[{index}]", ctx)
        if config is None:
            continue
        match config.DESCRIPTOR.full_name.removeprefix(_PREDICATES):
            case "previous_hosts.v3.PreviousHostsPredicate":
                found.append(_not_tried)
            case "omit_canary_hosts.v3.OmitCanaryHostsPredicate":
                found.append(_no_canary)
            case "omit_host_metadata.v3.OmitHostMetadataConfig":
                found.append(_without_metadata(config.metadata_match))
            case other:
                ctx.problem(f"{path}[{index}].typed_config", f"{other} is no predicate of hosts")
    return tuple(found)


def _not_tried(host: Host, tried: tuple[Host, ...]) -> bool:
    return host not in tried


def _no_canary(host: Host, _tried: tuple[Host, ...]) -> bool:
    return not host.canary


def _without_metadata(wanted: Any) -> HostPredicate:
    fields = dict(wanted.filter_metadata["envoy.lb"].fields) if "envoy.lb" in wanted.filter_metadata else {}

    def allows(host: Host, _tried: tuple[Host, ...]) -> bool:
        if not fields:
            return True
        if host.metadata is None or "envoy.lb" not in host.metadata.filter_metadata:
            return True
        own = host.metadata.filter_metadata["envoy.lb"].fields
        return not all(name in own and _has(own[name], value) for name, value in fields.items())

    return allows


def _has(own: Any, wanted: Any) -> bool:
    """Whether a value of a host is the one, or a list with it."""
    if own.WhichOneof("kind") != "list_value":
        return bool(own == wanted)
    return any(one == wanted for one in own.list_value.values)


def policy_for(policy: RetryPolicy | None, head: RequestHead) -> RetryPolicy | None:
    """The policy of a request: that of its route and what its fields add to it, None if it is never retried."""
    headers = head.headers
    chosen = policy or NO_POLICY
    if not RETRY_FIELDS.isdisjoint(headers):
        chosen = _with_fields(chosen, headers)
    if "early-data" in headers and TOO_EARLY in chosen.status_codes:
        # Who sent the request as early data is to send it again (RFC 8470 section 5.2).
        chosen = replace(chosen, status_codes=chosen.status_codes - {TOO_EARLY})
    if not chosen.on or (
        chosen.request_matchers and not any(matches(head) for matches in chosen.request_matchers)
    ):
        # A limit for each try counts also where there is only one.
        if chosen.per_try_timeout or chosen.per_try_idle_timeout:
            return replace(chosen, on=RetryOn.NONE, most_retries=0)
        return None
    return chosen


def in_place_of(of_route: RetryPolicy | None, of_cluster: RetryPolicy) -> RetryPolicy:
    """The policy where a cluster has its own; times of a try and hedging stay the route's, as in Envoy."""
    route = of_route or NO_POLICY
    return replace(
        of_cluster,
        per_try_timeout=route.per_try_timeout,
        per_try_idle_timeout=route.per_try_idle_timeout,
        hedges=route.hedges,
    )


def within(policy: RetryPolicy, timeout: float) -> RetryPolicy:
    """The policy of a request that has `timeout` seconds, 0.0 for any time: a try may not have as long."""
    if timeout and policy.per_try_timeout >= timeout:
        return replace(policy, per_try_timeout=0.0)
    return policy


def _with_fields(policy: RetryPolicy, headers: HeaderMap) -> RetryPolicy:
    changes: dict[str, Any] = {}
    on = policy.on
    on |= parse_conditions(headers.get("x-envoy-retry-on", ""), _HTTP_CONDITIONS)
    on |= parse_conditions(headers.get("x-envoy-retry-grpc-on", ""), _GRPC_CONDITIONS)
    changes["on"] = on
    most = _number(headers.get("x-envoy-max-retries"))
    if most is not None:
        changes["most_retries"] = most
    timeout = _number(headers.get("x-envoy-upstream-rq-per-try-timeout-ms"))
    if timeout is not None:
        changes["per_try_timeout"] = timeout / 1000
    hedge = headers.get("x-envoy-hedge-on-per-try-timeout")
    if hedge in {"true", "false"}:
        changes["hedges"] = hedge == "true"
    codes = headers.get("x-envoy-retriable-status-codes")
    if codes is not None:
        numbers = (_number(one.strip()) for one in codes.split(","))
        changes["status_codes"] = policy.status_codes | {one for one in numbers if one is not None}
    names = headers.get("x-envoy-retriable-header-names")
    if names is not None:
        listed = tuple(one.strip().lower() for one in names.split(",") if one.strip())
        changes["header_names"] = policy.header_names + listed
    return replace(policy, **changes)


def _number(text: str | None) -> int | None:
    return None if text is None else whole_number(text, UINT64)


def wants_retry_of_response(policy: RetryPolicy, response: ResponseHead, grpc_status: int | None) -> bool:
    """Whether a response is one to try again for."""
    on = policy.on
    headers = response.headers
    status = response.status
    if "x-envoy-ratelimited" in headers:
        return bool(on & RetryOn.ENVOY_RATELIMITED)
    if on & RetryOn.SERVER_ERROR and 500 <= status < 600:
        return True
    if on & RetryOn.GATEWAY_ERROR and 502 <= status <= 504:
        return True
    if on & RetryOn.RETRIABLE_4XX and status == 409:
        return True
    if on & RetryOn.RETRIABLE_STATUS_CODES and status in policy.status_codes:
        return True
    if on & RetryOn.RETRIABLE_HEADERS and (
        any(matches(response) for matches in policy.header_matchers)
        or any(name in headers for name in policy.header_names)
    ):
        return True
    return grpc_status is not None and bool(GRPC_STATUSES.get(grpc_status, RetryOn.NONE) & on)


def wants_retry_of_reset(
    on: int, *, overflow: bool, connect: bool, refused: bool, request_began: bool
) -> bool:
    """Whether a try that came to no response is one to try again for."""
    if overflow:
        return False
    if on & (RetryOn.RESET | RetryOn.SERVER_ERROR | RetryOn.GATEWAY_ERROR):
        return True
    if on & RetryOn.RESET_BEFORE_REQUEST and not request_began:
        return True
    if on & RetryOn.REFUSED_STREAM and refused:
        return True
    return bool(on & RetryOn.CONNECT_FAILURE and connect)


def back_off(policy: RetryPolicy, retries: int, number: int, default: int = DEFAULT_BASE) -> float:
    """Seconds to wait before retry `retries` (from 1); `number` is a random integer from 0 to 2**64-1.

    Fully jittered exponential back-off: anything from 0 to base * 2**retries - 1 ms, at most the maximum.
    """
    base, most = default, default * 10
    if policy.back_off is not None:
        base, most = (round(one * 1000) for one in policy.back_off)
    window = min(base * (1 << min(retries, 32)) - 1, most) if retries else base
    return (number % max(window, 1)) / 1000


def reset_wait(policy: RetryPolicy, headers: HeaderMap, now: float, number: int) -> float | None:
    """Seconds to wait because of what a response asks for, None if it asks for nothing; `now` is Unix time.

    `number` is a random integer from 0 to 2**64-1: up to half of the time is added.
    """
    for one in policy.reset_fields:
        value = _number(headers.get(one.name))
        if value is None:
            continue
        wait = value - int(now) if one.unix_time else value
        if 0 <= wait <= policy.most_reset_seconds:
            return (wait * 1000 + number % (wait * 500)) / 1000 if wait else None
    return None
