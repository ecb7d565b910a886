"""`config.cluster.v3.OutlierDetection`, compiled."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from proxy.config.context import CompileContext

_NANOS_PER_MS: Final = 1_000_000


class OutlierConfig(Struct, frozen=True):
    """Names and defaults are Envoy's; those that end with `_ms` are milliseconds, percentages are from 0 to 100.

    The runtime may replace all but the last three, under `outlier_detection.` and the name of the field here.
    """

    interval_ms: int = 10_000
    base_ejection_time_ms: int = 30_000
    max_ejection_time_ms: int = 300_000
    max_ejection_time_jitter_ms: int = 0
    max_ejection_percent: int = 10
    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    #: In thousandths.
    success_rate_stdev_factor: int = 1900
    failure_percentage_threshold: int = 85
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_success_rate: int = 100
    enforcing_local_origin_success_rate: int = 100
    enforcing_failure_percentage: int = 0
    enforcing_failure_percentage_local_origin: int = 0
    always_eject_one_host: bool = False
    split_external_local_origin_errors: bool = False
    successful_active_health_check_uneject_host: bool = True


#: Fields that are a wrapper of the same name in the proto.
_WRAPPED: Final = (
    "max_ejection_percent",
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
    "success_rate_minimum_hosts",
    "success_rate_request_volume",
    "success_rate_stdev_factor",
    "failure_percentage_threshold",
    "failure_percentage_minimum_hosts",
    "failure_percentage_request_volume",
    "enforcing_consecutive_5xx",
    "enforcing_consecutive_gateway_failure",
    "enforcing_consecutive_local_origin_failure",
    "enforcing_success_rate",
    "enforcing_local_origin_success_rate",
    "enforcing_failure_percentage",
    "enforcing_failure_percentage_local_origin",
    "always_eject_one_host",
    "successful_active_health_check_uneject_host",
)
_DURATIONS: Final = ("interval", "base_ejection_time", "max_ejection_time", "max_ejection_time_jitter")
_DEFAULT: Final = OutlierConfig()


def compile_outlier(cluster: Any, path: str, ctx: CompileContext) -> OutlierConfig | None:
    """What a `config.cluster.v3.Cluster` says; None if it does not ask for outlier detection."""
    if not cluster.HasField("outlier_detection"):
        return None
    message = cluster.outlier_detection
    path = f"{path}.outlier_detection"
    values: dict[str, Any] = {
        name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)
    }
    for name in _DURATIONS:
        if message.HasField(name):
            duration = getattr(message, name)
            values[f"{name}_ms"] = duration.seconds * 1000 + duration.nanos // _NANOS_PER_MS
    base = values.get("base_ejection_time_ms", _DEFAULT.base_ejection_time_ms)
    longest = values.setdefault("max_ejection_time_ms", max(_DEFAULT.max_ejection_time_ms, base))
    if longest < base:
        ctx.problem(f"{path}.max_ejection_time", "cannot be smaller than base_ejection_time")
    if len(message.monitors):
        ctx.problem(f"{path}.monitors", "is not supported")
    values["split_external_local_origin_errors"] = message.split_external_local_origin_errors
    return OutlierConfig(**values)
