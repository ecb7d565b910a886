"""Finding the route of a request: virtual host by domain, then the table of routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from envoy.config.route.v3.route_pb2 import RouteConfiguration

from bench.micro.timing import microseconds
from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.config.context import CompileContext
from proxy.router.route_table import RouteTable, compile_route_table

_COUNT: Final = 1000
_SCHEME: Final = ("x-forwarded-proto", "http")


def _route(kind: str, number: int) -> dict[str, Any]:
    matches: dict[str, dict[str, Any]] = {
        "prefix": {"prefix": f"/service-{number}/"},
        "path": {"path": f"/service-{number}"},
        "regex": {"safe_regex": {"regex": f"/service-{number}/[0-9]+"}},
        "header": {
            "prefix": "/",
            "headers": [{"name": "x-tenant", "string_match": {"exact": f"tenant-{number}"}}],
        },
    }
    return {"match": matches[kind], "route": {"cluster": "c"}}


def _table(routes: list[dict[str, Any]], hosts: int = 1) -> RouteTable:
    from google.protobuf import json_format

    config = {
        "virtual_hosts": [
            {"name": f"v{number}", "domains": [f"svc{number}.mesh", f"svc{number}.mesh:80"], "routes": routes}
            for number in range(hosts)
        ]
    }
    context = CompileContext()
    message = json_format.ParseDict(config, RouteConfiguration())
    table = compile_route_table(message, "", context, eager=True)
    assert not context.problems
    return table


def _lookup(table: RouteTable, paths: list[str], authority: str) -> Callable[[], object]:
    """The route of a different path each time; the request is new each time, as on the wire."""
    connection = ConnectionInfo(1, Address("10.0.0.1", 1234), Address("10.0.0.2", 80), 0.0, DrainState())
    fields = [_SCHEME, ("x-tenant", f"tenant-{_COUNT - 1}")]
    turns = 0

    def run() -> object:
        nonlocal turns
        turns += 1
        head = RequestHead("GET", paths[turns % len(paths)], authority, HeaderMap(fields), "http")
        host = table.virtual_host(authority, head)
        assert host is not None
        return host.route(head, StreamInfo(connection, 0.0), lambda: 0)

    assert run() is not None
    return run


def figures() -> dict[str, float]:
    """Microseconds from a new request head to its route: one route, and the last 100 of 1,000 of a kind."""
    cases = {"us_one_route": _lookup(_table([_route("prefix", 0)]), ["/service-0/"], "svc0.mesh")}
    shapes = {"prefix": "/service-{}/x", "path": "/service-{}", "regex": "/service-{}/17", "header": "/{}"}
    for kind, shape in shapes.items():
        paths = [shape.format(number) for number in range(_COUNT - 100, _COUNT)]
        table = _table([_route(kind, number) for number in range(_COUNT)])
        cases[f"us_1000_{kind}"] = _lookup(table, paths, "svc0.mesh")
    many = _table([_route("prefix", 0)], hosts=10_000)
    cases["us_10000_virtual_hosts"] = _lookup(many, ["/service-0/"], "svc9999.mesh:80")
    return microseconds(cases)
