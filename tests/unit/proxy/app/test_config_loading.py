from __future__ import annotations

from pathlib import Path

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2

from proxy.app import config_loading
from proxy.app.command_line import Options
from proxy.app.config_loading import LoadingChild, load
from proxy.base.errors import ConfigError
from proxy.version import ENVOY_VERSION, VERSION

ECHO = '{"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}'


def listener(name: str, port: int, direction: str = "UNSPECIFIED", **more: str) -> str:
    fields = "".join(f", {key}: {value}" for key, value in more.items())
    return (
        f"{{name: {name!r}, address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}, "
        f"traffic_direction: {direction}, "
        f"filter_chains: [{{filters: [{{name: e, typed_config: {ECHO}}}]}}]{fields}}}"
    )


def cluster(name: str, kind: str = "STATIC") -> str:
    return f"{{name: {name}, type: {kind}, connect_timeout: 1s, load_assignment: {{cluster_name: {name}}}}}"


def config(listeners: tuple[str, ...] = (), clusters: tuple[str, ...] = ()) -> str:
    return f"static_resources: {{listeners: [{', '.join(listeners)}], clusters: [{', '.join(clusters)}]}}"


def problems(options: Options) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(options)
    return [str(problem) for problem in caught.value.problems]


def test_the_parts_are_kept_apart_as_bytes() -> None:
    text = config((listener("in", 24400, "INBOUND"),), (cluster("a"), cluster("b", "STRICT_DNS")))
    loaded = load(Options(config_yaml=text))
    assert [name for name, _bytes in loaded.clusters] == ["a", "b"]
    assert loaded.dns_clusters == [1]
    (plan,) = loaded.listeners
    assert (plan.name, plan.inbound) == ("in", True)
    assert [str(where.address) for where in plan.addresses] == ["127.0.0.1:24400"]
    rest = bootstrap_pb2.Bootstrap.FromString(loaded.bootstrap)
    assert not rest.static_resources.clusters
    assert not rest.static_resources.listeners


def test_inline_yaml_is_merged_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("node: {id: from-file, cluster: from-file}\n")
    loaded = load(Options(config_path=str(path), config_yaml="node: {id: inline}"))
    node = bootstrap_pb2.Bootstrap.FromString(loaded.bootstrap).node
    assert (node.id, node.cluster) == ("inline", "from-file")


def test_the_command_line_overrides_the_node() -> None:
    options = Options(
        config_yaml="node: {id: a, cluster: b}", service_node="n", service_cluster="c", service_zone="z"
    )
    node = bootstrap_pb2.Bootstrap.FromString(load(options).bootstrap).node
    assert (node.id, node.cluster, node.locality.zone) == ("n", "c", "z")


def test_the_build_says_what_it_is_whatever_the_bootstrap_says() -> None:
    text = "{node: {id: file, user_agent_name: mine, user_agent_version: old}}"
    node = bootstrap_pb2.Bootstrap.FromString(load(Options(config_yaml=text)).bootstrap).node
    version = node.user_agent_build_version
    assert (node.id, node.user_agent_name, node.user_agent_version) == ("file", "envoy", "")
    assert (version.version.major_number, version.version.minor_number) == ENVOY_VERSION[:2]
    assert version.metadata["outrider.version"] == VERSION


def test_two_listeners_on_one_address_are_refused_but_not_two_on_port_zero() -> None:
    text = config((listener("a", 24400), listener("b", 24400), listener("c", 0), listener("d", 0)))
    (problem,) = problems(Options(config_yaml=text))
    assert (
        "listeners[1].address: error adding listener: 'b' has duplicate address '127.0.0.1:24400'" in problem
    )


def test_a_listener_of_the_same_name_replaces_the_earlier_one_with_a_warning() -> None:
    loaded = load(Options(config_yaml=config((listener("a", 24400), listener("a", 24401)))))
    assert [str(plan.addresses[0].address) for plan in loaded.listeners] == ["127.0.0.1:24401"]
    assert any("same name" in warning for warning in loaded.warnings)


def test_a_listener_that_does_not_bind_gets_no_socket() -> None:
    loaded = load(Options(config_yaml=config((listener("a", 24400, bind_to_port="false"),))))
    assert not loaded.listeners[0].bound


def test_two_clusters_of_one_name_are_refused() -> None:
    (problem,) = problems(Options(config_yaml=config(clusters=(cluster("a"), cluster("a")))))
    assert "cluster manager: duplicate cluster 'a'" in problem


def test_many_clusters_are_compiled_beside_the_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_loading, "MANY_CLUSTERS", 1)
    good = load(Options(config_yaml=config(clusters=(cluster("a"), cluster("b", "STRICT_DNS")))))
    assert good.dns_clusters == [1]
    assert len(problems(Options(config_yaml=config(clusters=(cluster("a"), cluster("a")))))) == 1


