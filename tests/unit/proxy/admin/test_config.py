from __future__ import annotations

from envoy.config.bootstrap.v3 import bootstrap_pb2
from google.protobuf import json_format

from proxy.admin.config import compile_admin
from proxy.admin.histograms import DEFAULT_BUCKETS
from proxy.config.context import CompileContext
from tests.support.admin_state import FakeAdminState, ask


def _bootstrap(config: dict[str, object]) -> bootstrap_pb2.Bootstrap:
    return json_format.ParseDict(config, bootstrap_pb2.Bootstrap())


def test_only_allowed_paths_are_served() -> None:
    ctx = CompileContext()
    config = compile_admin(
        _bootstrap({"admin": {"allow_paths": [{"exact": "/ready"}, {"prefix": "/stats"}]}}), ctx
    )
    assert not ctx.problems
    assert ask(FakeAdminState(), "/ready", config=config)[0] == 200
    assert ask(FakeAdminState(), "/stats?usedonly", config=config)[0] == 200
    assert ask(FakeAdminState(), "/clusters", config=config)[::2] == (
        403,
        "request to path /clusters not allowed",
    )


def test_buckets_come_from_the_first_setting_that_matches() -> None:
    settings = [
        {"match": {"prefix": "cluster."}, "buckets": [20, 5]},
        {"match": {"prefix": "cluster.a"}, "buckets": [1]},
    ]
    ctx = CompileContext()
    config = compile_admin(_bootstrap({"stats_config": {"histogram_bucket_settings": settings}}), ctx)
    assert not ctx.problems
    assert tuple(config.buckets_of("cluster.a.x")) == (5, 20)
    assert config.buckets_of("http.x") is DEFAULT_BUCKETS


def test_settings_that_cannot_work_are_named() -> None:
    ctx = CompileContext()
    settings = [{"match": {"prefix": "a"}, "buckets": [0, 1]}, {"match": {"prefix": "a"}, "buckets": [2, 2]}]
    tags = [{"tag_name": "x", "regex": "("}]
    compile_admin(
        _bootstrap({"stats_config": {"histogram_bucket_settings": settings, "stats_tags": tags}}), ctx
    )
    assert [problem.path for problem in ctx.problems] == [
        "stats_config.stats_tags[0].regex",
        "stats_config.histogram_bucket_settings[0].buckets",
        "stats_config.histogram_bucket_settings[1].buckets",
    ]


def test_a_bootstrap_that_says_nothing_allows_everything() -> None:
    config = compile_admin(_bootstrap({}), CompileContext())
    assert config.allowed is None
    assert config.buckets_of("x") is DEFAULT_BUCKETS
