from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from proxy.config.loader import load_bootstrap

FRONT_PROXY = """
static_resources:
  listeners:
  - address:
      socket_address:
        address: 0.0.0.0
        port_value: 80
    filter_chains:
    - filters:
      - name: envoy.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.config.filter.network.http_connection_manager.v2.HttpConnectionManager
          codec_type: auto
          stat_prefix: ingress_http
          route_config:
            name: local_route
            virtual_hosts:
            - name: backend
              domains:
              - "*"
              routes:
              - match:
                  prefix: "/service/1"
                route:
                  cluster: service1
          http_filters:
          - name: envoy.router
            typed_config: {}
  clusters:
  - name: service1
    connect_timeout: 0.250s
    type: strict_dns
    lb_policy: round_robin
    PROTOCOL
    load_assignment:
      cluster_name: service1
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address:
                address: service1
                port_value: 80
admin:
  access_log_path: "/dev/null"
  address:
    socket_address:
      address: 0.0.0.0
      port_value: 8001
"""


@pytest.mark.parametrize("protocol", ["", "http2_protocol_options: {}"])
def test_the_published_front_proxy_loads(protocol: str) -> None:
    loaded = load_bootstrap(FRONT_PROXY.replace("PROTOCOL", protocol), "front-envoy.yaml")
    assert [str(warning).partition("v2 spelling: ")[2] for warning in loaded.warnings] == [
        (
            "type envoy.config.filter.network.http_connection_manager.v2.HttpConnectionManager; read as "
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "an extension chosen by its v2 name alone; read with an empty 'typed_config'",
        "'access_log_path'; read as 'access_log'",
    ]
    assert loaded.bootstrap.admin.access_log[0].typed_config.type_url.endswith("FileAccessLog")


def cluster(text: str) -> tuple[Any, list[str]]:
    loaded = load_bootstrap(f"static_resources: {{clusters: [{{name: a, {text}}}]}}", "x.yaml")
    return loaded.bootstrap.static_resources.clusters[0], [warning.reason for warning in loaded.warnings]


def test_hosts_become_endpoints() -> None:
    message, warnings = cluster(
        "hosts: [{socket_address: {address: 1.2.3.4, port_value: 5}}, {pipe: {path: /p}}]"
    )
    first, second = message.load_assignment.endpoints[0].lb_endpoints
    assert first.endpoint.address.socket_address.port_value == 5
    assert second.endpoint.address.pipe.path == "/p"
    assert message.load_assignment.cluster_name == "a"
    assert warnings == ["v2 spelling: 'hosts' of a cluster; read as 'load_assignment'"]


def test_a_tls_context_becomes_a_transport_socket() -> None:
    message, _ = cluster(
        "tls_context: {sni: x, common_tls_context: {validation_context: {verify_subject_alt_name: s}}}"
    )
    context = tls_pb2.UpstreamTlsContext()
    assert message.transport_socket.typed_config.Unpack(context)
    assert context.sni == "x"
    assert len(context.common_tls_context.validation_context.match_typed_subject_alt_names) == 2


def hcm(text: str) -> Any:
    source = (
        "static_resources: {listeners: [{address: {socket_address: {address: '::', port_value: 1}}, filter_chains: "
        "[{filters: [{name: envoy.http_connection_manager, config: {stat_prefix: x, " + text + "}}]}]}]}"
    )
    chain = load_bootstrap(source, "x.yaml").bootstrap.static_resources.listeners[0].filter_chains[0]
    message = http_connection_manager_pb2.HttpConnectionManager()
    assert chain.filters[0].typed_config.Unpack(message)
    return message


def route(match: str, action: str = "cluster: c", extra: str = "") -> Any:
    text = (
        "route_config: {virtual_hosts: [{name: v, domains: '*', routes: [{match: {"
        f"{match}}}, route: {{{action}}} {extra}}}]}}]}}"
    )
    return hcm(text).route_config.virtual_hosts[0].routes[0]


def test_an_untyped_config_and_an_idle_timeout() -> None:
    message = hcm("idle_timeout: 5s, route_config: {}, http_filters: [{name: envoy.router, config: {}}]")
    assert message.common_http_protocol_options.idle_timeout.seconds == 5
    assert message.http_filters[0].typed_config.type_url.endswith(".router.v3.Router")


def test_regexes_of_routes() -> None:
    match = route(
        "regex: /a.*, headers: {name: h, regex_match: b}, query_parameters: {name: q, value: c.*, regex: true}"
    ).match
    assert match.safe_regex.regex == "/a.*"
    assert match.headers[0].string_match.safe_regex.regex == "b"
    assert match.query_parameters[0].string_match.safe_regex.regex == "c.*"


def test_route_actions() -> None:
    action = route(
        "prefix: /",
        "cluster: c, auto_host_rewrite_header: x-host, use_websocket: true, "
        "request_mirror_policy: {cluster: m, runtime_key: k}, cors: {allow_origin: ['*', 'b'], enabled: false}",
    ).route
    assert action.host_rewrite_header == "x-host"
    assert action.upgrade_configs[0].upgrade_type == "websocket"
    assert action.request_mirror_policies[0].runtime_fraction.runtime_key == "k"
    assert [one.WhichOneof("match_pattern") for one in action.cors.allow_origin_string_match] == [
        "safe_regex",
        "exact",
    ]
    assert action.cors.filter_enabled.default_value.numerator == 0


def test_per_filter_config() -> None:
    found = route("prefix: /", extra=", per_filter_config: {envoy.buffer: {disabled: true}}")
    assert found.typed_per_filter_config["envoy.buffer"].type_url.endswith("BufferPerRoute")


def test_runtime_becomes_layers() -> None:
    loaded = load_bootstrap("runtime: {base: {a: 1}}", "x.yaml")
    assert [layer.WhichOneof("layer_specifier") for layer in loaded.bootstrap.layered_runtime.layers] == [
        "static_layer",
        "admin_layer",
    ]


def test_a_construct_that_stands_often_is_one_warning() -> None:
    text = f"static_resources: {{clusters: [{', '.join(f'{{name: c{n}, hosts: []}}' for n in range(3))}]}}"
    (warning,) = load_bootstrap(text, "x.yaml").warnings
    assert warning.reason.endswith("(3 places)")
