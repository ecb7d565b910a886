from __future__ import annotations

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from google.protobuf import json_format

from proxy.admin.config import compile_admin
from proxy.admin.histograms import DEFAULT_BUCKETS
from proxy.config.context import CompileContext
from tests.support.admin_state import FakeAdminState, ask, collected


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


@pytest.mark.parametrize(
    ("matcher", "shown"),
    [
        ({"reject_all": True}, ""),
        ({"reject_all": False}, "a.one: 1\na.two: 2\nb.one: 3\n"),
        (
            {"inclusion_list": {"patterns": [{"prefix": "a."}, {"exact": "b.one"}]}},
            "a.one: 1\na.two: 2\nb.one: 3\n",
        ),
        ({"inclusion_list": {"patterns": [{"suffix": "one"}]}}, "a.one: 1\nb.one: 3\n"),
        ({"exclusion_list": {"patterns": [{"prefix": "a."}]}}, "b.one: 3\n"),
    ],
)
def test_stats_that_the_matcher_refuses_do_not_exist(matcher: dict[str, object], shown: str) -> None:
    ctx = CompileContext()
    config = compile_admin(_bootstrap({"stats_config": {"stats_matcher": matcher}}), ctx)
    assert not ctx.problems
    state = FakeAdminState()
    state.total.update(0, collected({"a.one": 1, "a.two": 2, "b.one": 3}, {}, {}))
    assert ask(state, "/stats?type=Counters", config=config)[2] == shown
    assert "two" not in ask(state, "/stats?type=Counters&filter=one", config=config)[2]


def test_a_bootstrap_that_says_nothing_allows_everything() -> None:
    config = compile_admin(_bootstrap({}), CompileContext())
    assert config.allowed is None
    assert config.exists is None
    assert config.buckets_of("x") is DEFAULT_BUCKETS
