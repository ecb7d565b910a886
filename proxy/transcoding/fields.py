"""What the writer of messages needs to know of a field, found out once: asking descriptors takes its time."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from proxy.transcoding import scalars

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
_CONVERTERS: Final[dict[int, Callable[[Any], Any]]] = {
    **{kind: partial(scalars.as_integer, bits=bits, signed=True) for kind, bits in _SIGNED.items()},
    **{kind: partial(scalars.as_integer, bits=bits, signed=False) for kind, bits in _UNSIGNED.items()},
    FieldDescriptor.TYPE_DOUBLE: scalars.as_float,
    FieldDescriptor.TYPE_FLOAT: partial(scalars.as_float, single=True),
    FieldDescriptor.TYPE_BOOL: scalars.as_bool,
    FieldDescriptor.TYPE_BYTES: scalars.as_bytes,
}


class Kind(Enum):
    """How the JSON of a field looks."""

    SCALAR = 0
    #: An object of fields.
    MESSAGE = 1
    MAP = 2
    #: The value alone, or an object of fields.
    WRAPPER = 3
    #: A form of its own, or an object of fields.
    WELL_KNOWN = 4
    #: A form of its own, which may be an object of anything.
    FREE = 5


_KINDS: Final = {
    **dict.fromkeys(
        ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64"), Kind.WRAPPER
    ),
    **dict.fromkeys(("Duration", "FieldMask", "ListValue", "Timestamp"), Kind.WELL_KNOWN),
    **dict.fromkeys(("Any", "Struct", "Value"), Kind.FREE),
}


def kind_of(full_name: str) -> Kind:
    """The kind of a message type."""
    package, _, name = full_name.rpartition(".")
    if package != "google.protobuf":
        return Kind.MESSAGE
    if name in _KINDS and _KINDS[name] is not Kind.WRAPPER:
        return _KINDS[name]
    return _KINDS.get(name.removesuffix("Value"), Kind.MESSAGE) if name.endswith("Value") else Kind.MESSAGE


class Field:
    """One field. `oneof` is the name of its group or ""; `type_name` names its type in errors.

    `convert` is None for messages. Maps have fields for `key` and `value`; wrappers for `value`.
    """

    __slots__ = (
        "_any_case",
        "_descriptor",
        "_fields",
        "convert",
        "key",
        "kind",
        "name",
        "nullable",
        "oneof",
        "repeated",
        "takes_lists",
        "type_name",
        "value",
    )

    def __init__(self, field: Any, any_case: bool) -> None:
        message, enum = field.message_type, field.enum_type
        self.name: str = field.name
        self.repeated: bool = field.is_repeated
        self.oneof: str = field.containing_oneof.name if field.containing_oneof is not None else ""
        described = message or enum
        full_name: str = described.full_name if described is not None else ""
        self.type_name = f"{_TYPE_PREFIX}{full_name}" if full_name else _TYPE_NAMES[field.type]
        self.nullable = full_name in {"google.protobuf.Value", "google.protobuf.NullValue"}
        self.takes_lists = full_name in {"google.protobuf.Value", "google.protobuf.ListValue"}
        self.kind = Kind.SCALAR if message is None else kind_of(full_name)
        self.convert: Callable[[Any], Any] | None = None
        if enum is not None:
            self.convert = partial(scalars.as_enum, descriptor=enum, any_case=any_case)
        elif message is None:
            self.convert = _CONVERTERS.get(field.type, scalars.as_text)
        self.key = self.value = self
        if message is not None and message.GetOptions().map_entry:
            self.kind = Kind.MAP
            self.key = Field(message.fields_by_name["key"], any_case)
        if self.kind in (Kind.MAP, Kind.WRAPPER):
            self.value = Field(message.fields_by_name["value"], any_case)
        self._descriptor = message
        self._any_case = any_case
        self._fields: dict[str, Field] | None = None

    @property
    def fields(self) -> dict[str, Field]:
        """The fields of a message by their own and their JSON names."""
        if self._fields is None:
            self._fields = fields_of(self._descriptor, self._any_case)
        return self._fields


def fields_of(descriptor: Any, any_case: bool) -> dict[str, Field]:
    """The fields of a message by their own and their JSON names."""
    made = [(field, Field(field, any_case)) for field in descriptor.fields]
    return {field.json_name: one for field, one in made} | {field.name: one for field, one in made}
