"""Tags that a config adds to spans and log entries. Source: `envoy.type.tracing.v3.CustomTag`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.compile import compile_format
from proxy.formatter.data_operators import (
    cluster_metadata,
    dynamic_metadata,
    host_metadata,
    lookup,
    route_metadata,
)
from proxy.formatter.json_value import json_text
from proxy.formatter.message_operators import request_getter
from proxy.formatter.wire import to_wire

_METADATA = {
    "request": dynamic_metadata,
    "route": route_metadata,
    "cluster": cluster_metadata,
    "host": host_metadata,
}


class CustomTag(Struct, frozen=True):
    """`value` gives wire text; "" is not told."""

    name: str
    value: Callable[[StreamInfo], str]


def compile_custom_tags(messages: Sequence[Any], path: str, context: CompileContext) -> tuple[CustomTag, ...]:
    """Compile a list at `path`."""
    return tuple(
        CustomTag(message.tag, _compile(message, f"{path}[{index}]", context))
        for index, message in enumerate(messages)
    )


def _compile(message: Any, path: str, context: CompileContext) -> Callable[[StreamInfo], str]:
    if not message.tag:
        context.problem(f"{path}.tag", "value length must be at least 1 characters")
    match message.WhichOneof("type"):
        case "literal":
            return _constant(message.literal.value)
        case "environment":
            environment = message.environment
            return _constant(os.environ.get(environment.name, environment.default_value))
        case "request_header":
            header = message.request_header
            read, default = request_getter(header.name.lower()), to_wire(header.default_value)
            return lambda info: read(info) or default
        case "metadata":
            return _metadata(message.metadata, f"{path}.metadata", context)
        case "value":
            return compile_format(message.value, f"{path}.value", context, omit_empty=True).render
        case _:
            context.problem(path, "a literal, environment, request_header, metadata or value is required")
            return lambda _info: ""


def _constant(text: str) -> Callable[[StreamInfo], str]:
    wire = to_wire(text)
    return lambda _info: wire


def _metadata(message: Any, path: str, context: CompileContext) -> Callable[[StreamInfo], str]:
    kind = message.kind.WhichOneof("kind")
    if kind is None:
        context.problem(f"{path}.kind", "one of request, route, cluster and host is required")
        return lambda _info: ""
    source = _METADATA[kind]
    namespace = message.metadata_key.key
    keys = [segment.key for segment in message.metadata_key.path]
    default = to_wire(message.default_value)

    def value(info: StreamInfo) -> str:
        found = lookup(source(info), namespace, keys)
        if found is None:
            return default
        return to_wire(found if isinstance(found, str) else json_text(found))

    return value
