"""A node tree straight into a protobuf message: for each message type one reader, compiled at first use.

A reader fills a message and returns the faults that it met, or None. Faults carry their node, and get their
path on the way up: nothing is spent on positions and paths unless something is wrong.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from proxy.config.faults import UNKNOWN_FIELD, WARNING, Fault, Faults, Reader, describe, indexed, key_text
from proxy.config.scalars import converter_for, is_null
from proxy.config.suggest import did_you_mean
from proxy.config.well_known_readers import well_known_reader
from proxy.config.yaml_source import MAX_DEPTH

_readers: dict[str, Reader] = {}


def reader_for(descriptor: Descriptor) -> Reader:
    """The reader of a message type."""
    name = descriptor.full_name
    reader = _readers.get(name)
    if reader is None:
        reader = well_known_reader(descriptor, reader_for, _message_reader) or _message_reader(descriptor)
        _readers[name] = reader
    return reader


def _message_reader(descriptor: Descriptor) -> Reader:
    full_name = descriptor.full_name
    handlers: dict[str, Reader] = {}
    names: dict[str, str] = {}
    for field in descriptor.fields:
        handler = _field_reader(field)
        for spelling in (field.name, field.json_name):
            handlers[spelling] = handler
            names[spelling] = field.name
    find = handlers.get

    def read(message: Any, node: Any, depth: int) -> Faults:
        if node.__class__ is not MappingNode:
            return [Fault(node, f"expected a mapping with the fields of {full_name}, found {describe(node)}")]
        if depth > MAX_DEPTH:
            return [Fault(node, f"nested more than {MAX_DEPTH} levels deep")]
        faults: Faults = None
        pairs = node.value
        if len({id(key) if key.__class__ is not ScalarNode else key.value for key, _ in pairs}) != len(pairs):
            pairs, faults = _without_duplicates(pairs)
        for key, value in pairs:
            if key.__class__ is not ScalarNode:
                faults = _with(faults, Fault(key, "a key must be a plain text"))
                continue
            handler = find(key.value)
            if handler is None or key.tag is not None:
                if key.tag == "!ignore":
                    continue
                if handler is None:
                    faults = _with(faults, _unknown_field(key, full_name, names))
                    continue
            found = handler(message, value, depth)
            if found is not None:
                segment = names[key.value]
                for fault in found:
                    fault.path.append(segment)
                faults = found if faults is None else faults + found
        return faults

    return read


def _with(faults: Faults, fault: Fault) -> list[Fault]:
    return [fault] if faults is None else [*faults, fault]


def _unknown_field(key: ScalarNode, full_name: str, names: dict[str, str]) -> Fault:
    if key.value == "<<":
        reason = "merge keys ('<<') are not supported, as in Envoy; repeat the fields or use a plain alias"
        fault = Fault(key, reason)
    else:
        hint = did_you_mean(key.value, names.values())
        fault = Fault(key, f"unknown field {key.value!r} in {full_name}{hint}", UNKNOWN_FIELD)
    fault.path.append(key.value)
    return fault


def _without_duplicates(pairs: list[tuple[Any, Any]]) -> tuple[list[tuple[Any, Any]], Faults]:
    """Of keys that stand twice only the last, as in Envoy, and a warning for each that does not count."""
    last = {key.value: index for index, (key, _) in enumerate(pairs) if key.__class__ is ScalarNode}
    kept = []
    faults: list[Fault] = []
    for index, pair in enumerate(pairs):
        key = pair[0]
        if key.__class__ is not ScalarNode or key.tag == "!ignore" or last[key.value] == index:
            kept.append(pair)
        else:
            fault = Fault(key, "this key stands again further down; only the last one counts", WARNING)
            fault.path.append(key.value)
            faults.append(fault)
    return kept, faults or None


def _field_reader(field: FieldDescriptor) -> Reader:
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return _map_reader(field)
        return _repeated_reader(field)
    read = _submessage_reader(field) if field.message_type is not None else _scalar_reader(field)
    oneof = field.containing_oneof
    if oneof is not None and not (len(oneof.fields) == 1 and oneof.name.startswith("_")):
        return _oneof_guard(read, field.name, oneof.name)
    return read


def _oneof_guard(read: Reader, name: str, oneof: str) -> Reader:
    def guarded(message: Any, node: Any, depth: int) -> Faults:
        if is_null(node):
            return None
        present = message.WhichOneof(oneof)
        if present is not None and present != name:
            return [
                Fault(node, f"only one of the fields of {oneof!r} may be set, and {present!r} is set already")
            ]
        return read(message, node, depth)

    return guarded


def _scalar_reader(field: FieldDescriptor) -> Reader:
    name = field.name
    convert = converter_for(field)

    def read(message: Any, node: Any, _depth: int) -> Faults:
        try:
            setattr(message, name, convert(node))
        except ValueError as error:
            if not is_null(node):
                return [Fault(node, str(error))]
            message.ClearField(name)
        return None

    return read


def _submessage_reader(field: FieldDescriptor) -> Reader:
    name = field.name
    descriptor: Any = field.message_type
    nullable = descriptor.full_name == "google.protobuf.Value"
    fill: Reader | None = None

    def read(message: Any, node: Any, depth: int) -> Faults:
        nonlocal fill
        if fill is None:
            fill = reader_for(descriptor)
        if message.HasField(name):
            message.ClearField(name)
        if node.__class__ is ScalarNode and not nullable and is_null(node):
            return None
        target = getattr(message, name)
        target.SetInParent()
        return fill(target, node, depth + 1)

    return read


def _repeated_reader(field: FieldDescriptor) -> Reader:
    name = field.name
    add = _message_adder(field) if field.message_type is not None else _scalar_adder(field)

    def read(message: Any, node: Any, depth: int) -> Faults:
        container = getattr(message, name)
        if container:
            del container[:]
        if node.__class__ is not SequenceNode:
            return None if is_null(node) else indexed(add(container, node, depth), 0)
        faults: Faults = None
        for index, item in enumerate(node.value):
            found = (
                add(container, item, depth)
                if item.__class__ is not SequenceNode
                else _add_nested(add, container, item, depth)
            )
            if found is not None:
                faults = (faults or []) + (indexed(found, index) or [])
        return faults

    return read


def _add_nested(add: Reader, container: Any, node: Any, depth: int) -> Faults:
    """Envoy flattens a list in a list."""
    if depth > MAX_DEPTH:
        return [Fault(node, f"nested more than {MAX_DEPTH} levels deep")]
    faults: list[Fault] = []
    for item in node.value:
        if item.__class__ is SequenceNode:
            faults += _add_nested(add, container, item, depth + 1) or []
        else:
            faults += add(container, item, depth) or []
    return faults or None


def _message_adder(field: FieldDescriptor) -> Reader:
    descriptor: Any = field.message_type
    nullable = descriptor.full_name == "google.protobuf.Value"
    fill: Reader | None = None

    def add(container: Any, node: Any, depth: int) -> Faults:
        nonlocal fill
        if fill is None:
            fill = reader_for(descriptor)
        target = container.add()
        if node.__class__ is ScalarNode and not nullable and is_null(node):
            return None
        return fill(target, node, depth + 1)

    return add


def _scalar_adder(field: FieldDescriptor) -> Reader:
    convert = converter_for(field)
    default = field.default_value if field.cpp_type != FieldDescriptor.CPPTYPE_STRING else None
    empty: Any = (b"" if field.type == FieldDescriptor.TYPE_BYTES else "") if default is None else 0

    def add(container: Any, node: Any, _depth: int) -> Faults:
        try:
            container.append(convert(node))
        except ValueError as error:
            if not is_null(node):
                return [Fault(node, str(error))]
            container.append(empty)
        return None

    return add


def _map_reader(field: FieldDescriptor) -> Reader:
    name = field.name
    entry: Any = field.message_type
    key_field = entry.fields_by_name["key"]
    value_field = entry.fields_by_name["value"]
    convert_key = converter_for(key_field) if key_field.cpp_type != FieldDescriptor.CPPTYPE_STRING else None
    descriptor: Any = value_field.message_type
    convert = converter_for(value_field) if descriptor is None else None

    def read(message: Any, node: Any, depth: int) -> Faults:
        container = getattr(message, name)
        container.clear()
        if node.__class__ is not MappingNode:
            return None if is_null(node) else [Fault(node, f"expected a mapping, found {describe(node)}")]
        faults: list[Fault] = []
        for key_node, value in node.value:
            if key_node.tag == "!ignore":
                continue
            if key_node.__class__ is not ScalarNode:
                faults.append(Fault(key_node, "a key must be a plain text"))
                continue
            found: Faults = None
            try:
                key = convert_key(key_node) if convert_key else key_text(key_node)
                if convert is not None:
                    container[key] = convert(value)
                else:
                    target = container[key]
                    target.Clear()
                    if not (value.__class__ is ScalarNode and is_null(value)) or _takes_null(descriptor):
                        found = reader_for(descriptor)(target, value, depth + 1)
            except ValueError as error:
                found = [Fault(value, str(error))]
            if found is not None:
                for fault in found:
                    fault.path.append(f"[{key_node.value!r}]")
                faults += found
        return faults or None

    return read


def _takes_null(descriptor: Descriptor) -> bool:
    return descriptor.full_name == "google.protobuf.Value"


def read_json_value(message: Any, value: Any) -> Faults:
    """Fill a message from what `json.loads` gives: the form in which a Struct carries a config."""
    return reader_for(message.DESCRIPTOR)(message, _node_of(value), 0)


def _node_of(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingNode("", [(_quoted(key), _node_of(item)) for key, item in value.items()])
    if isinstance(value, list):
        return SequenceNode("", [_node_of(item) for item in value])
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return ScalarNode(
        "", "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _quoted(text: str) -> ScalarNode:
    return ScalarNode("", text, style='"')
