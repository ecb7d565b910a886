"""`overload_manager` of a bootstrap, compiled."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from envoy.extensions.resource_monitors.fixed_heap.v3 import fixed_heap_pb2
from envoy.extensions.resource_monitors.injected_resource.v3 import injected_resource_pb2
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.overload.config import OverloadPlan, compile_overload, make_monitors
from proxy.overload.monitors import Connections, InjectedResource
from proxy.overload.triggers import TimerMinimum, Trigger

# What `json_format` finds by their names.
MESSAGES = (downstream_connections_pb2, fixed_heap_pb2, injected_resource_pb2)
TYPES = "type.googleapis.com/envoy.extensions.resource_monitors"
FILE = {
    "name": "file",
    "typed_config": {
        "@type": f"{TYPES}.injected_resource.v3.InjectedResourceConfig",
        "filename": "/nonexistent",
    },
}
LIMIT = {
    "name": "envoy.resource_monitors.global_downstream_max_connections",
    "typed_config": {
        "@type": f"{TYPES}.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 8,
    },
}
STOP = "envoy.overload_actions.stop_accepting_requests"
REDUCE = "envoy.overload_actions.reduce_timeouts"
ACCEPT = "envoy.load_shed_points.tcp_listener_accept"


def compiled(**manager: Any) -> tuple[OverloadPlan, list[str]]:
    bootstrap = bootstrap_pb2.Bootstrap()
    json_format.ParseDict({"overload_manager": manager}, bootstrap)
    context = CompileContext()
    plan = compile_overload(bootstrap, context)
    assert plan is not None
    return plan, [str(problem) for problem in context.problems]


def action(*triggers: Any, name: str = STOP) -> dict[str, Any]:
    return {"name": name, "triggers": list(triggers)}


def reduce(*timers: str, **least: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig"
    factors = [{"timer": timer, **(least or {"min_timeout": "2s"})} for timer in timers]
    return {"name": REDUCE, "typed_config": {"@type": kind, "timer_scale_factors": factors}}


def at(value: float, resource: str = "file") -> dict[str, Any]:
    return {"name": resource, "threshold": {"value": value}}


def test_without_a_manager_there_is_none() -> None:
    assert compile_overload(bootstrap_pb2.Bootstrap(), CompileContext()) is None


def test_a_manager_has_monitors_actions_and_points() -> None:
    scale = {"name": "file", "scaled": {"scaling_threshold": 0.5, "saturation_threshold": 0.75}}
    plan, problems = compiled(
        refresh_interval="0.25s",
        resource_monitors=[FILE, LIMIT],
        actions=[action(at(0.5), at(0.75, LIMIT["name"]))],
        loadshed_points=[{"name": ACCEPT, "triggers": [scale]}],
    )
    assert problems == []
    assert (plan.refresh, plan.most_connections) == (0.25, 8)
    assert plan.actions[0].triggers == (Trigger("file", 0.5, 0.5), Trigger(str(LIMIT["name"]), 0.75, 0.75))
    assert plan.points[0].triggers == (Trigger("file", 0.5, 0.75),)
    kinds = [type(one) for one in make_monitors(plan, list, lambda: 4).values()]
    assert kinds == [InjectedResource, Connections]


def test_timers_have_a_minimum() -> None:
    plan, problems = compiled(actions=[reduce("HTTP_DOWNSTREAM_CONNECTION_IDLE")])
    assert problems == []
    assert plan.timers == {"HTTP_DOWNSTREAM_CONNECTION_IDLE": TimerMinimum(2.0, 0.0)}
    plan, problems = compiled(actions=[reduce("HTTP_DOWNSTREAM_CONNECTION_MAX", min_scale={"value": 10})])
    assert plan.timers == {"HTTP_DOWNSTREAM_CONNECTION_MAX": TimerMinimum(None, 0.1)}


def test_a_look_is_taken_every_second_unless_it_says_otherwise() -> None:
    assert compiled()[0].refresh == 1.0


@pytest.mark.parametrize(
    ("manager", "problem"),
    [
        ({"resource_monitors": [FILE, FILE]}, "Duplicate resource monitor file"),
        ({"actions": [action(at(0.5))]}, f"Unknown trigger resource file for overload action {STOP}"),
        ({"actions": [action(), action()]}, f"Duplicate overload action {STOP}"),
        ({"actions": [action(name=REDUCE)]}, "a typed_config is required"),
        ({"actions": [reduce("TRANSPORT_SOCKET_CONNECT")]}, "TRANSPORT_SOCKET_CONNECT is not supported"),
        (
            {"actions": [reduce("HTTP_DOWNSTREAM_CONNECTION_IDLE", "HTTP_DOWNSTREAM_CONNECTION_IDLE")]},
            "Found duplicate entry for timer type HTTP_DOWNSTREAM_CONNECTION_IDLE",
        ),
        ({"actions": [action(name="envoy.overload_actions.x")]}, "Unknown overload action"),
        (
            {"actions": [action(name="envoy.overload_actions.reset_high_memory_stream")]},
            "envoy.overload_actions.reset_high_memory_stream is not supported",
        ),
        (
            {"resource_monitors": [FILE], "actions": [action(at(0.5), at(0.6))]},
            f"Duplicate trigger resource for overload action {STOP}",
        ),
        (
            {"resource_monitors": [FILE], "actions": [action({"name": "file"})]},
            "action not set for trigger file",
        ),
        (
            {
                "resource_monitors": [FILE],
                "actions": [
                    action(
                        {"name": "file", "scaled": {"scaling_threshold": 0.5, "saturation_threshold": 0.5}}
                    )
                ],
            },
            "scaling_threshold must be less than saturation_threshold",
        ),
        (
            {
                "resource_monitors": [LIMIT],
                "loadshed_points": [action(at(0.5, str(LIMIT["name"])), name=ACCEPT)],
            },
            "Unknown trigger resource",
        ),
        (
            {"loadshed_points": [{"name": "envoy.load_shed_points.http2_server_go_away_on_dispatch"}]},
            "envoy.load_shed_points.http2_server_go_away_on_dispatch is not supported",
        ),
        (
            {
                "actions": [
                    {"name": STOP, "typed_config": {"@type": f"{TYPES}.fixed_heap.v3.FixedHeapConfig"}}
                ]
            },
            "unexpected value for the typed_config field",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(manager: dict[str, Any], problem: str) -> None:
    _, problems = compiled(**manager)
    assert any(problem in one for one in problems), problems
