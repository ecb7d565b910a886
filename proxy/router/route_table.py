"""A route table: finds the virtual host of an authority. Virtual hosts are compiled when first used."""

from __future__ import annotations

from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2, route_pb2

from proxy.base.matchers import ascii_lower
from proxy.base.messages import RequestHead
from proxy.base.regex import wire_text
from proxy.base.stat_names import stat_name
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceSource
from proxy.router.direct_response import DEFAULT_MAX_BODY
from proxy.router.domain_index import DomainIndex
from proxy.router.header_operations import compile_level
from proxy.router.mirror_policy import compile_mirror_policies
from proxy.router.paths import port_start
from proxy.router.per_filter_config import compile_overrides
from proxy.router.rewrite import first_value
from proxy.router.table_parts import HostPart, TableParts
from proxy.router.virtual_host import TableFacts, VirtualHost
from xds_client.resource_types import ResourceType

_REQUEST_ID: Final = b"x-request-id"
_DELTA_GRPC: Final = 3  # core.v3.ApiConfigSource.ApiType


class RouteTable:
    """A compiled `RouteConfiguration`.

    Keeps the message, because a mesh's table has thousands of virtual hosts of which a workload uses few.
    `virtual_host_header` is the lower-case name of the header to look at, "" for the authority.
    `internal_only_headers` are lower-case names to strip from external requests. `reads_ids` tells whether anything
    in it looks at x-request-id, so that it has to be among the fields. `vhds` is where further virtual hosts come
    from, on demand, and `joined` the table with those of the version that stands before it; see `discovered_table`.
    """

    __slots__ = (
        "_compiled",
        "_context",
        "_facts",
        "_ignore_port",
        "_index",
        "_message",
        "_only",
        "_ready",
        "internal_only_headers",
        "joined",
        "metadata",
        "name",
        "reads_ids",
        "vhds",
        "virtual_host_header",
    )

    def __init__(
        self, message: Any, facts: TableFacts, context: CompileContext, reads_ids: bool | None = None
    ) -> None:
        self.name: Final[str] = message.name
        self.virtual_host_header: Final[str] = message.vhost_header.lower()
        self.internal_only_headers = tuple(name.lower() for name in message.internal_only_headers)
        self.metadata = message.metadata if message.HasField("metadata") else None
        if reads_ids is None:
            reads_ids = _REQUEST_ID in message.SerializeToString().lower()
        self.reads_ids: Final[bool] = reads_ids
        self.vhds: ResourceSource | None = None
        self.joined: tuple[int, RouteTable] | None = None
        self._message = message
        self._facts = facts
        self._context = context
        self._ignore_port: Final[bool] = message.ignore_port_in_host_matching
        self._compiled: dict[int, VirtualHost] = {}
        self._ready: dict[str, VirtualHost] = {}
        self._only: VirtualHost | None = None
        self._index = DomainIndex()

    def virtual_host(self, authority: str, head: RequestHead | None = None) -> VirtualHost | None:
        """The virtual host for an authority as it came, or None.

        Exact domains first, then the longest suffix wildcard, the longest prefix wildcard, and `*`.
        `head` is needed for tables with a `virtual_host_header`.
        """
        if self.virtual_host_header and head is not None and self._only is None:
            value = first_value(head, self.virtual_host_header)
            if value is None and self._index.any:
                return None
            authority = value or ""
        found = self._ready.get(authority, self._only)
        if found is not None:
            return found
        place = self._find(authority)
        if place is None:
            return None
        found = self._compiled_at(place)
        if not self._index.any:
            self._only = found
        elif authority in self._index.exact and not self._ignore_port:
            # Bounded by the number of configured domains.
            self._ready[authority] = found
        return found

    def joined_with(self, virtual_hosts: Any, ctx: CompileContext) -> RouteTable:
        """This table with virtual hosts behind its own."""
        joined = type(self._message)()
        joined.CopyFrom(self._message)
        joined.ClearField("vhds")
        joined.virtual_hosts.extend(virtual_hosts)
        table = compile_route_table(joined, "", ctx)
        table.vhds = self.vhds
        return table

    def _find(self, authority: str) -> Any:
        """What the index has for an authority."""
        host = authority.lower() if authority.isascii() else ascii_lower(authority)
        if self._ignore_port:
            start = port_start(host)
            if start >= 0:
                host = host[:start]
        return self._index.find(host)

    def _compiled_at(self, place: Any) -> VirtualHost:
        """The virtual host that the index names."""
        found = self._compiled.get(place)
        return self._compile(place, self._context) if found is None else found

    def _compile(self, index: int, context: CompileContext) -> VirtualHost:
        virtual_host = VirtualHost(self._message.virtual_hosts[index], index, self._facts, context)
        self._compiled[index] = virtual_host
        return virtual_host

    def compile_all(self, context: CompileContext) -> None:
        """Compile every virtual host, so that `context` gets every problem."""
        for index in range(len(self._message.virtual_hosts)):
            self._compile(index, context)

    def index_domains(self, path: str, context: CompileContext) -> None:
        """Read the domains of all virtual hosts; a domain that comes twice is a problem."""
        for index, virtual_host in enumerate(self._message.virtual_hosts):
            for position, text in enumerate(virtual_host.domains):
                domain = ascii_lower(wire_text(text))
                if self._index.add(domain, index):
                    context.problem(
                        f"{path}virtual_hosts[{index}].domains[{position}]", _duplicate(domain, self.name)
                    )


