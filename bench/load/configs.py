"""The bootstraps that benchmarks run, written as text because the large one has ten thousand clusters."""

from __future__ import annotations

from bench.load.certificate import Certificate

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_FILE_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"

_HEAD = """\
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: {admin_port}}}}}
static_resources:
  listeners:
  - name: ingress
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - {chain}filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/{hcm}
          stat_prefix: ingress
{access_log}          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/{router}
          route_config:
            name: local
            virtual_hosts:
"""
_TCP = """\
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: {admin_port}}}}}
static_resources:
  listeners:
  - name: ingress
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {{"@type": type.googleapis.com/{tcp_proxy}, stat_prefix: ingress, cluster: origin}}
  clusters:
"""
_ACCESS_LOG = """\
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/{type}
              path: {path}
"""
_VIRTUAL_HOST = """\
            - name: {name}
              domains: [{domains}]
              routes:
              - match: {{prefix: "/"}}
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
_HTTP2 = """\
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"""


def _head(port: int, admin_port: int, log_path: str | None, chain: str = "") -> str:
    access_log = _ACCESS_LOG.format(type=_FILE_LOG, path=log_path) if log_path else ""
    return _HEAD.format(
        port=port, admin_port=admin_port, hcm=_HCM, router=_ROUTER, access_log=access_log, chain=chain
    )


def small(
    port: int,
    admin_port: int,
    origin_port: int,
    log_path: str | None = None,
    *,
    http2: bool = False,
    certificate: Certificate | None = None,
) -> str:
    """One listener, one cluster; with `log_path`, Envoy's default text access log to that file.

    `http2` is about the cluster; the listener takes both versions in any case, over TLS if it has a certificate.
    """
    chain = _TLS.format(certificate=certificate.certificate, key=certificate.key) if certificate else ""
    return (
        _head(port, admin_port, log_path, chain)
        + _VIRTUAL_HOST.format(name="all", domains='"*"', cluster="origin")
        + "  clusters:\n"
        + _CLUSTER.format(name="origin", port=origin_port)
        + (_HTTP2 if http2 else "")
    )


def tcp(port: int, admin_port: int, origin_port: int) -> str:
    """One listener whose bytes go to one cluster as they are."""
    return _TCP.format(port=port, admin_port=admin_port, tcp_proxy=_TCP_PROXY) + _CLUSTER.format(
        name="origin", port=origin_port
    )


def mesh_host(number: int) -> str:
    """The name under which virtual host `number` of `mesh` is called."""
    return f"svc{number}.default.svc.cluster.local"


def mesh(port: int, admin_port: int, origin_port: int, count: int) -> str:
    """`count` clusters with a virtual host each, as a sidecar in a large mesh has them."""
    hosts = (
        _VIRTUAL_HOST.format(
            name=f"vh{number}",
            domains=f'"{mesh_host(number)}", "{mesh_host(number)}:80"',
            cluster=f"cluster{number}",
        )
        for number in range(count)
    )
    clusters = (_CLUSTER.format(name=f"cluster{number}", port=origin_port) for number in range(count))
    return _head(port, admin_port, None) + "".join(hosts) + "  clusters:\n" + "".join(clusters)


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
