"""The runtime's layers: static ones of the bootstrap, those of a control plane or a directory, and the admin layer
that `/runtime_modify` writes.

Source: `envoy.config.bootstrap.v3.LayeredRuntime` and Envoy's `runtime_impl.cc`. A nested mapping becomes
dotted keys, except one that spells a `FractionalPercent`, which is a value. Lists and nulls are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from proxy.app.disk_layers import DiskLayer, compile_disk_layer, read_values
from proxy.base.errors import ConfigError, UsageError
from proxy.base.runtime import DENOMINATORS
from proxy.config.context import CompileContext
from proxy.config.runtime_guards import guard_warnings
from xds_client.resource_types import ResourceType


class Layer(Struct, frozen=True):
    """One layer, lowest first.

    `admin` marks the one that may be written at run time. One with `key` comes from a control plane (RTDS), as the
    resource with that key, one with `disk` from a directory. A `missing` one is not there, a `failed` one has no
    values because they could not be read.
    """

    name: str
    values: Mapping[str, str]
    admin: bool = False
    key: str = ""
    disk: DiskLayer | None = None
    missing: bool = False
    failed: bool = False


def compile_layers(bootstrap: Any, context: CompileContext) -> tuple[Layer, ...]:
    """The layers of a `Bootstrap`. Without any, Envoy has one admin layer called "admin"."""
    if not bootstrap.layered_runtime.layers:
        return (Layer("admin", {}, admin=True),)
    layers: list[Layer] = []
    for index, message in enumerate(bootstrap.layered_runtime.layers):
        path = f"layered_runtime.layers[{index}]"
        kind = message.WhichOneof("layer_specifier")
        if any(message.name == layer.name for layer in layers):
            context.problem(f"{path}.name", f"Duplicate layer name: {message.name}")
        if kind == "static_layer":
            values: dict[str, str] = {}
            _flatten(message.static_layer, "", f"{path}.static_layer", values, context)
            _warn_of_guards(values, f"{path}.static_layer", context)
            layers.append(Layer(message.name, values))
        elif kind == "admin_layer":
            if any(layer.admin for layer in layers):
                context.problem(
                    path, "Too many admin layers specified in LayeredRuntime, at most one may be specified"
                )
            layers.append(Layer(message.name, {}, admin=True))
        elif kind == "rtds_layer":
            rtds = message.rtds_layer
            at = f"{path}.rtds_layer.rtds_config"
            name = rtds.name or message.name
            source = context.resources.want(
                ResourceType.RUNTIME, name, rtds.rtds_config, at, context, "runtime."
            )
            layers.append(Layer(message.name, {}, key=source.key))
        elif kind == "disk_layer":
            disk = compile_disk_layer(
                message.disk_layer, bootstrap.node.cluster, f"{path}.disk_layer", context
            )
            layer = _read(Layer(message.name, {}, disk=disk))
            _warn_of_guards(layer.values, f"{path}.disk_layer", context)
            layers.append(layer)
    return tuple(layers)


def _warn_of_guards(values: Mapping[str, str], path: str, context: CompileContext) -> None:
    for reason in guard_warnings(values):
        context.warning(path, reason)


def merge(layers: tuple[Layer, ...], overrides: Mapping[str, str]) -> dict[str, str]:
    """The values in effect: later layers win; `overrides` are the values of the admin layer."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update(overrides if layer.admin else layer.values)
    return merged


def read_layer(body: bytes, name: str) -> dict[str, str]:
    """The values of a `service.runtime.v3.Runtime` that is asked for as `name`. Raises `ConfigError`."""
    from envoy.service.runtime.v3 import rtds_pb2  # most configs have no such layer

    message = rtds_pb2.Runtime.FromString(body)
    if message.name != name:
        raise ConfigError(f"Unexpected RTDS runtime (expecting {name}): {message.name}")
    context = CompileContext()
    values: dict[str, str] = {}
    _flatten(message.layer, "", "layer", values, context)
    context.raise_if_problems()
    return values


def replaced(layers: tuple[Layer, ...], key: str, values: Mapping[str, str]) -> tuple[Layer, ...]:
    """The layers after those of the resource `key` have come or changed."""
    return tuple(replace(layer, values=values) if layer.key == key else layer for layer in layers)


def read_again(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers with what directories hold by now."""
    return tuple(layer if layer.disk is None else _read(layer) for layer in layers)


def _read(layer: Layer) -> Layer:
    assert layer.disk is not None
    found = read_values(layer.disk)
    return replace(layer, values=found.values, missing=found.missing, failed=found.failed)


def modified(
    overrides: Mapping[str, str], changes: Mapping[str, str], layers: tuple[Layer, ...]
) -> dict[str, str]:
    """The admin layer after `/runtime_modify`; an empty text removes an override.

    Raises `UsageError` when no admin layer is configured.
    """
    if not any(layer.admin for layer in layers):
        raise UsageError("No admin layer specified")
    result = dict(overrides)
    for key, text in changes.items():
        if text:
            result[key] = text
        else:
            result.pop(key, None)
    return result


def _flatten(struct: Any, prefix: str, path: str, values: dict[str, str], context: CompileContext) -> None:
    for key, value in struct.fields.items():
        name = f"{prefix}.{key}" if prefix else key
        match value.WhichOneof("kind"):
            case "bool_value":
                values[name] = "true" if value.bool_value else "false"
            case "number_value":
                values[name] = _number_text(value.number_value)
            case "string_value":
                values[name] = value.string_value
            case "struct_value":
                fraction = _fraction_text(value.struct_value)
                if fraction is not None:
                    values[name] = fraction
                else:
                    _flatten(value.struct_value, name, f"{path}.{key}", values, context)
            case _:
                context.problem(f"{path}.{key}", f"Invalid runtime entry value for {name}")


def _number_text(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def _fraction_text(struct: Any) -> str | None:
    """A `FractionalPercent` as "numerator/denominator", or None if the mapping is none."""
    fields = struct.fields
    if "numerator" not in fields or any(key not in {"numerator", "denominator"} for key in fields):
        return None
    denominator = DENOMINATORS.get(fields["denominator"].string_value or "HUNDRED")
    if denominator is None:
        return None
    return f"{_number_text(fields['numerator'].number_value)}/{denominator}"