class PartedTable(RouteTable):
    """A table whose virtual hosts are `TableParts`."""

    __slots__ = ()

    def __init__(self, message: Any, facts: TableFacts, context: CompileContext, parts: TableParts) -> None:
        super().__init__(message, facts, context, parts.reads_ids)
        self._index = parts.index

    def _compiled_at(self, place: HostPart) -> VirtualHost:
        if place.facts is not self._facts:
            message = route_components_pb2.VirtualHost.FromString(place.serialized)
            place.compiled = VirtualHost(message, message.name, self._facts, self._context)
            place.facts = self._facts
        found: VirtualHost = place.compiled
        return found


def _duplicate(domain: str, table: str) -> str:
    if domain == "*":
        return f"Only a single wildcard domain is permitted in route {table}"
    return (
        f"Only unique values for domains are permitted. Duplicate entry of domain {domain} in route {table}"
    )


def compile_route_table(message: Any, path: str, ctx: CompileContext, *, eager: bool = False) -> RouteTable:
    """Compile an `envoy.config.route.v3.RouteConfiguration`; `path` is where it stands, "" for a resource.

    Only the domains and what concerns the whole table are looked at, unless `eager` compiles every virtual
    host for validation. Cluster names are checked against `ctx.known_clusters` unless `validate_clusters` is
    false.
    """
    facts = _facts(message, path, ctx)
    table = RouteTable(message, facts, _silent(ctx))
    if message.HasField("vhds"):
        table.vhds = _vhds(message, path, ctx)
    table.index_domains(_join(path, ""), ctx)
    if eager:
        table.compile_all(ctx)
    return table


def _silent(ctx: CompileContext) -> CompileContext:
    """One for what is compiled at first use: what is wrong with it has been found before."""
    return CompileContext(ctx.runtime, ctx.wall_clock, node=ctx.node, owner=ctx.owner)


def parted_table(parts: TableParts, ctx: CompileContext) -> RouteTable:
    """The table that is in parts; what is compiled of a virtual host stays with its part."""
    message = route_pb2.RouteConfiguration.FromString(parts.head)
    if parts.facts is None:
        parts.facts = _facts(message, "", ctx)
    return PartedTable(message, parts.facts, ctx, parts)


def _facts(message: Any, path: str, ctx: CompileContext) -> TableFacts:
    for index, _ in enumerate(message.cluster_specifier_plugins):
        field = _join(path, f"cluster_specifier_plugins[{index}]")
        ctx.problem(field, "cluster specifier plugins are not supported")
    checked = not message.HasField("validate_clusters") or message.validate_clusters.value
    known_clusters = ctx.known_clusters if checked else None
    return TableFacts(
        _join(path, ""),
        compile_level(message, path, ctx),
        message.most_specific_header_mutations_wins,
        compile_overrides(message, path, ctx),
        compile_mirror_policies(
            message.request_mirror_policies, _join(path, "request_mirror_policies"), ctx, known_clusters
        ),
        message.ignore_path_parameters_in_path_matching,
        message.max_direct_response_body_size_bytes.value
        if message.HasField("max_direct_response_body_size_bytes")
        else DEFAULT_MAX_BODY,
        known_clusters,
    )


def _vhds(message: Any, path: str, ctx: CompileContext) -> ResourceSource | None:
    config_source = message.vhds.config_source
    which = config_source.WhichOneof("config_source_specifier")
    at = _join(path, "vhds")
    if path:
        ctx.problem(at, "on-demand virtual hosts belong to discovered route tables (rds)")
        return None
    if which != "ads" and config_source.api_config_source.api_type != _DELTA_GRPC:
        ctx.problem(
            at, "vhds: only 'DELTA_GRPC' or 'ADS' (which uses Delta xDS) is supported as a config source."
        )
    return ctx.resources.want(
        ResourceType.VIRTUAL_HOST,
        message.name,
        config_source,
        f"{at}.config_source",
        ctx,
        f"{ctx.stat_prefix.removesuffix(f'{stat_name(message.name)}.')}vhds.{stat_name(message.name)}.",
        terms=frozenset([(message.SerializeToString(),)]),
    )


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