def test_every_problem_of_a_load_is_named() -> None:
    text = config((listener("a", 99999), listener("b", 24400), listener("c", 24400)), (cluster("x"),))
    text = text.replace("type: STATIC", "type: NONSENSE")
    assert len(problems(Options(config_yaml=text))) >= 1


def test_nothing_to_load_is_said_with_a_remedy() -> None:
    (problem,) = problems(Options())
    assert "start with -c" in problem
    (problem,) = problems(Options(config_path="/nonexistent.yaml"))
    assert problem == "Invalid path: /nonexistent.yaml (No such file or directory)"


def test_static_secrets_are_checked_though_nobody_asks_for_them() -> None:
    text = "static_resources: {secrets: [{name: a}, %s]}"
    (problem,) = problems(Options(config_yaml=text % "{name: b, tls_certificate: {}}"))
    assert "static_resources.secrets[0]: a secret needs" in problem
    twice = (
        "{name: a, validation_context: {}}, {name: a, tls_certificate: {}}, {name: a, tls_certificate: {}}"
    )
    _, problem = problems(Options(config_yaml=text % twice))
    assert "static_resources.secrets[3].name: Duplicate static tls_certificate secret name a" in problem


def test_a_child_process_gives_the_same_config_or_the_same_problems() -> None:
    options = Options(config_yaml=config((listener("a", 24400),), (cluster("x"),)))
    assert LoadingChild(options).result().listeners == load(options).listeners
    with pytest.raises(ConfigError, match="duplicate cluster"):
        LoadingChild(Options(config_yaml=config(clusters=(cluster("a"), cluster("a"))))).result()


def test_problems_of_reading_and_of_compiling_are_told_together_in_order(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "static_resources:\n"
        "  clusters:\n"
        "  - {name: a, type: STATIC, load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: "
        "[{endpoint: {address: {socket_address: {address: nope, port_value: 1}}}}]}]}}\n"
        "  - {name: b, bogus: 1}\n"
        "admin: {address: {socket_address: {address: nowhere, port_value: 1}}}\n"
    )
    found = problems(Options(config_path=str(path)))
    assert [line.split(":")[1] for line in found] == ["3", "4", "5"]
    assert "malformed IP address: nope" in found[0]
    assert "unknown field 'bogus'" in found[1]


def test_what_follows_from_a_problem_of_reading_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "static_resources:\n"
        "  clusters:\n"
        "  - {name: [a], type: STATIC}\n"
        "  - {name: b, type: STATIC, connect_timeout: 0s}\n"
    )
    found = problems(Options(config_path=str(path)))
    assert [line.split(":")[1] for line in found] == ["3", "4"]


@pytest.mark.parametrize(
    ("beside", "problem"),
    [
        ("validation_context: {trusted_ca: {filename: /nowhere/ca.crt}}", "cannot read '/nowhere/ca.crt'"),
        ("validation_context: {trusted_ca: {inline_string: nonsense}}", "failed to load trusted CA"),
        ("tls_params: {cipher_suites: [NONE-SUCH]}", "failed to initialize cipher suites NONE-SUCH"),
    ],
)
def test_what_is_wrong_beside_a_secret_to_come_is_found_at_load(beside: str, problem: str) -> None:
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    secret = (
        "tls_certificate_sds_secret_configs: [{name: s, sds_config: {ads: {}, resource_api_version: V3}}]"
    )
    tls = f"{{'@type': {kind}, common_tls_context: {{{secret}, {beside}}}}}"
    named = cluster("a").removesuffix("}") + f", transport_socket: {{name: tls, typed_config: {tls}}}}}"
    grpc = "{api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: x}}]}"
    ads = f"dynamic_resources: {{ads_config: {grpc}}}"
    server = cluster("x").removesuffix("}") + ", http2_protocol_options: {}}"
    text = config(clusters=(server, named))
    found = problems(Options(config_yaml=f"{text}\n{ads}\nnode: {{id: one, cluster: c}}\n"))
    assert [problem in one for one in found] == [True]


def test_what_is_wrong_in_a_filter_s_config_of_a_route_is_told_once() -> None:
    table = (
        "{name: t, virtual_hosts: [{name: v, domains: ['*'], routes: [], typed_per_filter_config: "
        "{x: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}]}"
    )
    manager = (
        "{'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
        f"HttpConnectionManager, stat_prefix: a, route_config: {table}, http_filters: [{{name: r, typed_config: "
        "{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}"
    )
    filters = f"[{{filters: [{{name: h, typed_config: {manager}}}]}}]"
    address = "{socket_address: {address: 127.0.0.1, port_value: 0}}"
    one = f"{{name: l, address: {address}, filter_chains: {filters}}}"
    found = problems(Options(config_yaml=f"static_resources: {{listeners: [{one}]}}"))
    assert sum("typed_per_filter_config" in text for text in found) == 1
