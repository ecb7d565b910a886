"""The runtime of a running proxy: its layers as they change, told to every worker.

Layers change by `/runtime_modify`, by a control plane, by a directory whose link is replaced, and by a reload.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from proxy.admin.server_stats import RuntimeStats
from proxy.app import runtime_layers
from proxy.app.disk_layers import DiskWatch
from proxy.app.runtime_layers import Layer
from proxy.base.runtime import Runtime
from proxy.config.config_sources import GUARD
from proxy.config.runtime_guards import guard_warnings
from proxy.discovery.wanted import Wanted

logger = logging.getLogger("outrider.runtime")


class LiveRuntime:
    """See module. `view` always shows the merged values; `overrides` are those of the admin layer."""

    def __init__(self, layers: tuple[Layer, ...], broadcast: Callable[[tuple[Any, ...]], None]) -> None:
        self.layers = layers
        self.overrides: dict[str, str] = {}
        self.stats = RuntimeStats("runtime.")
        self.view = Runtime(self.values())
        self._broadcast = broadcast
        self._watch = self._watch_disks()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told: set[str] = set()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follow directories from now on."""
        self._loop = loop
        self.count_load()
        self._watch.start(loop)

    def close(self) -> None:
        """Follow them no more."""
        self._watch.close()

    def values(self) -> dict[str, str]:
        """The merged runtime."""
        return runtime_layers.merge(self.layers, self.overrides)

    def present(self) -> list[Layer]:
        """The layers that are there, lowest first."""
        return [layer for layer in self.layers if not (layer.missing or layer.failed)]

    def modify(self, values: Mapping[str, str]) -> None:
        """Write the admin layer; raises `UsageError` when there is none."""
        self.overrides = runtime_layers.modified(self.overrides, values, self.layers)
        self._changed()

    def take(self, entry: Wanted) -> None:
        """A layer has come from a control plane, changed there, or was taken away. Raises `ConfigError`."""
        values = {} if entry.value is None else runtime_layers.read_layer(entry.value, entry.want.name)
        self.layers = runtime_layers.replaced(self.layers, entry.want.key, values)
        self._changed()

    def use(self, layers: tuple[Layer, ...]) -> None:
        """Have these layers from now on."""
        self.layers = layers
        self._watch.close()
        self._watch = self._watch_disks()
        if self._loop is not None:
            self._watch.start(self._loop)
        self.view.replace(self.values())
        self._changed()

    def count_load(self) -> None:
        """Count what Envoy counts whenever it loads the runtime."""
        stats, present = self.stats, self.present()
        if any(layer.failed for layer in self.layers):
            stats.load_error += 1
        else:
            stats.load_success += 1
        # Envoy's way: a single directory "does not exist".
        if sum(layer.disk is not None for layer in present) > 1:
            stats.override_dir_exists += 1
        else:
            stats.override_dir_not_exists += 1
        stats.num_layers = len(present)
        stats.num_keys = len(self.values())
        stats.admin_overrides_active = int(bool(self.overrides))

    def _changed(self) -> None:
        # As in Envoy, whatever loads the runtime reads its directories, too.
        self.layers = runtime_layers.read_again(self.layers)
        values = self.values()
        self._warn({name: text for name, text in values.items() if self.view.values.get(name) != text})
        self.view.replace(values)
        self.count_load()
        self._broadcast(("runtime", values))

    def _warn(self, changed: Mapping[str, str]) -> None:
        """Of what is set in vain; the layers of a bootstrap have been looked at when it was loaded."""
        reasons = list(guard_warnings(changed))
        if GUARD in changed:
            reasons.append(f"{GUARD} is read at the start only; set it in a layer of the bootstrap")
        for reason in reasons:
            if reason not in self._told:
                self._told.add(reason)
                logger.warning("%s", reason)

    def _watch_disks(self) -> DiskWatch:
        return DiskWatch([layer.disk for layer in self.layers if layer.disk is not None], self._changed)
