"""Messages of Istio's own filters, for which no package of generated code exists.

Source: istio/proxy, `source/extensions/filters`, and `contrib` of Envoy, where some of them live now.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import config_source_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
}


def _messages(package: str, *lines: str, imports: Iterable[str] = ()) -> list[Any]:
    """The classes of the messages of a package, one for each line, in order.

    A line is the name, then `field=number:type` with a `*` after the type of a repeated field. A type is a scalar,
    `map` (texts to texts), `enum(NAME,NAME)` with values from 0, or the name of a message of the package, or of an
    import with a dot before it.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"outrider/{package.replace('.', '/')}.proto",
        package=package,
        syntax="proto3",
        dependency=list(imports),
    )
    for line in lines:
        name, *fields = line.split()
        message = file.message_type.add(name=name)
        for text in fields:
            field, _, kind = text.partition("=")
            number, _, kind = kind.partition(":")
            _add_field(package, message, field, int(number), kind)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{message.name}"))
        for message in file.message_type
    ]


def _add_field(package: str, message: Any, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind.endswith("*") or kind == "map":
        field.label = _Field.LABEL_REPEATED
    kind = kind.rstrip("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    elif kind.startswith("enum("):
        field.type = _Field.TYPE_ENUM
        enum = message.enum_type.add(name=name.title().replace("_", ""))
        for value, one in enumerate(kind[5:-1].split(",")):
            enum.value.add(name=one, number=value)
        field.type_name = f".{package}.{message.name}.{enum.name}"
    else:
        field.type = _Field.TYPE_MESSAGE
        if kind == "map":
            entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            for index, part in enumerate(("key", "value"), 1):
                entry.field.add(name=part, number=index, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
            kind = f"{message.name}.{entry.name}"
        field.type_name = kind if kind.startswith(".") else f".{package}.{kind}"


_PACKAGES = (
    _messages(
        "istio.envoy.config.filter.network.tcp_cluster_rewrite.v2alpha1",
        "TcpClusterRewrite cluster_pattern=1:string cluster_replacement=2:string",
    ),
    _messages(
        "istio.envoy.config.filter.http.alpn.v2alpha1",
        "AlpnOverride upstream_protocol=1:enum(HTTP10,HTTP11,HTTP2) alpn_override=2:string*",
        "FilterConfig alpn_override=1:AlpnOverride*",
    ),
    _messages(
        "envoy.tcp.metadataexchange.config",
        "MetadataExchange protocol=1:string enable_discovery=2:bool additional_labels=3:string*",
    ),
    _messages(
        "stats",
        "MetricConfig dimensions=1:map name=2:string tags_to_remove=3:string* match=4:string drop=5:bool",
        "MetricDefinition name=1:string value=2:string type=3:enum(COUNTER,GAUGE,HISTOGRAM)",
        "PluginConfig disable_host_header_fallback=6:bool tcp_reporting_duration=7:.google.protobuf.Duration"
        " metrics=8:MetricConfig* definitions=9:MetricDefinition*"
        " reporter=10:enum(UNSPECIFIED,SERVER_GATEWAY) rotation_interval=11:.google.protobuf.Duration"
        " graceful_deletion_interval=12:.google.protobuf.Duration",
        imports=[duration_pb2.DESCRIPTOR.name],
    ),
    _messages(
        "io.istio.http.peer_metadata",
        "Method",
        "IstioHeaders skip_external_clusters=1:bool",
        "UpstreamFilterState peer_metadata_key=1:string",
        "DiscoveryMethod baggage=1:Method workload_discovery=2:Method istio_headers=3:IstioHeaders"
        " upstream_filter_state=4:UpstreamFilterState",
        "PropagationMethod istio_headers=1:IstioHeaders baggage=2:Method",
        "Config downstream_discovery=1:DiscoveryMethod* upstream_discovery=2:DiscoveryMethod*"
        " downstream_propagation=3:PropagationMethod* upstream_propagation=4:PropagationMethod*"
        " shared_with_upstream=5:bool additional_labels=6:string*",
    ),
    _messages("io.istio.http.connect_authority", "Config enabled=1:bool port=2:uint32"),
    _messages("io.istio.http.connect_baggage", "Config"),
    _messages("io.istio.network.authn", "Config shared=1:bool"),
    _messages(
        "istio.workload",
        "BootstrapExtension config_source=1:.envoy.config.core.v3.ConfigSource",
        imports=[config_source_pb2.DESCRIPTOR.name],
    ),
)

MESSAGES = {message.DESCRIPTOR.full_name: message for package in _PACKAGES for message in package}
"""The classes by their full names."""
