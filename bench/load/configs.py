"""The bootstraps that benchmarks run, written as text because the large one has ten thousand clusters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.load.certificate import Certificate
from bench.load.scenario import Config

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
#: What a client names to be passed through; it must resolve to the loopback address on every machine.
PASSED_NAME = "localhost"
_FILE_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"

_START = """\
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: {admin_port}}}}}
static_resources:
  listeners:
  - name: ingress
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
"""
_HTTP = """\
    filter_chains:
    - {chain}filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/{hcm}
          stat_prefix: ingress
{access_log}          http_filters:
{filters}          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/{router}
          route_config:
            name: local
            virtual_hosts:
"""
_PASSTHROUGH = """\
    listener_filters:
    - name: envoy.filters.listener.tls_inspector
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector
    filter_chains:
    - filter_chain_match: {{server_names: [other.example.com]}}
      filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {{"@type": type.googleapis.com/{tcp_proxy}, stat_prefix: other, cluster: nowhere}}
    - filter_chain_match: {{server_names: ["{name}"]}}
      filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {{"@type": type.googleapis.com/{tcp_proxy}, stat_prefix: ingress, cluster: origin}}
  clusters:
"""
_TCP = """\
{listener_filters}    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {{"@type": type.googleapis.com/{tcp_proxy}, stat_prefix: ingress, cluster: origin}}
  clusters:
"""
_ORIGINAL_DST = """\
    listener_filters:
    - name: envoy.filters.listener.original_dst
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst
"""
_ACCESS_LOG = """\
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/{type}
              path: {path}
"""
#: Spans go where requests go: what answers these takes any POST.
_TRACING = """\
          tracing:
            random_sampling: {{value: {percent}}}
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                service_name: bench
                http_service:
                  http_uri: {{uri: "http://collector.test/v1/traces", cluster: origin, timeout: 1s}}
"""
#: A denying and an allowing policy in the form in which Istio writes them; both are asked, and let pass.
_RBAC = """\
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: DENY
                policies:
                  "ns[bench]-policy[no-admin]-rule[0]":
                    permissions:
                    - and_rules: {rules: [{or_rules: {rules: [{url_path: {path: {prefix: /admin/}}}]}}]}
                    principals:
                    - and_ids: {ids: [{any: true}]}
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                policies:
                  "ns[bench]-policy[readers]-rule[0]":
                    permissions:
                    - and_rules:
                        rules:
                        - or_rules:
                            rules:
                            - header: {name: ":method", string_match: {exact: HEAD}}
                            - header: {name: ":method", string_match: {exact: GET}}
                        - not_rule: {or_rules: {rules: [{header: {name: x-forbidden, present_match: true}}]}}
                    principals:
                    - and_ids:
                        ids:
                        - or_ids: {ids: [{remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}]}
"""
_VIRTUAL_HOST_HEAD = """\
            - name: {name}
              domains: [{domains}]
              routes:
"""
_ROUTE = """\
              - match: {{prefix: "{path}"}}
                route: {{cluster: {cluster}, timeout: 5s}}
"""
_CLUSTER = """\
  - name: {name}
    type: STATIC
    connect_timeout: 1s
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


_TLS = """\
transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {certificate}}}
              private_key: {{filename: {key}}}
      """
_RESILIENT_ROUTE = """\
              - match: {prefix: "/"}
                route:
                  cluster: origin
                  timeout: 5s
                  retry_policy: {retry_on: "5xx,connect-failure,reset", num_retries: 2, per_try_timeout: 2s}
"""
_RESILIENT_CLUSTER = """\
    circuit_breakers:
      thresholds: [{max_connections: 500, max_pending_requests: 500, max_requests: 500, max_retries: 10}]
    outlier_detection: {consecutive_5xx: 5, interval: 1s, base_ejection_time: 30s, success_rate_minimum_hosts: 1}
"""
_BREAKER = """\
    circuit_breakers:
      thresholds: [{{max_connections: {count}, max_pending_requests: {count}}}]
"""
_HTTP2 = """\
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"""


def _head(
    port: int,
    admin_port: int,
    log_path: str | None = None,
    chain: str = "",
    filters: str = "",
    tracing: str = "",
) -> str:
    access_log = _ACCESS_LOG.format(type=_FILE_LOG, path=log_path) if log_path else ""
    return (_START + _HTTP).format(
        port=port,
        admin_port=admin_port,
        hcm=_HCM,
        router=_ROUTER,
        access_log=access_log + tracing,
        chain=chain,
        filters=filters,
    )


