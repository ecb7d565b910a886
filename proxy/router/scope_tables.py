"""The scopes of a connection manager as they are now, in a worker."""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from proxy.base.messages import RequestHead
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceSource, ResourceUser
from proxy.router.discovered_table import discovered_table
from proxy.router.route_table import RouteTable
from proxy.router.scope_list import ScopedRoutes, ScopeKey, scope_key
from xds_client.resource_types import ResourceType


class ScopeTables:
    """Finds the route table of a request. `user` hears of every change, and makes another of these then."""

    def __init__(self, config: ScopedRoutes, user: ResourceUser, ctx: CompileContext) -> None:
        self._key = config.builder.key
        self._source = config.source
        self._user = user
        self._ctx = ctx
        self._tables: dict[ScopeKey, RouteTable] = dict(config.tables)
        #: Scopes whose tables were not asked for yet: name and source.
        self._listed: dict[ScopeKey, tuple[str, ResourceSource]] = {}
        if config.source is not None:
            for scope in config.source.made(_read).scoped_route_configurations:
                name = scope.route_configuration_name
                key = ctx.resources.key(ResourceType.ROUTE, name, config.rds_source)
                source = ctx.resources.source(key)
                source.tell(user)
                self._listed[scope_key(scope)] = (scope.name, source)

    def table(self, head: RequestHead) -> RouteTable | None:
        """The table for a request, None if it belongs to no scope or the scope has no table yet."""
        key = self._key(head)
        if key is None:
            return None
        table = self._tables.get(key)
        if table is None and (listed := self._listed.get(key)) is not None and listed[1].value is not None:
            table = self._tables[key] = discovered_table(listed[1], self._ctx)
            if table.vhds is not None:
                table.vhds.tell(self._user)
        return table

    def demand(self, head: RequestHead) -> tuple[str, str] | None:
        """The resource and the part of it that would give the request a table: see `Demands`."""
        key = self._key(head)
        listed = None if key is None else self._listed.get(key)
        if listed is None or self._source is None:
            return None
        return self._source.key, listed[0]


def _read(value: bytes | None) -> Any:
    return http_connection_manager_pb2.ScopedRouteConfigurationsList.FromString(value or b"")
