"""Route tables that a control plane brings (RDS): compiled once for every connection manager that names them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from envoy.config.route.v3 import route_pb2

from proxy.config.context import CompileContext
from proxy.config.resources import ResourceSource
from proxy.router.route_table import RouteTable, compile_route_table, parted_table
from proxy.router.table_parts import TableParts


def discovered_table(source: ResourceSource, ctx: CompileContext) -> RouteTable:
    """The table that `source` holds; one without any virtual host before it has come.

    Virtual hosts that have come on demand (VHDS) stand behind its own.
    """

    def fresh() -> CompileContext:
        # What is wrong with it was found where it was accepted.
        return CompileContext(
            ctx.runtime,
            ctx.wall_clock,
            node=ctx.node,
            resources=ctx.resources,
            owner=f"route table {source.name}",
        )

    def compiled(value: bytes | TableParts | None) -> RouteTable:
        if isinstance(value, TableParts):
            return parted_table(value, fresh())
        message = route_pb2.RouteConfiguration(name=source.name)
        if value is not None:
            message.ParseFromString(value)
        return compile_route_table(message, "", fresh())

    table = source.made(compiled)
    hosts = table.vhds
    if hosts is None or hosts.value is None:
        return table
    if table.joined is None or table.joined[0] != hosts.version:
        virtual_hosts = route_pb2.RouteConfiguration.FromString(hosts.value).virtual_hosts
        table.joined = (hosts.version, table.joined_with(virtual_hosts, fresh()))
    return table.joined[1]


def joined_tables(hosts: Any, terms: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """The tables that virtual hosts on demand are for, with them; `terms` hold each as it came.

    `hosts` is a `RouteConfiguration` that has the virtual hosts.
    """
    for (serialized,) in terms:
        table = route_pb2.RouteConfiguration.FromString(serialized)
        table.ClearField("vhds")
        table.virtual_hosts.extend(hosts.virtual_hosts)
        yield table