def bootstrap(
    config: Config, origin_port: int, certificate: Certificate | None, log_path: str
) -> Callable[[int, int], str]:
    """The bootstrap of a config, as a function of the listener's and the admin's port."""
    if config.kind == "tcp":
        return partial(
            tcp,
            origin_port=origin_port,
            max_connections=config.max_connections,
            original_dst=config.original_dst,
        )
    if config.kind == "tls_passthrough":
        return partial(passthrough, origin_port=origin_port)
    if config.kind == "mesh":
        raise ValueError("a mesh has as many clusters as the command line says")
    return partial(small, origin_port=origin_port, config=config, certificate=certificate, log_path=log_path)


def small(
    port: int,
    admin_port: int,
    origin_port: int,
    config: Config | None = None,
    certificate: Certificate | None = None,
    log_path: str = "",
) -> str:
    """One listener, one cluster, and what `config` asks for besides.

    `upstream_http2` is about the cluster; the listener takes both versions in any case, over TLS if there is a
    certificate. The access log has Envoy's default format. Listeners beyond the first are on ports from 10,001 of
    127.0.0.2, where nothing else listens.
    """
    config = config or Config()
    chain = _TLS.format(certificate=certificate.certificate, key=certificate.key) if certificate else ""
    filters = _RBAC if config.rbac else ""
    tracing = _TRACING.format(percent=config.traced_percent) if config.traced_percent else ""
    head = _head(port, admin_port, log_path if config.access_log else None, chain, filters, tracing)
    before, start, listener = head.partition("  - name: ingress\n")
    text = before + start + listener + _routes(config)
    for number in range(1, config.listeners):
        further = listener.replace(
            f"127.0.0.1, port_value: {port}}}", f"127.0.0.2, port_value: {10000 + number}}}"
        )
        text += f"  - name: ingress{number}\n{further}" + _routes(config)
    return (
        text
        + "  clusters:\n"
        + _CLUSTER.format(name="origin", port=origin_port)
        + (_RESILIENT_CLUSTER if config.resilience else "")
        + (_HTTP2 if config.upstream_http2 else "")
    )


def _routes(config: Config) -> str:
    if config.resilience:
        return _VIRTUAL_HOST_HEAD.format(name="all", domains='"*"') + _RESILIENT_ROUTE
    paths = [f"/service-{number}/" for number in range(config.routes)] or ["/"]
    return _VIRTUAL_HOST_HEAD.format(name="all", domains='"*"') + "".join(
        _ROUTE.format(path=path, cluster="origin") for path in paths
    )


def tcp(
    port: int, admin_port: int, origin_port: int, max_connections: int = 0, *, original_dst: bool = False
) -> str:
    """One listener whose bytes go to one cluster as they are; it may ask where connections wanted to go."""
    filters = _ORIGINAL_DST if original_dst else ""
    return (
        (_START + _TCP).format(
            port=port, admin_port=admin_port, tcp_proxy=_TCP_PROXY, listener_filters=filters
        )
        + _CLUSTER.format(name="origin", port=origin_port)
        + (_BREAKER.format(count=max_connections) if max_connections else "")
    )


def tcp_request(host: str) -> bytes:
    """What goes through `tcp` and is answered by the HTTP/1 origin."""
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def passthrough(port: int, admin_port: int, origin_port: int) -> str:
    """One listener that looks at the ClientHello; the bytes for `PASSED_NAME` go to one cluster as they are."""
    return (
        (_START + _PASSTHROUGH).format(
            port=port, admin_port=admin_port, tcp_proxy=_TCP_PROXY, name=PASSED_NAME
        )
        + _CLUSTER.format(name="origin", port=origin_port)
        + _CLUSTER.format(name="nowhere", port=1)
    )


def mesh_host(number: int) -> str:
    """The name under which virtual host `number` of `mesh` is called."""
    return f"svc{number}.default.svc.cluster.local"


def mesh(port: int, admin_port: int, origin_port: int, count: int) -> str:
    """`count` clusters with a virtual host each, as a sidecar in a large mesh has them."""
    hosts = (
        _VIRTUAL_HOST_HEAD.format(
            name=f"vh{number}", domains=f'"{mesh_host(number)}", "{mesh_host(number)}:80"'
        )
        + _ROUTE.format(path="/", cluster=f"cluster{number}")
        for number in range(count)
    )
    clusters = (_CLUSTER.format(name=f"cluster{number}", port=origin_port) for number in range(count))
    return _head(port, admin_port) + "".join(hosts) + "  clusters:\n" + "".join(clusters)


_DISCOVERED = """\
node: {{id: bench, cluster: bench}}
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: {admin_port}}}}}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: control-plane}}}}]
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
"""


def discovered(port: int, admin_port: int, server_port: int) -> str:
    """Everything comes from the control plane on `server_port`; `port` is that of the listener it sends."""
    del port
    return (
        _DISCOVERED.format(admin_port=admin_port)
        + _CLUSTER.format(name="control-plane", port=server_port)
        + _HTTP2
    )
