from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.upstream.outlier.config import OutlierConfig, compile_outlier


def compiled(**fields: Any) -> tuple[OutlierConfig | None, list[str]]:
    message = json_format.ParseDict({"outlier_detection": fields}, cluster_pb2.Cluster())
    context = CompileContext()
    return compile_outlier(message, "c", context), [problem.path for problem in context.problems]


def test_a_cluster_without_it_has_none() -> None:
    assert compile_outlier(cluster_pb2.Cluster(), "c", CompileContext()) is None


def test_defaults_are_those_of_envoy() -> None:
    assert compiled() == (OutlierConfig(), [])


def test_zero_is_not_the_default() -> None:
    config, problems = compiled(consecutive_5xx=0, enforcing_consecutive_5xx=0, max_ejection_percent=0)
    assert config is not None
    assert (config.consecutive_5xx, config.enforcing_consecutive_5xx, config.max_ejection_percent) == (
        0,
        0,
        0,
    )
    assert problems == []


def test_times_are_milliseconds() -> None:
    config, problems = compiled(
        interval="1.5s", base_ejection_time="2s", max_ejection_time="60s", max_ejection_time_jitter="0.25s"
    )
    assert config is not None
    assert (config.interval_ms, config.base_ejection_time_ms) == (1500, 2000)
    assert (config.max_ejection_time_ms, config.max_ejection_time_jitter_ms) == (60_000, 250)
    assert problems == []


@pytest.mark.parametrize(("base", "longest"), [("30s", 300_000), ("600s", 600_000)])
def test_the_longest_ejection_is_never_shorter_than_the_first(base: str, longest: int) -> None:
    config, problems = compiled(base_ejection_time=base)
    assert config is not None
    assert config.max_ejection_time_ms == longest
    assert problems == []


@pytest.mark.parametrize("base", [None, "20s"])
def test_a_longest_ejection_below_the_first_is_refused(base: str | None) -> None:
    fields = {} if base is None else {"base_ejection_time": base}
    _, problems = compiled(max_ejection_time="10s", **fields)
    assert problems == ["c.outlier_detection.max_ejection_time"]


def test_monitors_are_refused_by_name() -> None:
    _, problems = compiled(monitors=[{"name": "m"}])
    assert problems == ["c.outlier_detection.monitors"]
