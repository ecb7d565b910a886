"""`google.protobuf.Any` to the message in it."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from proxy.config import extensions
from proxy.config.context import CompileContext


def unpack(any_message: Any, path: str, ctx: CompileContext) -> Any | None:
    """The message in an Any, of a type in `extensions`; else None, and a problem at `path`.

    A TypedStruct is unwrapped. An Any without a type is None without a problem.
    """
    message, reason = unpack_any(any_message)
    if reason:
        ctx.problem(path, reason)
    return message


def unpack_extension(message: Any, path: str, ctx: CompileContext) -> Any | None:
    """The message in the `typed_config` of an extension, which must be there; else None, and a problem."""
    if not message.HasField("typed_config") or not message.typed_config.type_url:
        ctx.problem(f"{path}.typed_config", f"a typed_config is required (name {message.name!r})")
        return None
    return unpack(message.typed_config, f"{path}.typed_config", ctx)


def unpack_any(any_message: Any) -> tuple[Any | None, str]:
    """The message in an Any or None, and why it cannot be had (empty when the Any is empty)."""
    type_url: str = any_message.type_url
    if not type_url:
        return None, "an '@type' that names the message is missing" if any_message.value else ""
    type_name = extensions.type_name_of(type_url)
    if type_name in extensions.TYPED_STRUCTS:
        return _from_typed_struct(any_message, type_name)
    found_class = extensions.message_class(type_name)
    if found_class is None:
        return None, extensions.unknown_type(type_name)
    message = found_class()
    try:
        message.ParseFromString(any_message.value)
    except DecodeError:
        return None, f"the bytes are not a valid {type_name}"
    return message, ""


def _from_typed_struct(any_message: Any, carrier: str) -> tuple[Any | None, str]:
    # Only control planes send these as messages; in files they are unwrapped while reading.
    from google.protobuf import json_format
    from udpa.type.v1 import typed_struct_pb2 as udpa_typed_struct
    from xds.type.v3 import typed_struct_pb2 as xds_typed_struct

    module = udpa_typed_struct if carrier.startswith("udpa.") else xds_typed_struct
    wrapper = module.TypedStruct()
    try:
        wrapper.ParseFromString(any_message.value)
    except DecodeError:
        return None, f"the bytes are not a valid {carrier}"
    type_name = extensions.type_name_of(wrapper.type_url)
    found_class = extensions.message_class(type_name)
    if found_class is None:
        return None, extensions.unknown_type(type_name)
    from proxy.config.message_reader import read_json_value
    from proxy.config.positions import path_of

    message = found_class()
    faults = read_json_value(message, json_format.MessageToDict(wrapper.value))
    if faults:
        return None, "; ".join(f"{path_of(reversed(fault.path))}: {fault.reason}" for fault in faults)
    return message, ""
