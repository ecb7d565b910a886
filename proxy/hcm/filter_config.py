"""`http_filters` compiled: which filters a stream meets, in order, and the router at the end."""

from __future__ import annotations

from typing import Any

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.extensions import is_registered
from proxy.filters.registry import http_filter
from proxy.hcm.discovered_filter import CompiledHttpFilter, HttpFilterConfig, compile_discovered_http


def compile_http_filters(
    messages: Any, path: str, context: CompileContext
) -> tuple[tuple[HttpFilterConfig, ...], Any]:
    """(filters before the router, the router's message or None). The router must stand last, as in Envoy.

    A discovered filter that stands last is among the filters; what comes must be the router then.
    """
    filters: list[HttpFilterConfig] = []
    router = None
    discovered = False
    for index, message in enumerate(messages):
        where = f"{path}[{index}]"
        if router is not None:
            context.problem(
                f"{path}[{index - 1}]",
                "Error: terminal filter named "
                f"{messages[index - 1].name} of type envoy.filters.http.router must be the last filter in a "
                "http filter chain.",
            )
            break
        if message.HasField("config_discovery"):
            discovered = index == len(messages) - 1
            filters.append(compile_discovered_http(message, where, discovered, context))
            continue
        compiled, is_router = _compile_one(message, where, context)
        if is_router:
            router = compiled
        elif compiled is not None:
            filters.append(compiled)
    if router is None and not discovered and not context.problems and len(messages):
        context.problem(
            f"{path}[{len(messages) - 1}]",
            f"Error: non-terminal filter named {messages[-1].name} is the last filter in a http filter chain.",
        )
    return tuple(filters), router


def _compile_one(message: Any, where: str, context: CompileContext) -> tuple[Any, bool]:
    if message.is_optional and not is_registered(message.typed_config):
        return None, False  # the check of the message has warned about it
    if not message.HasField("typed_config"):
        context.problem(where, f"filter {message.name!r} has no typed_config")
        return None, False
    config = unpack(message.typed_config, f"{where}.typed_config", context)
    if config is None:
        return None, False
    factory = http_filter(config.DESCRIPTOR.full_name)
    if factory is None:
        context.problem(
            f"{where}.typed_config", f"{config.DESCRIPTOR.full_name} is not a supported HTTP filter"
        )
        return None, False
    if factory.terminal:
        if message.disabled:
            context.problem(f"{where}.disabled", "a terminal filter cannot be disabled")
        return config, True
    compiled = factory.compile(config, f"{where}.typed_config", context)
    if factory.passive:
        return None, False
    return CompiledHttpFilter(message.name, factory, compiled, message.disabled), False
