"""The stats of discovered resources under Envoy's names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from proxy.base.stats import StatGroup
from proxy.discovery.wanted import Wanted, WantedResources
from xds_client.api import StreamCounters
from xds_client.resource_types import ResourceType


def stream_counters(prefix: str, stream: StreamCounters | None) -> dict[str, int]:
    """The counter of `<prefix>control_plane.*`; none without a stream."""
    return (
        {} if stream is None else {f"{prefix}control_plane.rate_limit_enforced": stream.rate_limit_enforced}
    )


def stream_gauges(prefix: str, stream: StreamCounters | None) -> dict[str, int]:
    """The gauges."""
    names = () if stream is None else ("connected_state", "pending_requests")
    return {f"{prefix}control_plane.{name}": getattr(stream, name) for name in names}


def stream_texts(prefix: str, stream: StreamCounters | None) -> dict[str, str]:
    """The server's name."""
    return {} if stream is None else {f"{prefix}control_plane.identifier": stream.identifier}


class WantedStats(StatGroup):
    """`http.<prefix>.rds.<name>.*`, `cluster.<name>.update_*`, `sds.<name>.*` and the like.

    Those of endpoints show, as the other stats of their cluster do, when a worker has the cluster in use, which
    `cluster_in_use` tells of a place in shared memory.
    """

    def __init__(self, wanted: WantedResources, cluster_in_use: Callable[[int], bool]) -> None:
        super().__init__("")
        self._wanted = wanted
        self._cluster_in_use = cluster_in_use

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        result: dict[str, int] = {}
        for entry in self._shown():
            prefix = entry.want.stat_prefix
            # Layers of the runtime, and tables of one name from two sources, count together.
            for name, value in entry.numbers().items():
                result[prefix + name] = result.get(prefix + name, 0) + value
            for name, value in _own_counters(entry).items():
                result[prefix + name] = value
            result.update(stream_counters(prefix, entry.source.stream))
        return result

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {
            entry.want.stat_prefix + name: value
            for entry in sorted(self._shown(), key=_updated)
            for name, value in (
                *entry.gauges().items(),
                *_own_gauges(entry).items(),
                *stream_gauges("", entry.source.stream).items(),
            )
        }

    def texts(self) -> dict[str, str]:
        """See `StatGroup`."""
        texts: dict[str, str] = {}
        for entry in self._shown():
            prefix = entry.want.stat_prefix
            texts[f"{prefix}version_text"] = entry.whole_version
            texts.update(stream_texts(prefix, entry.source.stream))
        return texts

    def _shown(self) -> Iterator[Wanted]:
        for entry in self._wanted.entries.values():
            if entry.want.stat_prefix and (
                entry.want.type is not ResourceType.ENDPOINT or self._in_use(entry)
            ):
                yield entry

    def _in_use(self, entry: Wanted) -> bool:
        for holder in entry.holders:
            kind, _, rest = holder.partition("/")
            if kind != "cluster" or self._cluster_in_use(int(rest.partition("/")[0])):
                return True
        return False


def _updated(entry: Wanted) -> float:
    return entry.succeeded


def _own_counters(entry: Wanted) -> dict[str, int]:
    """What only resources of this type count."""
    match entry.want.type:
        case ResourceType.ENDPOINT:
            return {"update_empty": entry.empty, "update_no_rebuild": entry.unbuilt}
        case ResourceType.ROUTE | ResourceType.VIRTUAL_HOST:
            return {"config_reload": entry.reloads, "update_empty": 0}
        case ResourceType.SCOPED_ROUTE:
            return {"config_reload": entry.successes, "update_empty": 0}
        case ResourceType.SECRET:
            # Files that it names are read when it comes, and not again.
            return {"key_rotation_failed": 0}
        case ResourceType.EXTENSION_CONFIG:
            return {
                "config_reload": entry.reloads,
                "config_fail": entry.rejected + entry.late,
                "config_conflict": entry.conflicts,
            }
    return {}


def _own_gauges(entry: Wanted) -> dict[str, int]:
    match entry.want.type:
        case ResourceType.ROUTE:
            return {"config_reload_time_ms": int(entry.reloaded * 1000)}
        case ResourceType.SCOPED_ROUTE:
            return _scope_gauges(entry)
    return {}


def _scope_gauges(entry: Wanted) -> dict[str, int]:
    everything, on_demand = _scopes(entry.value or b"")
    return {
        "all_scopes": everything,
        "active_scopes": everything - len(on_demand - entry.demanded),
        "on_demand_scopes": len(on_demand),
        "config_reload_time_ms": int(entry.updated * 1000),
    }


@lru_cache(maxsize=32)
def _scopes(value: bytes) -> tuple[int, frozenset[str]]:
    """How many scopes there are, and the names of those on demand."""
    scopes = http_connection_manager_pb2.ScopedRouteConfigurationsList.FromString(value)
    named = scopes.scoped_route_configurations
    return len(named), frozenset(scope.name for scope in named if scope.on_demand)
