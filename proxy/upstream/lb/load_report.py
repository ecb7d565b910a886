"""Load reports that hosts send with their responses (ORCA), and the weight that follows from one.

Source: `xds.data.orca.v3.OrcaLoadReport`; the field forms are those of Envoy's `orca_parser`.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.base.headers import HeaderMap

FIELD: Final = "endpoint-load-metrics"
BINARY_FIELD: Final = "endpoint-load-metrics-bin"

_MAPS: Final = {"named_metrics", "utilization", "request_cost"}
_NUMBERS: Final = {
    "cpu_utilization",
    "mem_utilization",
    "application_utilization",
    "rps_fractional",
    "rps",
    "eps",
}
_LARGEST: Final = 2**32 - 1


def read_report(headers: HeaderMap) -> dict[str, float] | None:
    """The numbers of a report by name, those of maps as `map.key`; None without one, or if it cannot be read."""
    binary = headers.get(BINARY_FIELD)
    try:
        if binary is not None:
            return _from_bytes(_decoded(binary))
        text = headers.get(FIELD)
        if text is None:
            return None
        form, _, rest = text.partition(" ")
        match form:
            case "BIN":
                return _from_bytes(_decoded(rest))
            case "JSON":
                return _from_json(json.loads(rest))
            case "TEXT":
                return _from_text(rest)
    except (ValueError, binascii.Error, OverflowError, RecursionError):
        # The last two are those of a number or of nesting that JSON allows and Python does not.
        pass
    return None


def report_of_bytes(data: bytes) -> dict[str, float] | None:
    """The same of a serialised report; None if its numbers make no sense. Raises `ValueError` if it is none."""
    message = _parsed(data)
    try:
        return _numbers(message)
    except ValueError:
        return None


def weight_of(report: Mapping[str, float], metrics: Sequence[str], error_penalty: float) -> int | None:
    """The weight of a host by its report: requests per second by utilization; None if it says too little.

    `metrics` are preferred as utilization, `map.*` stands for all of a map. Each error per request adds
    `error_penalty` to the utilization.
    """
    rate = report.get("rps_fractional", 0.0)
    if rate <= 0:
        return None
    utilization = max([_utilization(report, name) for name in metrics], default=0.0)
    utilization = (
        utilization or report.get("application_utilization", 0.0) or report.get("cpu_utilization", 0.0)
    )
    utilization += error_penalty * report.get("eps", 0.0) / rate
    if utilization <= 0:
        return None
    return int(min(rate / utilization, _LARGEST))


def _utilization(report: Mapping[str, float], name: str) -> float:
    if name.endswith(".*"):
        prefix = name[:-1]
        return max([value for key, value in report.items() if key.startswith(prefix)], default=0.0)
    return report.get(name, 0.0)


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _from_bytes(data: bytes) -> dict[str, float]:
    return _numbers(_parsed(data))


def _parsed(data: bytes) -> Any:
    from google.protobuf.message import DecodeError
    from xds.data.orca.v3 import orca_load_report_pb2  # few hosts send reports

    try:
        return orca_load_report_pb2.OrcaLoadReport.FromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def _numbers(message: Any) -> dict[str, float]:
    numbers = {name: getattr(message, name) for name in _NUMBERS}
    maps = {name: dict(getattr(message, name)) for name in _MAPS}
    return _checked({**numbers, **maps})


def _from_json(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    # A null is a field that is not set.
    return _checked({_snake(key): one for key, one in value.items() if one is not None})


def _from_text(text: str) -> dict[str, float]:
    result: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in result:
            raise ValueError(part)
        result[name] = float(value)
    return _checked(result)


def _checked(values: Mapping[str, Any]) -> dict[str, float]:
    result: dict[str, float] = {}
    for name, value in values.items():
        entries = (
            {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        )
        for key, one in entries.items():
            if key not in _NUMBERS and key.partition(".")[0] not in _MAPS:
                raise ValueError(key)
            if isinstance(one, bool) or not isinstance(one, int | float | str):
                raise ValueError(key)
            number = float(one)
            if not math.isfinite(number) or number < 0:
                raise ValueError(key)
            result[key] = number
    return result


def _snake(name: str) -> str:
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)
