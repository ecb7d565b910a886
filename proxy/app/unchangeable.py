"""What of a bootstrap a running proxy cannot change: everything but its static clusters, listeners and runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from envoy.config.bootstrap.v3 import bootstrap_pb2
from msgspec import Struct

from proxy.base.errors import Problem
from proxy.config.any_unpack import unpack_any

_REMEDY: Final = "cannot change while the proxy runs; restart it"


class Current(Struct, frozen=True):
    """What runs: the bootstrap without static clusters and listeners, and the former of these by name."""

    bootstrap: bytes
    clusters: Mapping[str, bytes]


def unchangeable(current: Current, bootstrap: Any, clusters: list[tuple[str, bytes]]) -> list[Problem]:
    """A problem for each field that differs and cannot be changed; `bootstrap` and `clusters` are new."""
    before = bootstrap_pb2.Bootstrap.FromString(current.bootstrap)
    problems = [
        Problem(path, _REMEDY)
        for path in _differences(before, bootstrap, "")
        if not path.startswith("layered_runtime")
        or _discovers_runtime(before)
        or _discovers_runtime(bootstrap)
    ]
    places = {name: number for number, (name, _) in enumerate(clusters)}
    new = dict(clusters)
    for name in sorted(control_clusters(before) | _sink_clusters(before)):
        if name in current.clusters and new.get(name) != current.clusters[name]:
            at = (
                f"static_resources.clusters[{places[name]}]"
                if name in places
                else "static_resources.clusters"
            )
            problems.append(Problem(at, f"cluster '{name}' leads to the control plane and {_REMEDY}"))
    return problems


def _sink_clusters(bootstrap: Any) -> set[str]:
    """Those of the metrics services that stats go to."""
    found: set[str] = set()
    for sink in bootstrap.stats_sinks:
        message, _reason = unpack_any(sink.typed_config)
        if message is not None:
            found |= control_clusters(message)
    return found


def control_clusters(message: Any) -> set[str]:
    """The clusters by which a bootstrap reaches control planes and services of the controller."""
    found: set[str] = set()
    for field, value in message.ListFields():
        if field.name in {"cluster_name", "cluster_names"} and field.containing_type.full_name in {
            "envoy.config.core.v3.GrpcService.EnvoyGrpc",
            "envoy.config.core.v3.ApiConfigSource",
        }:
            found |= {value} if isinstance(value, str) else set(value)
        elif field.message_type is not None:
            for one in _messages(field, value):
                found |= control_clusters(one)
    return found


def _messages(field: Any, value: Any) -> list[Any]:
    if not field.is_repeated:
        return [value]
    if field.message_type.GetOptions().map_entry:
        return [one for one in value.values() if hasattr(one, "ListFields")]
    return list(value)


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    """Paths of fields that differ, as deep as both have messages there."""
    old = {field.name: (field, value) for field, value in before.ListFields()}
    new = {field.name: (field, value) for field, value in after.ListFields()}
    for name in sorted(old.keys() | new.keys()):
        where = f"{path}.{name}" if path else name
        if name not in old or name not in new:
            yield where
            continue
        field, value = old[name]
        if value == new[name][1]:
            continue
        if field.message_type is not None and not field.is_repeated:
            yield from _differences(value, new[name][1], where)
        else:
            yield where


def _discovers_runtime(bootstrap: Any) -> bool:
    return any(layer.HasField("rtds_layer") for layer in bootstrap.layered_runtime.layers)
