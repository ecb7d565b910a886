"""Scoped routes: which route table a request is matched with depends on a key that its headers give.

Source: `ScopedRoutes` of the connection manager and `ScopedRouteConfiguration`. A request whose key belongs to no
scope has no route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from envoy.config.core.v3 import config_source_pb2
from msgspec import Struct

from proxy.base.messages import RequestHead
from proxy.base.stat_names import stat_name
from proxy.config.context import CompileContext
from proxy.config.resources import DEMANDED, ResourceSource
from proxy.router.rewrite import first_value
from proxy.router.route_table import RouteTable, compile_route_table
from xds_client.api import WILDCARD
from xds_client.resource_types import ResourceType

ScopeKey = tuple[str, ...]

#: Gives one part of the key, None if the request lacks it.
Extractor = Callable[[RequestHead], str | None]

ROUTES: Final = "routes"


class ScopeKeyBuilder(Struct, frozen=True):
    """`ScopeKeyBuilder`: what of the headers makes the key."""

    extractors: tuple[Extractor, ...]

    def key(self, head: RequestHead) -> ScopeKey | None:
        """The key of a request, None if a part of it is missing."""
        parts = []
        for extract in self.extractors:
            part = extract(head)
            if part is None:
                return None
            parts.append(part)
        return tuple(parts)


class ScopedRoutes(Struct, frozen=True):
    """Compiled `ScopedRoutes`: the tables that stand in the listener, or `source`, which lists the scopes.

    `rds_source` is the serialised `core.v3.ConfigSource` of the route tables that listed scopes name.
    """

    builder: ScopeKeyBuilder
    tables: dict[ScopeKey, RouteTable]
    source: ResourceSource | None = None
    rds_source: bytes = b""


def compile_scoped_routes(message: Any, path: str, stat_prefix: str, ctx: CompileContext) -> ScopedRoutes:
    """Compile a `ScopedRoutes` of a connection manager with that prefix ("http.ingress.")."""
    fragments = message.scope_key_builder.fragments
    builder = ScopeKeyBuilder(
        tuple(
            _extractor(
                fragment.header_value_extractor,
                f"{path}.scope_key_builder.fragments[{index}].header_value_extractor",
                ctx,
            )
            for index, fragment in enumerate(fragments)
        )
    )
    if message.WhichOneof("config_specifier") == "scoped_route_configurations_list":
        scopes = message.scoped_route_configurations_list.scoped_route_configurations
        at = f"{path}.scoped_route_configurations_list.scoped_route_configurations"
        return ScopedRoutes(builder, _inline_tables(scopes, at, ctx))
    scoped_rds = message.scoped_rds
    rds_source = message.rds_config_source.SerializeToString(deterministic=True)
    source = ctx.resources.want(
        ResourceType.SCOPED_ROUTE,
        WILDCARD,
        scoped_rds.scoped_rds_config_source,
        f"{path}.scoped_rds.scoped_rds_config_source",
        ctx,
        f"{stat_prefix}scoped_rds.{stat_name(message.name)}.",
        terms=frozenset([(ROUTES, rds_source, stat_prefix)]),
    )
    return ScopedRoutes(builder, {}, source, rds_source)


def _inline_tables(scopes: Iterable[Any], path: str, ctx: CompileContext) -> dict[ScopeKey, RouteTable]:
    tables: dict[ScopeKey, RouteTable] = {}
    for index, scope in enumerate(scopes):
        at = f"{path}[{index}]"
        if scope.route_configuration_name:
            ctx.problem(
                f"{at}.route_configuration_name",
                "Fetching routes via RDS (route_configuration_name) is not supported with inline scoped routes.",
            )
        if not scope.HasField("route_configuration"):
            ctx.problem(
                f"{at}.route_configuration",
                "You must specify a route_configuration with inline scoped routes.",
            )
        table = compile_route_table(
            scope.route_configuration, f"{at}.route_configuration", ctx, eager=ctx.eager
        )
        tables[scope_key(scope)] = table
    return tables


def scope_key(scope: Any) -> ScopeKey:
    """The key of a `ScopedRouteConfiguration`."""
    return tuple(fragment.string_key for fragment in scope.key.fragments)


def check_scopes(scopes: Iterable[Any], ctx: CompileContext) -> None:
    """Check discovered scopes together, and ask for the route tables that they name.

    `ctx.terms` say where from: (`ROUTES`, serialised source, stat prefix) for each connection manager, and which
    on-demand scopes have been demanded.
    """
    known: dict[ScopeKey, str] = {}
    for scope in scopes:
        if not scope.route_configuration_name:
            ctx.problem("", "route_configuration_name is empty.")
        if scope.HasField("route_configuration"):
            ctx.problem("route_configuration", "is for scopes that stand in the listener")
        first = known.setdefault(scope_key(scope), scope.name)
        if first != scope.name:
            ctx.problem(
                "",
                "Error adding/updating scoped route(s): scope key conflict found, first scope is "
                f"'{first}', second scope is '{scope.name}'",
            )
        if scope.on_demand and (DEMANDED, scope.name) not in ctx.terms:
            continue
        for term in ctx.terms:
            if term[0] == ROUTES:
                _want_routes(scope.route_configuration_name, term[1], term[2], ctx)


def _want_routes(name: str, source: bytes, stat_prefix: str, ctx: CompileContext) -> None:
    message = config_source_pb2.ConfigSource.FromString(source)
    prefix = f"{stat_prefix}rds.{stat_name(name)}."
    ctx.resources.want(ResourceType.ROUTE, name, message, "rds_config_source", ctx, prefix)


def _extractor(message: Any, path: str, ctx: CompileContext) -> Extractor:
    """Compile a `HeaderValueExtractor`. Of several headers of the name the first counts."""
    name = message.name.lower()
    separator = message.element_separator
    if message.WhichOneof("extract_type") == "element":
        element = message.element
        return _element_extractor(name, separator, element.separator, element.key)
    if message.WhichOneof("extract_type") is None:
        ctx.problem(path, "HeaderValueExtractor extract_type not set")
    index = message.index
    if index and not separator:
        ctx.problem(f"{path}.index", "Index > 0 for empty string element separator.")
    if not separator:
        return lambda head: first_value(head, name)

    def part(head: RequestHead) -> str | None:
        value = first_value(head, name)
        if value is None:
            return None
        elements = value.split(separator)
        return elements[index] if index < len(elements) else None

    return part


def _element_extractor(name: str, separator: str, between: str, key: str) -> Extractor:
    def part(head: RequestHead) -> str | None:
        value = first_value(head, name)
        if value is None:
            return None
        for element in value.split(separator) if separator else (value,):
            found, _, rest = element.partition(between)
            if found == key:
                return rest
        return None

    return part
