"""Route tables that a control plane brings (RDS): compiled once for every connection manager that names them."""

from __future__ import annotations

from envoy.config.route.v3 import route_pb2

from proxy.config.context import CompileContext
from proxy.config.resources import ResourceSource
from proxy.router.route_table import RouteTable, compile_route_table


def discovered_table(source: ResourceSource, ctx: CompileContext) -> RouteTable:
    """The table that `source` holds; one without any virtual host before it has come."""

    def compiled(value: bytes | None) -> RouteTable:
        message = route_pb2.RouteConfiguration(name=source.name)
        if value is not None:
            message.ParseFromString(value)
        # What is wrong with it was found where it was accepted.
        return compile_route_table(message, "", CompileContext(ctx.runtime, ctx.wall_clock, node=ctx.node))

    return source.made(compiled)
