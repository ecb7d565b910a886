"""Readers of protobuf's well-known messages, which have a YAML form of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from proxy.config import extensions
from proxy.config.faults import UNKNOWN_FIELD, Fault, Faults, Reader, describe, indexed, key_text
from proxy.config.scalars import converter_for, duration_parts, is_null, json_value, timestamp_parts
from proxy.config.yaml_source import MAX_DEPTH

ReaderFactory = Callable[[Descriptor], Reader]


def well_known_reader(
    descriptor: Descriptor, reader_for: ReaderFactory, message_reader: ReaderFactory
) -> Reader | None:
    """The reader of a well-known message, or None for an ordinary one.

    `reader_for` gives the reader of any message; `message_reader` the one that takes a mapping of the fields.
    """
    name = descriptor.full_name
    if name in _WRAPPERS:
        return _wrapper_reader(descriptor, message_reader)
    match name:
        case "google.protobuf.Any":
            return _any_reader(reader_for)
        case "google.protobuf.Duration":
            return _parts_reader("duration", duration_parts, "1.5s", message_reader)
        case "google.protobuf.Timestamp":
            return _parts_reader("time", timestamp_parts, "2024-01-31T12:00:00Z", message_reader)
    return _PLAIN.get(name)


def _wrapper_reader(descriptor: Descriptor, message_reader: ReaderFactory) -> Reader:
    """`google.protobuf.UInt32Value` and its kin: the bare value, or `{value: ...}`."""
    convert = converter_for(descriptor.fields_by_name["value"])
    as_message = message_reader(descriptor)

    def read(message: Any, node: Any, depth: int) -> Faults:
        if node.__class__ is MappingNode:
            return as_message(message, node, depth)
        try:
            message.value = convert(node)
        except ValueError as error:
            return [Fault(node, str(error))]
        return None

    return read


def _parts_reader(
    type_name: str, parse: Callable[[str], tuple[int, int]], example: str, message_reader: ReaderFactory
) -> Reader:
    """Duration and Timestamp: a text, or `{seconds, nanos}`."""
    as_message: Reader | None = None

    def read(message: Any, node: Any, depth: int) -> Faults:
        nonlocal as_message
        if node.__class__ is MappingNode:
            if as_message is None:
                as_message = message_reader(message.DESCRIPTOR)
            return as_message(message, node, depth)
        value = json_value(node) if node.__class__ is ScalarNode else None
        if not isinstance(value, str):
            return [Fault(node, f"expected a {type_name} such as {example!r}, found {describe(node)}")]
        try:
            seconds, nanos = parse(value)
        except ValueError as error:
            return [Fault(node, str(error))]
        if seconds:
            message.seconds = seconds
        if nanos:
            message.nanos = nanos
        return None

    return read


def _read_struct(message: Any, node: Any, depth: int) -> Faults:
    if node.__class__ is not MappingNode:
        return [Fault(node, f"expected a mapping, found {describe(node)}")]
    if depth > MAX_DEPTH:
        return [Fault(node, f"nested more than {MAX_DEPTH} levels deep")]
    faults: list[Fault] = []
    for key, value in node.value:
        if key.__class__ is not ScalarNode:
            faults.append(Fault(key, "a key must be a plain text"))
        elif key.tag != "!ignore":
            found = _read_value(message.fields[key_text(key)], value, depth + 2)
            for fault in found or ():
                fault.path.append(key.value)
                faults.append(fault)
    return faults or None


def _read_list(message: Any, node: Any, depth: int) -> Faults:
    if node.__class__ is not SequenceNode:
        return [Fault(node, f"expected a list, found {describe(node)}")]
    if depth > MAX_DEPTH:
        return [Fault(node, f"nested more than {MAX_DEPTH} levels deep")]
    faults: list[Fault] = []
    for index, item in enumerate(node.value):
        faults += indexed(_read_value(message.values.add(), item, depth + 1), index) or []
    return faults or None


def _read_value(message: Any, node: Any, depth: int) -> Faults:
    """`google.protobuf.Value`. A plain 1.5 becomes the text "1.5", as in Envoy."""
    if node.__class__ is MappingNode:
        message.struct_value.SetInParent()
        return _read_struct(message.struct_value, node, depth + 1)
    if node.__class__ is SequenceNode:
        message.list_value.SetInParent()
        return _read_list(message.list_value, node, depth + 1)
    value = json_value(node)
    if value is None:
        message.null_value = 0
    elif isinstance(value, str):
        message.string_value = value
    elif value is True or value is False:
        message.bool_value = value
    else:
        message.number_value = value
    return None


def _any_reader(reader_for: ReaderFactory) -> Reader:
    """`google.protobuf.Any`: `"@type"` names the message whose fields follow; a TypedStruct is unwrapped."""

    def read(message: Any, node: Any, depth: int) -> Faults:
        if node.__class__ is not MappingNode:
            return [Fault(node, f"expected a mapping with an '@type', found {describe(node)}")]
        if not node.value:
            return None
        type_url, fields = _any_content(node)
        if isinstance(fields, Fault):
            return [fields]
        type_name = extensions.type_name_of(type_url)
        message.type_url = type_url
        found_class = extensions.message_class(type_name)
        if found_class is None:
            # The check reports it: there it is known whether the field counts, and whether it is optional.
            return None
        inner = found_class()
        faults = reader_for(inner.DESCRIPTOR)(inner, fields, depth + 1)
        message.value = inner.SerializeToString()
        return faults

    return read


def _any_content(node: MappingNode) -> tuple[str, Any]:
    """Type URL, and the node that holds the fields or a fault."""
    type_url, type_node, rest = _take_key(node, "@type")
    if type_node is None:
        return "", Fault(node, "an '@type' that names the message is missing")
    if "/" not in type_url[1:]:
        return (
            "",
            Fault(type_node, f"'@type' must look like type.googleapis.com/NAME, found {type_url!r}"),
        )
    type_name = extensions.type_name_of(type_url)
    if type_name in extensions.TYPED_STRUCTS:
        return _typed_struct_content(node, rest)
    if type_name in _VALUE_FORM:
        _, value_node, stray = _take_key(rest, "value")
        if value_node is None or stray.value:
            reason = f"an Any that holds {type_name} has exactly the keys '@type' and 'value'"
            return "", Fault(node, reason)
        return type_url, value_node
    return type_url, rest


def _typed_struct_content(node: MappingNode, rest: MappingNode) -> tuple[str, Any]:
    type_url, type_node, rest = _take_key(rest, "type_url", "typeUrl")
    type_name = extensions.type_name_of(type_url)
    if type_node is None or not type_name:
        return "", Fault(node, "a TypedStruct needs a 'type_url' that names the message it carries")
    _, value_node, rest = _take_key(rest, "value")
    for key, _ in rest.value:
        return "", Fault(key, f"unknown field {key.value!r} in TypedStruct", UNKNOWN_FIELD)
    if value_node is None or is_null(value_node):
        value_node = MappingNode("", [], node.start_mark, node.end_mark)
    return extensions.TYPE_URL_PREFIX + type_name, value_node


def _take_key(node: MappingNode, *names: str) -> tuple[str, Any, MappingNode]:
    """The text and node of one key, and the mapping without it; ("", None, node) when it is not there."""
    rest = []
    taken = None
    for pair in node.value:
        key = pair[0]
        if key.__class__ is ScalarNode and key.value in names:
            taken = pair[1]
        else:
            rest.append(pair)
    if taken is None:
        return "", None, node
    text = taken.value if taken.__class__ is ScalarNode else ""
    return text, taken, MappingNode(node.tag, rest, node.start_mark, node.end_mark)


def _read_field_mask(message: Any, node: Any, _depth: int) -> Faults:
    value = json_value(node) if node.__class__ is ScalarNode else None
    if not isinstance(value, str):
        return [Fault(node, "expected field paths separated by commas")]
    message.paths.extend(part for part in value.split(",") if part)
    return None


_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
_PLAIN: dict[str, Reader] = {
    "google.protobuf.FieldMask": _read_field_mask,
    "google.protobuf.ListValue": _read_list,
    "google.protobuf.Struct": _read_struct,
    "google.protobuf.Value": _read_value,
}
_VALUE_FORM = (
    _WRAPPERS | {f"google.protobuf.{name}" for name in ("Any", "Duration", "Timestamp")} | set(_PLAIN)
)
