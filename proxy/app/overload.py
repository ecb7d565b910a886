"""`Bootstrap.overload_manager`, as far as there is one: the limit on connections of the whole proxy.

Source: envoy.config.overload.v3, and `resource_monitors/downstream_connections` of Envoy.
"""

from __future__ import annotations

from typing import Any

from proxy.app.runtime_layers import Layer
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.downstream.connection import GLOBAL_LIMIT_KEY


def overload_layers(bootstrap: Any, context: CompileContext) -> tuple[Layer, ...]:
    """The limit as a layer of the runtime, above all others as in Envoy; nothing where none is configured."""
    limits: list[int] = []
    for index, monitor in enumerate(bootstrap.overload_manager.resource_monitors):
        path = f"overload_manager.resource_monitors[{index}]"
        if limits:
            context.problem(f"{path}.name", f"Duplicate resource monitor {monitor.name}")
        message = unpack_extension(monitor, path, context)
        if message is not None:
            limits.append(message.max_active_downstream_connections)
    return tuple(Layer("overload manager", {GLOBAL_LIMIT_KEY: str(limit)}) for limit in limits[:1])
