"""`Bootstrap.overload_manager`, compiled. Source: envoy.config.overload.v3."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from proxy.base.errors import ConfigError
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.overload.monitors import CgroupMemory, Connections, FixedHeap, InjectedResource, Monitor
from proxy.overload.names import ACTIONS, OTHERS, POINTS, REDUCE_TIMEOUTS, TIMERS
from proxy.overload.triggers import TimerMinimum, Trigger

DEFAULT_REFRESH: Final = 1.0
"""Seconds between two looks at the resources."""

_CONNECTIONS: Final = "DownstreamConnectionsConfig"


class SubjectPlan(Struct, frozen=True):
    """An action or load shed point."""

    name: str
    triggers: tuple[Trigger, ...]


class OverloadPlan(Struct, frozen=True):
    """`monitors` are messages of the configs by name, `most_connections` is None where there is no limit."""

    refresh: float
    monitors: dict[str, Any]
    actions: tuple[SubjectPlan, ...]
    points: tuple[SubjectPlan, ...]
    most_connections: int | None
    #: By the names of timers, for `reduce_timeouts`.
    timers: dict[str, TimerMinimum]


def compile_overload(bootstrap: Any, context: CompileContext) -> OverloadPlan | None:
    """Check and compile; problems go to `context`. None where no overload manager is configured."""
    if not bootstrap.HasField("overload_manager"):
        return None
    message = bootstrap.overload_manager
    monitors: dict[str, Any] = {}
    limits: list[int] = []
    names: set[str] = set()
    for index, monitor in enumerate(message.resource_monitors):
        path = f"overload_manager.resource_monitors[{index}]"
        if monitor.name in names:
            context.problem(f"{path}.name", f"Duplicate resource monitor {monitor.name}")
        names.add(monitor.name)
        config = unpack_extension(monitor, path, context)
        if config is None:
            continue
        monitors[monitor.name] = config
        if config.DESCRIPTOR.name == _CONNECTIONS:
            limits.append(config.max_active_downstream_connections)
        elif config.DESCRIPTOR.name == "CgroupMemoryConfig":
            try:
                CgroupMemory(config.max_memory_bytes)
            except ConfigError as error:
                context.problem(f"{path}.typed_config", str(error))
    # Envoy's limit on connections may trigger actions, but no load shed points.
    sheddable = {name for name, config in monitors.items() if config.DESCRIPTOR.name != _CONNECTIONS}
    timers: dict[str, TimerMinimum] = {}
    for index, action in enumerate(message.actions):
        path = f"overload_manager.actions[{index}].typed_config"
        if action.name == REDUCE_TIMEOUTS:
            timers = _timers(action, path, context)
        elif action.HasField("typed_config"):
            reason = f'Overload action "{action.name}" has an unexpected value for the typed_config field'
            context.problem(path, reason)
    interval = message.refresh_interval
    return OverloadPlan(
        (interval.seconds + interval.nanos / 1e9)
        if message.HasField("refresh_interval")
        else DEFAULT_REFRESH,
        monitors,
        _subjects(message.actions, "actions", "overload action", ACTIONS, names, context),
        _subjects(message.loadshed_points, "loadshed_points", "loadshed point", POINTS, sheddable, context),
        limits[0] if limits else None,
        timers,
    )


def _timers(action: Any, path: str, context: CompileContext) -> dict[str, TimerMinimum]:
    config = unpack_extension(action, path.rpartition(".")[0], context)
    if config is None:
        return {}
    timers: dict[str, TimerMinimum] = {}
    for index, factor in enumerate(config.timer_scale_factors):
        at = f"{path}.timer_scale_factors[{index}]"
        kind = factor.DESCRIPTOR.fields_by_name["timer"].enum_type.values_by_number.get(factor.timer)
        timer = "" if kind is None else kind.name
        if timer not in TIMERS:
            reason = f"{timer or factor.timer} is not supported; use {' or '.join(sorted(TIMERS))}"
            context.problem(f"{at}.timer", reason)
        if timer in timers:
            context.problem(f"{at}.timer", f"Found duplicate entry for timer type {timer}")
        least = factor.min_timeout
        timers[timer] = TimerMinimum(
            least.seconds + least.nanos / 1e9 if factor.HasField("min_timeout") else None,
            factor.min_scale.value / 100,
        )
    return timers


def make_monitors(
    plan: OverloadPlan, processes: Callable[[], Iterable[int]], connections: Callable[[], int]
) -> dict[str, Monitor]:
    """What is asked, by name. `processes` are the ids of all that take memory, `connections` counts clients."""
    made: dict[str, Monitor] = {}
    for name, config in plan.monitors.items():
        match config.DESCRIPTOR.name:
            case "FixedHeapConfig":
                made[name] = FixedHeap(config.max_heap_size_bytes, processes)
            case "InjectedResourceConfig":
                made[name] = InjectedResource(config.filename)
            case "CgroupMemoryConfig":
                made[name] = CgroupMemory(config.max_memory_bytes)
            case _:
                made[name] = Connections(config.max_active_downstream_connections, connections)
    return made


def _subjects(
    messages: Sequence[Any],
    field: str,
    what: str,
    known: Collection[str],
    resources: Collection[str],
    context: CompileContext,
) -> tuple[SubjectPlan, ...]:
    plans: list[SubjectPlan] = []
    seen: set[str] = set()
    for index, message in enumerate(messages):
        path = f"overload_manager.{field}[{index}]"
        name = message.name
        if name in OTHERS:
            context.problem(f"{path}.name", f"{name} is not supported")
        elif name not in known:
            context.problem(f"{path}.name", f"Unknown {what} {name}; known are {', '.join(sorted(known))}")
        if name in seen:
            context.problem(f"{path}.name", f"Duplicate {what} {name}")
        seen.add(name)
        plans.append(SubjectPlan(name, _triggers(message, path, what, resources, context)))
    return tuple(plans)


def _triggers(
    message: Any, path: str, what: str, resources: Collection[str], context: CompileContext
) -> tuple[Trigger, ...]:
    triggers: dict[str, Trigger] = {}
    for index, one in enumerate(message.triggers):
        at = f"{path}.triggers[{index}]"
        if one.name in triggers:
            context.problem(f"{at}.name", f"Duplicate trigger resource for {what} {message.name}")
        if one.name not in resources:
            reason = f"Unknown trigger resource {one.name} for {what} {message.name}"
            context.problem(f"{at}.name", reason)
        match one.WhichOneof("trigger_oneof"):
            case "threshold":
                trigger = Trigger(one.name, one.threshold.value, one.threshold.value)
            case "scaled":
                trigger = Trigger(one.name, one.scaled.scaling_threshold, one.scaled.saturation_threshold)
                if trigger.scaling >= trigger.saturation:
                    reason = "scaling_threshold must be less than saturation_threshold"
                    context.problem(f"{at}.scaled", reason)
            case _:
                context.problem(at, f"action not set for trigger {one.name}")
                continue
        triggers[one.name] = trigger
    return tuple(triggers.values())
