"""What may be referred to by name, type by type: how one is checked before workers get it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from proxy.app.runtime_layers import read_layer
from proxy.base.errors import ConfigError
from proxy.config.context import CompileContext
from proxy.discovery.accept import examine, parse, read_message, refuse
from proxy.discovery.shapes import endpoints_shape, reduced_table
from proxy.upstream.cluster_config import Discovery
from proxy.upstream.compile_endpoints import compile_endpoints, compile_policy
from xds_client.names import normal
from xds_client.resource_types import ResourceType

#: (bytes, name, context) → the bytes for the workers; raises `ConfigError`. What it refers to is in the context.
Check = Callable[[bytes, str, CompileContext], bytes]


def _check_endpoints(body: bytes, name: str, ctx: CompileContext, fine: set[bytes]) -> bytes:
    message = parse(endpoint_pb2.ClusterLoadAssignment, body)
    shape = endpoints_shape(message) if message.cluster_name == name else None
    if shape is not None and shape in fine:
        return body
    message = read_message(endpoint_pb2.ClusterLoadAssignment, body)
    if normal(message.cluster_name) != name:
        raise ConfigError(f"Unexpected EDS cluster (expecting {name}): {message.cluster_name}")
    compile_endpoints(message, Discovery.EDS, "", ctx)
    compile_policy(message, "", ctx)
    refuse(ctx.problems)
    if shape is not None:
        fine.add(shape)
    return body


def _check_routes(body: bytes, name: str, ctx: CompileContext) -> bytes:
    from proxy.router.route_table import compile_route_table

    message = parse(route_pb2.RouteConfiguration, body)
    names_matter = message.validate_clusters.value or message.HasField("vhds")
    if message.name == name and len(message.virtual_hosts) > 1 and not names_matter:
        reduced = reduced_table(message)
        if reduced is not None and not examine(reduced).problems:
            ctx.known_clusters = None
            compile_route_table(reduced, "", ctx, eager=True)
            if not ctx.problems:
                return body
            # Now for their places in the table itself.
            ctx.problems.clear()
    message = read_message(route_pb2.RouteConfiguration, body)
    if message.name != name:
        raise ConfigError(f"Unexpected RDS configuration (expecting {name}): {message.name}")
    # Unlike routes in a listener, these may name clusters that are yet to come.
    if not message.validate_clusters.value:
        ctx.known_clusters = None
    compile_route_table(message, "", ctx, eager=True)
    refuse(ctx.problems)
    return body


def _check_secret(body: bytes, name: str, ctx: CompileContext) -> bytes:
    from proxy.app.secret_files import ReadSecret, SecretError, read_secret
    from proxy.connection.tls_secrets import SecretPlan

    message = read_message(secret_pb2.Secret, body)
    if message.name != name:
        raise ConfigError(f"Unexpected SDS secret (expecting {name}): {message.name}")
    read = ReadSecret()
    # What it has to be, says whoever refers to it.
    for kind in sorted({str(term[0]) for term in ctx.terms}) or [message.WhichOneof("type") or ""]:
        try:
            read_secret(SecretPlan("", name, kind, static=body), read)
        except SecretError as error:
            raise ConfigError(str(error)) from error
    return read.serialized


def _check_layer(body: bytes, name: str, ctx: CompileContext) -> bytes:
    del ctx
    from envoy.service.runtime.v3 import rtds_pb2

    read_message(rtds_pb2.Runtime, body)
    read_layer(body, name)
    return body


def _check_extension(body: bytes, name: str, ctx: CompileContext) -> bytes:
    from proxy.filters.discovered import check_extension

    message = read_message(extension_pb2.TypedExtensionConfig, body)
    if message.name != name:
        raise ConfigError(f"Unexpected resource name in ExtensionConfigDS response: {message.name}")
    check_extension(message, ctx)
    refuse(ctx.problems)
    return body


def _check_scopes(body: bytes, name: str, ctx: CompileContext) -> bytes:
    del name
    from proxy.router.scope_list import check_scopes

    message = read_message(http_connection_manager_pb2.ScopedRouteConfigurationsList, body)
    check_scopes(message.scoped_route_configurations, ctx)
    refuse(ctx.problems)
    return body


def _check_virtual_hosts(body: bytes, name: str, ctx: CompileContext) -> bytes:
    del name
    from proxy.router.discovered_table import joined_tables
    from proxy.router.route_table import compile_route_table

    message = read_message(route_pb2.RouteConfiguration, body)
    ctx.known_clusters = None
    for joined in joined_tables(message, ctx.terms):
        compile_route_table(joined, "", ctx, eager=True)
    refuse(ctx.problems)
    return body


CHECKS: dict[ResourceType, Check] = {
    ResourceType.EXTENSION_CONFIG: _check_extension,
    ResourceType.SCOPED_ROUTE: _check_scopes,
    ResourceType.VIRTUAL_HOST: _check_virtual_hosts,
    ResourceType.ROUTE: _check_routes,
    ResourceType.RUNTIME: _check_layer,
    ResourceType.SECRET: _check_secret,
}


def check(
    kind: ResourceType,
    body: bytes,
    name: str,
    ctx: Any,
    terms: frozenset[Any] = frozenset(),
    fine: set[bytes] | None = None,
) -> bytes:
    """Check a resource that is referred to as `name`, on these `terms`; raises `ConfigError`.

    `fine` are the shapes (see `proxy.discovery.shapes`) of what was found to be sound in the same update.
    """
    ctx.terms = terms
    if kind is ResourceType.ENDPOINT:
        return _check_endpoints(body, name, ctx, set() if fine is None else fine)
    return CHECKS[kind](body, name, ctx)
