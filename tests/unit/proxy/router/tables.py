"""Route tables and requests for the tests of this package."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf import json_format

from proxy.base.address import Address
from proxy.base.errors import Problem
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.runtime import Runtime
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.config import extensions
from proxy.config.context import CompileContext
from proxy.router.route import Route
from proxy.router.route_table import RouteTable, compile_route_table

for _name in extensions.type_names():
    if _name.startswith(
        ("envoy.extensions.filters.http.", "envoy.extensions.internal_redirect", "envoy.extensions.path")
    ):
        extensions.message_class(_name)  # reading JSON needs the types to be known


def compile_table(
    config: dict[str, Any],
    *,
    runtime: Runtime | None = None,
    clusters: Container[str] | None = None,
    eager: bool = True,
) -> tuple[RouteTable, list[Problem]]:
    """The table and its problems."""
    context = CompileContext(runtime=runtime, known_clusters=clusters)
    message = json_format.ParseDict(config, RouteConfiguration())
    return compile_route_table(message, "route_config", context, eager=eager), context.problems


def table(config: dict[str, Any], **options: Any) -> RouteTable:
    """A table that must have no problem."""
    compiled, problems = compile_table(config, **options)
    assert not problems
    return compiled


def routes(*entries: dict[str, Any], **virtual_host: Any) -> dict[str, Any]:
    """A configuration with one virtual host for every domain."""
    return {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": list(entries), **virtual_host}]}


def one(match: dict[str, Any], **action: Any) -> dict[str, Any]:
    """A configuration with one route."""
    return routes({"match": match, **(action or {"route": {"cluster": "c"}})})


def problems_of(config: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    """What is wrong with a configuration: (path below the table, reason)."""
    _, problems = compile_table(config, **options)
    return [(problem.path.removeprefix("route_config."), problem.reason) for problem in problems]


def request(
    path: str = "/", *fields: tuple[str, str], host: str = "h", method: str = "GET", scheme: str = "http"
) -> RequestHead:
    return RequestHead(method, path, host, HeaderMap([*fields, ("x-forwarded-proto", scheme)]), scheme)


def stream() -> StreamInfo:
    connection = ConnectionInfo(1, Address("10.0.0.1", 1234), Address("10.0.0.2", 80), 0.0, DrainState())
    return StreamInfo(connection, 0.0)


def route_of(
    compiled: RouteTable, head: RequestHead, info: StreamInfo | None = None, draw: int = 0
) -> Route | None:
    """The route that a request gets."""
    virtual_host = compiled.virtual_host(head.authority, head)
    if virtual_host is None:
        return None
    return virtual_host.route(head, info or stream(), lambda: draw)


def why(compiled: RouteTable, head: RequestHead, **options: Any) -> str:
    """The config path of the route that a request gets, "" for none."""
    route = route_of(compiled, head, **options)
    return route.why if route is not None else ""
