"""`/config_dump`: the accepted configuration as `envoy.admin.v3.ConfigDump`, secrets hidden."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from envoy.admin.v3 import config_dump_pb2, config_dump_shared_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import field_mask_pb2
from google.protobuf.message import DecodeError, Message

from proxy.admin.discovered import Refusal
from proxy.admin.endpoints_dump import endpoint_configs
from proxy.admin.http import (
    JSON,
    PLAIN,
    AdminRequest,
    AdminResponse,
    BadParameterError,
    from_pieces,
    searchable,
)
from proxy.admin.json_pieces import list_pieces, message_pieces, object_pieces
from proxy.admin.redact import known_class, redact
from proxy.admin.route_tables import inline_route_tables, scoped_route_lists
from proxy.admin.state import AdminState, ClusterStatus, ConfigResource
from proxy.config.extensions import TYPE_URL_PREFIX
from xds_client.api import ClientStatus
from xds_client.resource_types import ResourceType

Keep = Callable[[str], bool]

#: Repeated field → (section message, element message, field of the element that holds the resource).
_FIELDS: Final = {
    "static_clusters": ("ClustersConfigDump", "StaticCluster", "cluster"),
    "dynamic_active_clusters": ("ClustersConfigDump", "DynamicCluster", "cluster"),
    "dynamic_warming_clusters": ("ClustersConfigDump", "DynamicCluster", "cluster"),
    "ecds_filters": ("EcdsConfigDump", "EcdsFilterConfig", "ecds_filter"),
    "static_endpoint_configs": ("EndpointsConfigDump", "StaticEndpointConfig", "endpoint_config"),
    "dynamic_endpoint_configs": ("EndpointsConfigDump", "DynamicEndpointConfig", "endpoint_config"),
    "static_listeners": ("ListenersConfigDump", "StaticListener", "listener"),
    "dynamic_listeners": ("ListenersConfigDump", "DynamicListener", "active_state"),
    "static_route_configs": ("RoutesConfigDump", "StaticRouteConfig", "route_config"),
    "dynamic_route_configs": ("RoutesConfigDump", "DynamicRouteConfig", "route_config"),
    "static_secrets": ("SecretsConfigDump", "StaticSecret", "secret"),
    "dynamic_active_secrets": ("SecretsConfigDump", "DynamicSecret", "secret"),
    "dynamic_warming_secrets": ("SecretsConfigDump", "DynamicSecret", "secret"),
    "dynamic_scoped_route_configs": (
        "ScopedRoutesConfigDump", "DynamicScopedRouteConfigs", "scoped_route_configs"
    ),
}  # fmt: skip

#: Sections in the order of Envoy's dump.
_SECTIONS: Final = (
    "ClustersConfigDump",
    "EcdsConfigDump",
    "EndpointsConfigDump",
    "ListenersConfigDump",
    "ScopedRoutesConfigDump",
    "RoutesConfigDump",
    "SecretsConfigDump",
)

#: Sections that say which version of their whole list is in use.
_LISTED: Final = {
    "ClustersConfigDump": ResourceType.CLUSTER,
    "ListenersConfigDump": ResourceType.LISTENER,
}

_TYPES: Final = {
    "ecds_filter": "envoy.config.core.v3.TypedExtensionConfig",
    "scoped_route_configs": "envoy.config.route.v3.ScopedRouteConfiguration",
    "cluster": "envoy.config.cluster.v3.Cluster",
    "listener": "envoy.config.listener.v3.Listener",
    "route_config": "envoy.config.route.v3.RouteConfiguration",
    "secret": "envoy.extensions.transport_sockets.tls.v3.Secret",
    "endpoint_config": "envoy.config.endpoint.v3.ClusterLoadAssignment",
}


def section_class(name: str) -> Any:
    """A message class of `envoy.admin.v3` by short name, from whichever module holds it."""
    return getattr(config_dump_shared_pb2, name, None) or getattr(config_dump_pb2, name)


async def config_dump(request: AdminRequest, state: AdminState) -> AdminResponse:
    """Answers `resource`, `mask`, `name_regex` and `include_eds` as Envoy does."""
    regex = request.regex(
        "name_regex", "INVALID_ARGUMENT: Error while parsing {name} from {pattern}: {error}", PLAIN
    )
    keep: Keep = _everything if regex is None else lambda name: regex.full_match(searchable(name))
    clusters = list(await state.cluster_statuses()) if request.flag("include_eds") else []
    mask = request.parameters.get("mask") or None
    resource = request.parameters.get("resource") or None
    dump = _Dump(state, keep, clusters, request.flag("include_eds"))
    configs: Iterator[Iterable[str]]
    if resource is not None:
        if resource == "bootstrap":
            return AdminResponse(
                f"{resource} is not a repeated field. Use ?mask={resource} to get only this field", 400, PLAIN
            )
        if resource not in _FIELDS or (resource.endswith("endpoint_configs") and not dump.include_eds):
            return AdminResponse(
                f"{resource} not found in config dump; there are: {', '.join(sorted(_FIELDS))}", 404, PLAIN
            )
        configs = dump.elements(resource, mask)
    elif mask is not None:
        configs = iter(dump.masked_sections(mask))
    else:
        configs = dump.sections()
    first = next(configs, None)
    fields = [] if first is None else [("configs", list_pieces(_chain(first, configs), 1))]
    pieces = _with_end(object_pieces(fields, 0))
    # A mask may turn out wrong inside any element, which must show before the answer begins.
    return AdminResponse(from_pieces(list(pieces) if mask else pieces), content_type=JSON)


def _everything(_name: str) -> bool:
    return True


def _with_end(pieces: Iterator[str]) -> Iterator[str]:
    yield from pieces
    yield "\n"


class _Dump:
    """One dump; every method yields JSON values in pieces, at the depth of an element of `configs`."""

    def __init__(
        self, state: AdminState, keep: Keep, clusters: Iterable[ClusterStatus], include_eds: bool
    ) -> None:
        self._state = state
        self._keep = keep
        self._clusters = clusters
        self.include_eds = include_eds

    def sections(self) -> Iterator[Iterable[str]]:
        """The bootstrap and every section, one resource after the other."""
        yield message_pieces(
            self._bootstrap(), 2, redact, TYPE_URL_PREFIX + "envoy.admin.v3.BootstrapConfigDump"
        )
        for section in _SECTIONS:
            if self._shown(section):
                yield object_pieces(self._section_fields(section), 2)

    def _section_fields(self, section: str) -> Iterator[tuple[str, Iterable[str]]]:
        yield "@type", [f'"{TYPE_URL_PREFIX}envoy.admin.v3.{section}"']
        version = self._version(section)
        if version:
            yield "version_info", [json.dumps(version)]
        for field, (owner, _, _) in _FIELDS.items():
            if owner == section:
                elements = self._messages(field)
                first = next(elements, None)
                if first is not None:
                    yield (
                        field,
                        list_pieces(
                            (message_pieces(element, 4, redact) for element in _chain(first, elements)), 3
                        ),
                    )

    def elements(self, field: str, mask: str | None) -> Iterator[Iterable[str]]:
        """The elements of one repeated field, cut down to the mask."""
        owner, element_name, _ = _FIELDS[field]
        type_url = f"{TYPE_URL_PREFIX}envoy.admin.v3.{owner}.{element_name}"
        for element in self._messages(field):
            if mask is not None:
                _trim_element(element, mask)
            yield message_pieces(element, 2, redact, type_url)

    def masked_sections(self, mask: str) -> list[list[str]]:
        """Whole sections under a field mask; raises `BadParameterError` if it fits none."""
        result = []
        for name in ("BootstrapConfigDump", *_SECTIONS):
            if not self._shown(name):
                continue
            field_mask = _mask_for(section_class(name).DESCRIPTOR, mask)
            if field_mask is None:
                continue
            section = self._bootstrap() if name == "BootstrapConfigDump" else self._section(name)
            trimmed = type(section)()
            field_mask.MergeMessage(section, trimmed, True, True)
            result.append([*message_pieces(trimmed, 2, redact, f"{TYPE_URL_PREFIX}envoy.admin.v3.{name}")])
        if not result:
            raise BadParameterError(
                f"FieldMask {mask} could not be successfully applied to any configs.", PLAIN
            )
        return result

    def _section(self, name: str) -> Any:
        section = section_class(name)()
        if name in _LISTED:
            section.version_info = self._version(name)
        for field, (owner, _, _) in _FIELDS.items():
            if owner == name:
                getattr(section, field).extend(self._messages(field))
        return section

    def _bootstrap(self) -> Any:
        serialized, loaded_at = self._state.bootstrap()
        dump = config_dump_pb2.BootstrapConfigDump()
        dump.bootstrap.ParseFromString(serialized)
        _set_time(dump, loaded_at)
        return dump

    def _shown(self, section: str) -> bool:
        if section == "EcdsConfigDump":
            return any(True for _ in self._state.resources("extensions"))
        return section != "EndpointsConfigDump" or self.include_eds

    def _version(self, section: str) -> str:
        kind = _LISTED.get(section)
        return "" if kind is None else self._state.section_version(kind)

    def _messages(self, field: str) -> Iterator[Any]:
        owner, element_name, inner = _FIELDS[field]
        element_class = getattr(section_class(owner), element_name)
        dynamic = not field.startswith("static")
        for resource in self._resources(owner):
            if resource.dynamic != dynamic or not self._keep(resource.name):
                continue
            if inner == "active_state":
                yield _listener_element(element_class(), resource)
            elif inner == "scoped_route_configs":
                yield _scopes_element(element_class(), resource)
            elif "_warming_" in field:
                if resource.pending is not None:
                    yield _element(element_class(), inner, resource.pending, resource.refusal)
                elif not resource.serialized and resource.refusal is not None:
                    yield _element(element_class(), inner, resource, resource.refusal)
            elif resource.serialized:
                yield _element(element_class(), inner, resource, resource.refusal)

    def _resources(self, owner: str) -> Iterable[ConfigResource]:
        match owner:
            case "ClustersConfigDump":
                return self._state.resources("clusters")
            case "ListenersConfigDump":
                return self._state.resources("listeners")
            case "SecretsConfigDump":
                return self._state.resources("secrets")
            case "EcdsConfigDump":
                return self._state.resources("extensions")
            case "ScopedRoutesConfigDump":
                return scoped_route_lists(self._state)
            case "EndpointsConfigDump":
                return endpoint_configs(self._clusters, self._state.resources("endpoints"))
            case _:
                return _chain_all(inline_route_tables(self._state), self._state.resources("routes"))


def _chain(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _chain_all(*parts: Iterable[ConfigResource]) -> Iterator[ConfigResource]:
    for part in parts:
        yield from part


def _element(element: Any, inner: str, resource: ConfigResource, refusal: Refusal | None) -> Any:
    fields = element.DESCRIPTOR.fields_by_name
    if resource.serialized:
        _set_body(getattr(element, inner), inner, resource.serialized)
    if "name" in fields:
        element.name = resource.name
    _set_facts(element, resource)
    if "error_state" in fields:
        _set_state(element, inner, resource, refusal)
    return element


def _listener_element(element: Any, resource: ConfigResource) -> Any:
    """A listener in all its states. Those of the bootstrap have one only."""
    if not resource.dynamic:
        return _element(element, "listener", resource, None)
    element.name = resource.name
    states = (
        ("active_state", resource),
        ("warming_state", resource.pending),
        ("draining_state", resource.draining),
    )
    for state, form in states:
        if form is not None and form.serialized:
            holder = getattr(element, state)
            _set_body(holder.listener, "listener", form.serialized)
            _set_facts(holder, form)
    _set_state(element, "listener", resource, resource.refusal)
    return element


def _scopes_element(element: Any, resource: ConfigResource) -> Any:
    element.name = resource.name
    scopes = http_connection_manager_pb2.ScopedRouteConfigurationsList.FromString(resource.serialized)
    for scope in scopes.scoped_route_configurations:
        _set_body(element.scoped_route_configs.add(), "scoped_route_configs", scope.SerializeToString())
    _set_facts(element, resource)
    _set_state(element, "scoped_route_configs", resource, resource.refusal)
    return element


def _set_body(holder: Any, inner: str, serialized: bytes) -> None:
    holder.type_url = TYPE_URL_PREFIX + _TYPES[inner]
    holder.value = serialized


def _set_facts(holder: Any, resource: ConfigResource) -> None:
    if resource.version_info and "version_info" in holder.DESCRIPTOR.fields_by_name:
        holder.version_info = resource.version_info
    if resource.updated:
        _set_time(holder, resource.updated)


def _set_state(element: Any, inner: str, resource: ConfigResource, refusal: Refusal | None) -> None:
    """How it fares between us and the control plane, and what of it was refused last."""
    if not resource.dynamic:
        return
    if refusal is None:
        newest = resource.pending or resource
        waits = not newest.serialized or newest.version_info == "uninitialized"
        element.client_status = (ClientStatus.REQUESTED if waits else ClientStatus.ACKED).value
        return
    element.client_status = ClientStatus.NACKED.value
    set_refusal(element.error_state, refusal, TYPE_URL_PREFIX + _TYPES[inner])


def set_refusal(state: Any, refusal: Refusal, type_url: str) -> None:
    """Fill an `UpdateFailureState`."""
    if refusal.serialized:
        state.failed_configuration.type_url = type_url
        state.failed_configuration.value = refusal.serialized
    if refusal.at:
        state.last_update_attempt.FromMilliseconds(int(refusal.at * 1000))
    state.details = refusal.reason
    state.version_info = refusal.version


def _set_time(message: Any, seconds: float) -> None:
    message.last_updated.FromMilliseconds(int(seconds * 1000))


def _mask_for(descriptor: Any, mask: str) -> Any:
    """The mask if each of its paths exists in the message, else None."""
    field_mask = field_mask_pb2.FieldMask(paths=[path for path in mask.split(",") if path])
    return field_mask if field_mask.IsValidForDescriptor(descriptor) else None


def _trim_element(element: Message, mask: str) -> None:
    """Apply a mask whose paths may lead into the resource that the element holds as an Any."""
    outer: list[str] = []
    inner: dict[str, list[str]] = {}
    fields = element.DESCRIPTOR.fields_by_name
    for path in mask.split(","):
        head, _, tail = path.partition(".")
        field = fields.get(head)
        if (
            tail
            and field is not None
            and getattr(field.message_type, "full_name", "") == "google.protobuf.Any"
        ):
            inner.setdefault(head, []).append(tail)
            outer.append(head)
        else:
            outer.append(path)
    refusal = BadParameterError(f"FieldMask {mask} could not be successfully used.", PLAIN)
    for name, paths in inner.items():
        holder = getattr(element, name)
        kind = known_class(holder.TypeName())
        inner_mask = None if kind is None else _mask_for(kind.DESCRIPTOR, ",".join(paths))
        if inner_mask is None:
            raise refusal
        try:
            whole = kind.FromString(holder.value)
        except DecodeError as error:
            raise refusal from error
        part = kind()
        inner_mask.MergeMessage(whole, part, True, True)
        holder.value = part.SerializeToString()
    outer_mask = _mask_for(element.DESCRIPTOR, ",".join(outer))
    if outer_mask is None:
        raise refusal
    whole_element = type(element)()
    whole_element.CopyFrom(element)
    element.Clear()
    outer_mask.MergeMessage(whole_element, element, True, True)
