from __future__ import annotations

import pytest
from envoy.config.metrics.v3 import stats_pb2
from google.protobuf import json_format

from proxy.admin.tags import TagExtractor
from proxy.config.context import CompileContext


# Names and labels as Envoy 1.40 gives them for the same stats.
@pytest.mark.parametrize(
    ("name", "metric", "labels"),
    [
        ("server.live", "server.live", {}),
        ("cluster.a.upstream_rq_503", "cluster.upstream_rq", {"response_code": "503", "cluster_name": "a"}),
        (
            "cluster.a.upstream_rq_5xx",
            "cluster.upstream_rq_xx",
            {"response_code_class": "5", "cluster_name": "a"},
        ),
        ("cluster.a.upstream_rq_time", "cluster.upstream_rq_time", {"cluster_name": "a"}),
        (
            "cluster.a.circuit_breakers.default.cx_open",
            "cluster.circuit_breakers.default.cx_open",
            {"cluster_name": "a"},
        ),
        ("cluster.a.b.upstream_rq_total", "cluster.b.upstream_rq_total", {"cluster_name": "a"}),
        ("http.in.downstream_rq_total", "http.downstream_rq_total", {"http_conn_manager_prefix": "in"}),
        (
            "http.in.rds.my.route.update_success",
            "http.rds.update_success",
            {"rds_route_config": "my.route", "http_conn_manager_prefix": "in"},
        ),
        (
            "http.in.user_agent.ios.downstream_cx_total",
            "http.user_agent.downstream_cx_total",
            {"http_user_agent": "ios", "http_conn_manager_prefix": "in"},
        ),
        ("http.in.rbac.allowed", "http.rbac.allowed", {"http_conn_manager_prefix": "in"}),
        (
            "http.in.rbac.sh.policy.ns[a]-rule[0].shadow_denied",
            "http.rbac.policy.shadow_denied",
            {"http_conn_manager_prefix": "in", "rbac_http_prefix": "sh", "rbac_policy_name": "ns[a]-rule[0]"},
        ),
        (
            "http.in.rbac.policy.p.denied",
            "http.rbac.policy.denied",
            {"http_conn_manager_prefix": "in", "rbac_policy_name": "p"},
        ),
        ("n.rbac.shadow_allowed", "rbac.shadow_allowed", {"rbac_prefix": "n"}),
        (
            "listener.127.0.0.1_80.downstream_cx_total",
            "listener.downstream_cx_total",
            {"listener_address": "127.0.0.1_80"},
        ),
        (
            "listener.[__1]_80.no_filter_chain_match",
            "listener.no_filter_chain_match",
            {"listener_address": "[__1]_80"},
        ),
        (
            "listener.127.0.0.1_80.http.in.downstream_rq_2xx",
            "listener.http.downstream_rq_xx",
            {
                "response_code_class": "2",
                "http_conn_manager_prefix": "in",
                "listener_address": "127.0.0.1_80",
            },
        ),
        (
            "listener.mine.worker_3.downstream_cx_active",
            "listener.worker_downstream_cx_active",
            {"worker_id": "3", "listener_address": "mine"},
        ),
        ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", {}),
        (
            "listener.a.ssl.ciphers.AES-128",
            "listener.ssl.ciphers",
            {"ssl_cipher": "AES-128", "listener_address": "a"},
        ),
        (
            "listener.a.ssl.certificate.mine.expiration_unix_time_seconds",
            "listener.ssl.certificate.expiration_unix_time_seconds",
            {"tls_certificate": "mine", "listener_address": "a"},
        ),
        ("server.worker_0.watchdog_miss", "server.worker_watchdog_miss", {"worker_id": "0"}),
        (
            "vhost.v.vcluster.c.upstream_rq_200",
            "vhost.vcluster.upstream_rq",
            {"response_code": "200", "virtual_cluster": "c", "virtual_host": "v"},
        ),
        ("tcp.x.downstream_cx_total", "tcp.downstream_cx_total", {"tcp_prefix": "x"}),
        ("p.http_local_rate_limit.ok", "http_local_rate_limit.ok", {"local_http_ratelimit_prefix": "p"}),
    ],
)
def test_default_tags_are_cut_out_of_names(name: str, metric: str, labels: dict[str, str]) -> None:
    extracted, found = TagExtractor().extract(name)
    assert extracted == metric
    assert dict(found) == {"envoy." + tag: value for tag, value in labels.items()}


def _custom(config: dict[str, object]) -> tuple[TagExtractor, list[str]]:
    ctx = CompileContext()
    message = json_format.ParseDict(config, stats_pb2.StatsConfig())
    extractor = TagExtractor(message, "stats_config", ctx)
    return extractor, [str(problem) for problem in ctx.problems]


def test_tags_of_the_operator_come_with_the_default_ones() -> None:
    extractor, problems = _custom(
        {
            "stats_tags": [
                {"tag_name": "zone", "fixed_value": "a"},
                {"tag_name": "t", "regex": r"^server\.((\w+)_bug_)"},
            ]
        }
    )
    assert not problems
    assert extractor.extract("server.envoy_bug_failures") == (
        "server.failures",
        (("zone", "a"), ("t", "envoy")),
    )
    assert extractor.extract("cluster.a.x")[1] == (("zone", "a"), ("envoy.cluster_name", "a"))


def test_default_tags_can_be_turned_off_and_named_one_by_one() -> None:
    extractor, problems = _custom(
        {"use_all_default_tags": False, "stats_tags": [{"tag_name": "envoy.response_code"}]}
    )
    assert not problems
    assert extractor.extract("cluster.a.upstream_rq_503") == (
        "cluster.a.upstream_rq",
        (("envoy.response_code", "503"),),
    )


def test_tags_that_cannot_work_are_refused_with_their_place() -> None:
    _, problems = _custom(
        {
            "use_all_default_tags": False,
            "stats_tags": [
                {"tag_name": "a", "regex": "("},
                {"tag_name": "a", "regex": "x"},
                {"tag_name": "nothing"},
            ],
        }
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        "stats_config.stats_tags[0].regex",
        "stats_config.stats_tags[1].tag_name",
        "stats_config.stats_tags[1].regex",
        "stats_config.stats_tags[2].tag_name",
    ]


def test_look_ahead_and_classes_of_characters_are_read_as_ecmascript_has_them() -> None:
    pattern = r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"
    tags, problems = _custom(
        {"use_all_default_tags": False, "stats_tags": [{"tag_name": "prefix", "regex": pattern}]}
    )
    assert not problems
    assert tags.extract("listener.0.0.0.0_80.http.1.2_3.downstream_rq_total") == (
        "listener.0.0.0.0_80.http.downstream_rq_total",
        (("prefix", "1.2_3"),),
    )
