"""Short ways to write the bootstrap of an HTTP front proxy, as dictionaries that a test may edit further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

TYPE = "type.googleapis.com/"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
FILE_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"


def typed(type_name: str, **fields: Any) -> Json:
    """A message packed into an Any."""
    return {"@type": TYPE + type_name, **fields}


def address(port: str | int, host: str = "127.0.0.1") -> Json:
    """An Address message."""
    return {"socket_address": {"address": host, "port_value": port}}


def route(cluster: str = "origin", prefix: str = "/", **action: Any) -> Json:
    """A route by prefix to a cluster; further fields go to the RouteAction."""
    return {"match": {"prefix": prefix}, "route": {"cluster": cluster, **action}}


def virtual_host(routes: Sequence[Json], domains: Sequence[str] = ("*",), **fields: Any) -> Json:
    """A virtual host named after its first domain."""
    return {"name": domains[0], "domains": list(domains), "routes": list(routes), **fields}


def cluster(name: str = "origin", *ports: str | int, **fields: Any) -> Json:
    """A STATIC cluster with one endpoint per port; without ports, the origin called `name` of the pair."""
    endpoints = [{"endpoint": {"address": address(port)}} for port in ports or [f"{{{{{name}_port}}}}"]]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        **fields,
    }


def http2_cluster(
    name: str = "origin",
    *ports: str | int,
    http2: Mapping[str, Any] | None = None,
    common: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Json:
    """A cluster that speaks HTTP/2 by prior knowledge; `http2` are its Http2ProtocolOptions."""
    options = typed(HTTP_OPTIONS, explicit_http_config={"http2_protocol_options": dict(http2 or {})})
    if common:
        options["common_http_protocol_options"] = dict(common)
    return cluster(name, *ports, typed_extension_protocol_options={HTTP_OPTIONS: options}, **fields)


def file_log(text: str, name: str = "access_log") -> Json:
    """An access log with a text format; `{{access_log}}` is a file in the proxy's own directory."""
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": typed(
            FILE_LOG,
            path=f"{{{{{name}}}}}",
            log_format={"text_format_source": {"inline_string": text + "\n"}},
        ),
    }


def connection_manager(route_config: Mapping[str, Any], **fields: Any) -> Json:
    """The network filter; `fields` are added to the HttpConnectionManager message or replace a default."""
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed(
            HCM,
            **{
                "stat_prefix": "ingress",
                "route_config": dict(route_config),
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": typed(ROUTER)}],
                **fields,
            },
        ),
    }


def listener(filters: Sequence[Json], name: str = "listener", **fields: Any) -> Json:
    """A listener on `{{<name>_port}}` with one filter chain."""
    return {
        "name": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "filter_chains": [{"filters": list(filters)}],
        **fields,
    }


def bootstrap(listeners: Sequence[Json], clusters: Sequence[Json] = (), **fields: Any) -> Json:
    """A bootstrap with an admin listener."""
    return {
        "admin": {"address": address("{{admin_port}}")},
        "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
        **fields,
    }


def http_proxy(
    *,
    routes: Sequence[Json] | None = None,
    virtual_hosts: Sequence[Json] | None = None,
    route_config: Mapping[str, Any] | None = None,
    hcm: Mapping[str, Any] | None = None,
    listener_fields: Mapping[str, Any] | None = None,
    clusters: Sequence[Json] | None = None,
    **fields: Any,
) -> Json:
    """One listener with an HTTP connection manager.

    Everything goes to cluster `origin` unless `routes` (of one `*` host) or `virtual_hosts` say otherwise;
    `route_config`, `hcm`, `listener_fields` and `fields` (bootstrap) add to or replace the defaults.
    """
    hosts = list(virtual_hosts) if virtual_hosts is not None else [virtual_host(routes or [route()])]
    table = {"name": "local", "virtual_hosts": hosts, **(route_config or {})}
    return bootstrap(
        [listener([connection_manager(table, **(hcm or {}))], **(listener_fields or {}))],
        clusters if clusters is not None else [cluster()],
        **fields,
    )
