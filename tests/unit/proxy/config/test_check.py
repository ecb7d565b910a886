from __future__ import annotations

from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.echo.v3 import echo_pb2

from proxy.config.check import check_message


def problems(message: Any, path: str = "") -> list[str]:
    return [str(problem) for problem in check_message(message, path).problems]


def test_a_good_message_has_no_findings() -> None:
    findings = check_message(cluster_pb2.Cluster(name="a"))
    assert (findings.problems, findings.warnings) == ([], [])


def test_paths_begin_with_the_one_given() -> None:
    assert problems(cluster_pb2.Cluster(), "clusters[7]") == ["clusters[7].name: must not be empty"]


def test_problems_deep_inside_have_their_whole_path() -> None:
    message = route_pb2.RouteConfiguration()
    host = message.virtual_hosts.add(name="v", domains=["*"])
    host.routes.add().match.prefix = "/"
    assert problems(message) == [
        (
            "virtual_hosts[0].routes[0]: one of route, redirect, direct_response, filter_action, "
            "non_forwarding_action must be set"
        )
    ]


def test_a_rule_of_a_oneof_member_counts_only_when_it_is_set() -> None:
    message = route_pb2.RouteConfiguration()
    route = message.virtual_hosts.add(name="v", domains=["*"]).routes.add()
    route.match.prefix = "/"
    route.route.cluster = "c"
    assert problems(message) == []
    route.match.safe_regex.SetInParent()
    assert problems(message) == ["virtual_hosts[0].routes[0].match.safe_regex.regex: must not be empty"]


def test_a_field_without_effect_is_warned_about_once() -> None:
    message = bootstrap_pb2.Bootstrap()
    for name in "ab":
        message.static_resources.clusters.add(name=name).lrs_server.self.SetInParent()
    (warning,) = check_message(message).warnings
    assert str(warning) == (
        "static_resources.clusters[0].lrs_server: has no effect: "
        "load is reported to cluster_manager.load_stats_config, as in Envoy"
    )


def test_what_is_in_an_unsupported_field_is_not_looked_at() -> None:
    message = cluster_pb2.Cluster(name="a")
    # Its name must not be empty.
    message.upstream_config.SetInParent()
    assert problems(message) == ["upstream_config: is not supported (see docs/xds_support.md)"]


def listener(config: Any) -> listener_pb2.Listener:
    message = listener_pb2.Listener()
    one = message.filter_chains.add().filters.add(name="x")
    if config is not None:
        one.typed_config.Pack(config)
    return message


def test_an_extension_must_fit_the_field_that_it_stands_in() -> None:
    assert problems(listener(echo_pb2.Echo())) == []
    (problem,) = problems(listener(router_pb2.Router()))
    assert problem.startswith(
        "filter_chains[0].filters[0].typed_config: envoy.extensions.filters.http.router.v3.Router cannot stand here"
    )


def test_a_name_alone_selects_no_extension() -> None:
    (problem,) = problems(listener(None))
    assert problem.startswith("filter_chains[0].filters[0].typed_config: must be set")


def test_bytes_that_are_no_message_are_a_problem() -> None:
    message = listener(router_pb2.Router())
    message.filter_chains[0].filters[0].typed_config.type_url = "a/envoy.config.route.v3.FilterConfig"
    message.filter_chains[0].filters[0].typed_config.value = b"\xff"
    assert "the bytes are not a valid envoy.config.route.v3.FilterConfig" in problems(message)[0]


def test_an_unknown_balancing_policy_is_passed_over() -> None:
    message = cluster_pb2.Cluster(name="a")
    message.load_balancing_policy.policies.add().typed_extension_config.typed_config.type_url = "a/b.C"
    findings = check_message(message)
    assert findings.problems == []
    assert "the next policy of the list is tried" in findings.warnings[0].reason


def test_map_entries_are_checked_with_their_key() -> None:
    message = cluster_pb2.Cluster(name="a")
    message.typed_extension_protocol_options["x.y"].Pack(router_pb2.Router())
    assert problems(message)[0].startswith("typed_extension_protocol_options['x.y']: ")


def test_an_extension_without_a_type_is_refused_where_one_must_stand() -> None:
    message = cluster_pb2.Cluster(name="a")
    message.transport_socket.name = "x"
    message.transport_socket.typed_config.SetInParent()
    (found,) = problems(message)
    assert found.startswith("transport_socket.typed_config.@type: must be set")
    resolver = cluster_pb2.Cluster(name="a")
    resolver.typed_dns_resolver_config.name = "x"
    resolver.typed_dns_resolver_config.typed_config.SetInParent()
    assert problems(resolver) == []


def test_numbers_without_a_name_are_refused() -> None:
    message = cluster_pb2.Cluster(name="a")
    message.common_http_protocol_options.headers_with_underscores_action = 3
    (found,) = problems(message)
    assert found.endswith(
        "headers_with_underscores_action: 3 is not one of ALLOW, REJECT_REQUEST, DROP_HEADER"
    )


def test_durations_are_bounded() -> None:
    message = cluster_pb2.Cluster(name="a")
    message.common_http_protocol_options.idle_timeout.seconds = -1
    message.common_http_protocol_options.max_stream_duration.seconds = 315_576_000_000
    message.connect_timeout.seconds = -1
    assert problems(message) == [
        "connect_timeout: -1s must be greater than 0s",
        "common_http_protocol_options.idle_timeout: must not be negative",
        "common_http_protocol_options.max_stream_duration: must be at most 9223372036s",
    ]


def test_what_is_not_supported_is_not_missed_in_a_field_without_effect() -> None:
    message = cluster_pb2.Cluster(name="a")
    message.lrs_server.self.SetInParent()
    findings = check_message(message)
    assert findings.problems == []
    assert [str(one) for one in findings.warnings] == [
        "lrs_server: has no effect: load is reported to cluster_manager.load_stats_config, as in Envoy"
    ]
