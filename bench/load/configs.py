"""The bootstraps that benchmarks run, written as text because the large one has ten thousand clusters."""

from __future__ import annotations

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
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
    - filters:
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


def _head(port: int, admin_port: int, log_path: str | None) -> str:
    access_log = _ACCESS_LOG.format(type=_FILE_LOG, path=log_path) if log_path else ""
    return _HEAD.format(port=port, admin_port=admin_port, hcm=_HCM, router=_ROUTER, access_log=access_log)


def small(port: int, admin_port: int, origin_port: int, log_path: str | None = None) -> str:
    """One listener, one cluster; with `log_path`, Envoy's default text access log to that file."""
    return (
        _head(port, admin_port, log_path)
        + _VIRTUAL_HOST.format(name="all", domains='"*"', cluster="origin")
        + "  clusters:\n"
        + _CLUSTER.format(name="origin", port=origin_port)
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
