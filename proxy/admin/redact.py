"""Hides secrets in messages before they are shown: every field that Envoy's protos mark as sensitive.

Source: `udpa.annotations.sensitive`. Texts and bytes become "[redacted]", other values are cleared; below a
sensitive field everything counts as sensitive. Messages packed in an Any or in a TypedStruct are opened.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.wrappers_pb2 import StringValue
from udpa.annotations import sensitive_pb2

from proxy.config.extensions import TYPED_STRUCTS, message_class, type_name_of

REDACTED: Final = "[redacted]"

_STRUCT: Final = "google.protobuf.Struct"
_ANY: Final = "google.protobuf.Any"

_worth: dict[str, bool] = {}


def redact(message: Any) -> None:
    """Hide the secrets in `message`, in place. Every Any in it is left in a form that can be printed."""
    _redact(message, hidden=False)


def _redact(message: Any, *, hidden: bool) -> None:
    descriptor = message.DESCRIPTOR
    if descriptor.full_name == _ANY:
        _redact_any(message, hidden=hidden)
        return
    if not hidden and not _may_hold_secrets(descriptor):
        return
    for field, value in message.ListFields():
        _redact_field(message, field, value, hidden=hidden or _is_sensitive(field))


def _redact_field(message: Any, field: FieldDescriptor, value: Any, *, hidden: bool) -> None:
    kind = field.message_type
    if kind is not None:
        entry = kind.fields_by_name["value"] if kind.GetOptions().map_entry else None
        if entry is not None and entry.message_type is None:
            if hidden:
                _hide_map(value, entry)
        elif entry is not None:
            for item in value.values():
                _redact(item, hidden=hidden)
        elif field.is_repeated:
            for item in value:
                _redact(item, hidden=hidden)
        else:
            _redact(value, hidden=hidden)
    elif hidden:
        _hide_scalar(message, field, value)


def _hide_scalar(message: Any, field: FieldDescriptor, value: Any) -> None:
    stand_in: Any
    if field.type == FieldDescriptor.TYPE_STRING:
        stand_in = REDACTED
    elif field.type == FieldDescriptor.TYPE_BYTES:
        stand_in = REDACTED.encode()
    else:
        message.ClearField(field.name)
        return
    if field.is_repeated:
        value[:] = [stand_in] * len(value)
    else:
        setattr(message, field.name, stand_in)


def _hide_map(values: Any, field: FieldDescriptor) -> None:
    for key in list(values):
        if field.type == FieldDescriptor.TYPE_STRING:
            values[key] = REDACTED
        elif field.type == FieldDescriptor.TYPE_BYTES:
            values[key] = REDACTED.encode()
        else:
            del values[key]


def _redact_any(packed: Any, *, hidden: bool) -> None:
    if not packed.type_url:
        return
    inner = unpacked(packed)
    if inner is None:
        # Nothing is known of its fields, so nothing of it may be shown.
        packed.Pack(StringValue(value=f"{REDACTED}: unknown type {packed.type_url}"))
        return
    _redact(inner, hidden=hidden)
    packed.Pack(inner)


def unpacked(packed: Any) -> Any:
    """The message in an Any, or None; a TypedStruct gives the message that it spells out."""
    kind = known_class(type_name_of(packed.type_url))
    if kind is None:
        return None
    inner = kind.FromString(packed.value)
    if inner.DESCRIPTOR.full_name not in TYPED_STRUCTS:
        return inner
    kind = known_class(type_name_of(inner.type_url))
    if kind is None:
        return None
    try:
        return json_format.ParseDict(
            json_format.MessageToDict(inner.value), kind(), ignore_unknown_fields=True
        )
    except json_format.ParseError:
        return None


def known_class(type_name: str) -> Any:
    """The class of an extension or of any message that something has imported, or None."""
    kind = message_class(type_name)
    if kind is not None:
        return kind
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(type_name)
    except KeyError:
        return None
    return message_factory.GetMessageClass(descriptor)


def _is_sensitive(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[sensitive_pb2.sensitive])


def _may_hold_secrets(descriptor: Descriptor) -> bool:
    """Whether a secret or an Any can be found anywhere below; answered once per type."""
    known = _worth.get(descriptor.full_name)
    if known is not None:
        return known
    seen: dict[str, Descriptor] = {descriptor.full_name: descriptor}
    pending = [descriptor]
    answer = False
    while pending and not answer:
        for field in pending.pop().fields:
            below = field.message_type
            if _is_sensitive(field) or (below is not None and below.full_name in {_ANY, _STRUCT}):
                answer = True
            elif below is not None and below.full_name not in seen:
                seen[below.full_name] = below
                pending.append(below)
    _worth[descriptor.full_name] = answer
    return answer
