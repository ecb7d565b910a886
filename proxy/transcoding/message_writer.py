"""Fills a protobuf message from JSON values, as liberal as Envoy: unknown fields are skipped, nulls too.

An error does not stop the work; the last one is what the client hears, as in Envoy. Well-known types with a JSON
form of their own go through `google.protobuf.json_format`.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from proxy.transcoding import scalars
from proxy.transcoding.json_reader import JsonObject
from proxy.transcoding.scalars import ScalarError
from proxy.transcoding.status import TranscodeError
from proxy.transcoding.well_known import explain

_TYPE_PREFIX: Final = "type.googleapis.com/"
_TYPE_NAMES: Final = {
    number: name for name, number in vars(FieldDescriptor).items() if name.startswith("TYPE_")
}
_SIGNED: Final = {
    FieldDescriptor.TYPE_INT32: 32,
    FieldDescriptor.TYPE_SINT32: 32,
    FieldDescriptor.TYPE_SFIXED32: 32,
    FieldDescriptor.TYPE_INT64: 64,
    FieldDescriptor.TYPE_SINT64: 64,
    FieldDescriptor.TYPE_SFIXED64: 64,
}
_UNSIGNED: Final = {
    FieldDescriptor.TYPE_UINT32: 32,
    FieldDescriptor.TYPE_FIXED32: 32,
    FieldDescriptor.TYPE_UINT64: 64,
    FieldDescriptor.TYPE_FIXED64: 64,
}
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
#: Types whose JSON is not an object of their fields.
_SPECIAL: Final = _WRAPPERS | {
    f"google.protobuf.{name}"
    for name in ("Any", "Duration", "FieldMask", "ListValue", "Struct", "Timestamp", "Value")
}
#: Those of them whose JSON is an object all the same; objects for the others are read field by field.
_OF_OBJECTS: Final = frozenset(f"google.protobuf.{name}" for name in ("Any", "Struct", "Value"))
#: Those whose JSON may be a list.
_OF_LISTS: Final = frozenset({"google.protobuf.ListValue", "google.protobuf.Value"})
#: Types for which null is a value.
_NULLABLE: Final = frozenset({"google.protobuf.Value", "google.protobuf.NullValue"})


class MessageWriter:
    """Writes messages of one descriptor pool."""

    def __init__(self, pool: DescriptorPool, *, any_case_enums: bool) -> None:
        self.pool = pool
        self._any_case_enums = any_case_enums
        self._fields: dict[str, dict[str, Any]] = {}

    def write(self, message: Any, value: Any) -> None:
        """Fill an empty message. Raises `TranscodeError`."""
        run = _Run(self)
        if not isinstance(value, JsonObject):
            raise TranscodeError(": Root element must be a message.")
        if message.DESCRIPTOR.full_name in _OF_OBJECTS:
            run.special(message, value, "")
        else:
            run.entries(message, value, "")
        if run.error:
            raise TranscodeError(run.error)

    def field(self, descriptor: Any, name: str) -> Any:
        """The field of a message by its own or its JSON name, or None."""
        known = self._fields.get(descriptor.full_name)
        if known is None:
            known = {field.json_name: field for field in descriptor.fields}
            known.update({field.name: field for field in descriptor.fields})
            self._fields[descriptor.full_name] = known
        return known.get(name)

    def scalar(self, field: Any, value: Any) -> Any:
        """A value as the scalar or enum field takes it. Raises `ScalarError`."""
        kind = field.type
        if kind in _SIGNED:
            return scalars.as_integer(value, _SIGNED[kind], signed=True)
        if kind in _UNSIGNED:
            return scalars.as_integer(value, _UNSIGNED[kind], signed=False)
        match kind:
            case FieldDescriptor.TYPE_DOUBLE:
                return scalars.as_float(value)
            case FieldDescriptor.TYPE_FLOAT:
                return scalars.as_float(value, single=True)
            case FieldDescriptor.TYPE_BOOL:
                return scalars.as_bool(value)
            case FieldDescriptor.TYPE_BYTES:
                return scalars.as_bytes(value)
            case FieldDescriptor.TYPE_ENUM:
                return scalars.as_enum(value, field.enum_type, any_case=self._any_case_enums)
            case _:
                return scalars.as_text(value)


class _Run:
    """One message being written; `error` is the last one."""

    def __init__(self, writer: MessageWriter) -> None:
        self._writer = writer
        self.error = ""

    def entries(self, message: Any, entries: JsonObject, path: str) -> None:
        taken: set[str] = set()
        for name, value in entries.entries:
            field = self._writer.field(message.DESCRIPTOR, name)
            if field is None:
                continue
            if value is None and _type_name(field) not in _NULLABLE:
                continue
            if self._takes_oneof(field, taken, name, path):
                self._entry(message, field, value, path)

    def _takes_oneof(self, field: Any, taken: set[str], name: str, path: str) -> bool:
        oneof = field.containing_oneof
        if oneof is None:
            return True
        if oneof.name in taken:
            self._invalid(path, "oneof", f"oneof field '{oneof.name}' is already set. Cannot set '{name}'")
            return False
        taken.add(oneof.name)
        return True

    def _entry(self, message: Any, field: Any, value: Any, path: str) -> None:
        if field.is_repeated:
            if _is_map(field):
                self._map(message, field, value, path)
            else:
                self._list(message, field, value, path)
        elif isinstance(value, list) and _type_name(field) not in _OF_LISTS:
            self.error = f"{path}: Proto field is not repeating, cannot start list."
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            self._message(inner, field, value, _join(path, field.name))
        else:
            self._set(field, value, _join(path, field.name), lambda made: setattr(message, field.name, made))

    def _list(self, message: Any, field: Any, value: Any, path: str) -> None:
        target = getattr(message, field.name)
        path = _join(path, field.name)
        if not isinstance(value, list):
            self._item(target, field, value, path)
            return
        # Envoy's places count objects, and scalars in which something is wrong.
        place = 0
        for one in _flat(value) if _type_name(field) not in _OF_LISTS else value:
            before = self.error
            self._item(target, field, one, f"{path}[{place}]")
            if isinstance(one, JsonObject) or self.error != before:
                place += 1

    def _item(self, target: Any, field: Any, value: Any, path: str) -> None:
        if value is None and _type_name(field) not in _NULLABLE:
            return
        if field.message_type is not None:
            self._message(target.add(), field, value, path)
        else:
            self._set(field, value, path, target.append)

    def _message(self, message: Any, field: Any, value: Any, path: str) -> None:
        name = field.message_type.full_name
        if name in _WRAPPERS and not isinstance(value, JsonObject):
            inner = field.message_type.fields_by_name["value"]
            self._set(inner, value, f"{path}.value", lambda made: setattr(message, "value", made))
        elif name in _SPECIAL and (name in _OF_OBJECTS or not isinstance(value, JsonObject)):
            self.special(message, value, path)
        elif isinstance(value, JsonObject):
            self.entries(message, value, path)
        else:
            shown = scalars.shown(value) if not isinstance(value, list) else ""
            self._invalid(path, f"{_TYPE_PREFIX}{name}", shown)

    def special(self, message: Any, value: Any, path: str) -> None:
        """Fill a well-known type with a JSON form of its own."""
        try:
            json_format.ParseDict(
                _plain(value), message, ignore_unknown_fields=True, descriptor_pool=self._writer.pool
            )
        except (json_format.ParseError, ValueError, TypeError, RecursionError):
            name = message.DESCRIPTOR.full_name
            field = "" if path.endswith("]") else path.rpartition(".")[2]
            type_name, text = explain(name, value, field)
            self._invalid(path, type_name, text)

    def _map(self, message: Any, field: Any, value: Any, path: str) -> None:
        where = _join(path, field.name)
        if isinstance(value, list):
            self._invalid(path, "Map", f"Cannot bind a list to map for field '{field.name}'.")
            return
        if not isinstance(value, JsonObject):
            self._invalid(where, f"{_TYPE_PREFIX}{field.message_type.full_name}", scalars.shown(value))
            return
        seen: set[str] = set()
        for name, one in value.entries:
            if name in seen:
                place = len(seen) - 1
                self.error = f"{where}[{place}]: Repeated map key: '{name}' is already set."
                continue
            self._map_entry(getattr(message, field.name), field, name, one, f"{where}[{len(seen)}]")
            seen.add(name)

    def _map_entry(self, target: Any, field: Any, name: str, value: Any, path: str) -> None:
        key_field = field.message_type.fields_by_name["key"]
        value_field = field.message_type.fields_by_name["value"]
        try:
            key = self._writer.scalar(key_field, name)
        except ScalarError as error:
            self._invalid(f"{path}.key", _type_text(key_field), str(error))
            return
        path = f"{path}.value"
        if value_field.message_type is None:
            self._set(value_field, value, path, lambda made: target.__setitem__(key, made))
        elif value is not None or _type_name(value_field) in _NULLABLE:
            self._message(target[key], value_field, value, path)

    def _set(self, field: Any, value: Any, path: str, store: Any) -> None:
        if isinstance(value, JsonObject):
            parent = path.rpartition("[" if path.endswith("]") else ".")[0]
            self._invalid(parent, field.name, "Starting an object on a scalar field")
            return
        if isinstance(value, list):
            self._invalid(path, _TYPE_NAMES[field.type], "")
            return
        try:
            store(0 if value is None else self._writer.scalar(field, value))
        except ScalarError as error:
            self._invalid(path, _type_text(field), str(error))

    def _invalid(self, path: str, type_name: str, value: str) -> None:
        self.error = f"{path}: invalid value {value} for type {type_name}"


def _type_text(field: Any) -> str:
    """A scalar type as errors name it."""
    if field.enum_type is not None:
        return f"{_TYPE_PREFIX}{field.enum_type.full_name}"
    return _TYPE_NAMES[field.type]


def _type_name(field: Any) -> str:
    described = field.message_type or field.enum_type
    return described.full_name if described is not None else ""


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _flat(values: list[Any]) -> list[Any]:
    """Lists in a list count as their items, as in Envoy."""
    if not any(isinstance(value, list) for value in values):
        return values
    return [item for value in values for item in (_flat(value) if isinstance(value, list) else [value])]


def _plain(value: Any) -> Any:
    """What `json_format` takes: dictionaries for objects."""
    if isinstance(value, JsonObject):
        return {name: _plain(one) for name, one in value.entries}
    return [_plain(one) for one in value] if isinstance(value, list) else value
