"""The stats of discovered resources under Envoy's names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from proxy.base.stats import StatGroup
from proxy.discovery.wanted import Wanted, WantedResources
from xds_client.resource_types import ResourceType


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
            for name, value in entry.numbers().items():
                result[prefix + name] = value
            if entry.want.type is ResourceType.ROUTE:
                result[f"{prefix}config_reload"] = entry.reloads
        return result

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {
            entry.want.stat_prefix + name: value
            for entry in self._shown()
            for name, value in entry.gauges().items()
        }

    def texts(self) -> dict[str, str]:
        """See `StatGroup`."""
        return {f"{entry.want.stat_prefix}version_text": entry.version for entry in self._shown()}

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
