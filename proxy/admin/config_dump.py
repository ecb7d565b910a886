"""`/config_dump`: the accepted configuration as `envoy.admin.v3.ConfigDump`, secrets hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from envoy.admin.v3 import config_dump_pb2, config_dump_shared_pb2
from google.protobuf import any_pb2, field_mask_pb2
from google.protobuf.message import DecodeError, Message

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
from proxy.admin.route_tables import inline_route_tables
from proxy.admin.state import AdminState, ClusterStatus, ConfigResource
from proxy.config.extensions import TYPE_URL_PREFIX

Keep = Callable[[str], bool]

#: Repeated field → (section message, element message, field of the element that holds the resource).
_FIELDS: Final = {
    "static_clusters": ("ClustersConfigDump", "StaticCluster", "cluster"),
    "dynamic_active_clusters": ("ClustersConfigDump", "DynamicCluster", "cluster"),
    "static_endpoint_configs": ("EndpointsConfigDump", "StaticEndpointConfig", "endpoint_config"),
    "dynamic_endpoint_configs": ("EndpointsConfigDump", "DynamicEndpointConfig", "endpoint_config"),
    "static_listeners": ("ListenersConfigDump", "StaticListener", "listener"),
    "dynamic_listeners": ("ListenersConfigDump", "DynamicListener", "active_state"),
    "static_route_configs": ("RoutesConfigDump", "StaticRouteConfig", "route_config"),
    "dynamic_route_configs": ("RoutesConfigDump", "DynamicRouteConfig", "route_config"),
    "static_secrets": ("SecretsConfigDump", "StaticSecret", "secret"),
    "dynamic_active_secrets": ("SecretsConfigDump", "DynamicSecret", "secret"),
}

#: Sections in the order of Envoy's dump.
_SECTIONS: Final = (
    "ClustersConfigDump",
    "EndpointsConfigDump",
    "ListenersConfigDump",
    "ScopedRoutesConfigDump",
    "RoutesConfigDump",
    "SecretsConfigDump",
)

_TYPES: Final = {
    "cluster": "envoy.config.cluster.v3.Cluster",
    "listener": "envoy.config.listener.v3.Listener",
    "active_state": "envoy.config.listener.v3.Listener",
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
    pieces = _with_end(object_pieces([("configs", list_pieces(configs, 1))], 0))
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
            if section == "EndpointsConfigDump" and not self.include_eds:
                continue
            yield object_pieces(self._section_fields(section), 2)

    def _section_fields(self, section: str) -> Iterator[tuple[str, Iterable[str]]]:
        yield "@type", [f'"{TYPE_URL_PREFIX}envoy.admin.v3.{section}"']
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
            if name == "EndpointsConfigDump" and not self.include_eds:
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

    def _messages(self, field: str) -> Iterator[Any]:
        owner, element_name, inner = _FIELDS[field]
        element_class = getattr(section_class(owner), element_name)
        dynamic = field.startswith("dynamic")
        for resource in self._resources(owner):
            if resource.dynamic == dynamic and self._keep(resource.name):
                yield _element(element_class(), inner, resource)

    def _resources(self, owner: str) -> Iterable[ConfigResource]:
        match owner:
            case "ClustersConfigDump":
                return self._state.resources("clusters")
            case "ListenersConfigDump":
                return self._state.resources("listeners")
            case "SecretsConfigDump":
                return self._state.resources("secrets")
            case "EndpointsConfigDump":
                return endpoint_configs(self._clusters)
            case _:
                return _chain_all(inline_route_tables(self._state), self._state.resources("routes"))


def _chain(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _chain_all(*parts: Iterable[ConfigResource]) -> Iterator[ConfigResource]:
    for part in parts:
        yield from part


def _element(element: Any, inner: str, resource: ConfigResource) -> Any:
    body = any_pb2.Any(type_url=TYPE_URL_PREFIX + _TYPES[inner], value=resource.serialized)
    names = element.DESCRIPTOR.fields_by_name
    holder = element
    if inner == "active_state":
        holder = element.active_state
        holder.listener.CopyFrom(body)
    else:
        getattr(element, inner).CopyFrom(body)
    if "name" in names:
        element.name = resource.name
    if resource.version_info and "version_info" in holder.DESCRIPTOR.fields_by_name:
        holder.version_info = resource.version_info
    if resource.updated:
        _set_time(holder, resource.updated)
    return element


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
