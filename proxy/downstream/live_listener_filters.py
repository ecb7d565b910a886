"""The listener filters of a listener in a worker, made anew where a control plane brings another config."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proxy.base.services import WorkerServices
from proxy.config.resources import ResourceSource
from proxy.downstream.listener_filters import AnyListenerFilter, DiscoveredListenerFilter, Matches
from proxy.filters.api import ListenerFacts
from proxy.filters.discovered import context_in
from proxy.filters.listener.api import ListenerFilter


class LiveListenerFilter(Struct, frozen=True):
    """A filter, passed over where `disabled` says so; see `ListenerFilterFactory` for `only_detects`."""

    filter: ListenerFilter
    disabled: Matches | None
    only_detects: bool = False


class LiveListenerFilters:
    """`filters` in their order, None as long as one of them has no config.

    Connections keep those that they began with.
    """

    def __init__(
        self, configs: tuple[AnyListenerFilter, ...], services: WorkerServices, facts: ListenerFacts
    ) -> None:
        self._configs = configs
        self._services = services
        self._facts = facts
        #: By place in the list, with the factory and config each was made of.
        self._made: dict[int, tuple[Any, Any, LiveListenerFilter]] = {}
        self.filters = self._make()
        for one in configs:
            if isinstance(one, DiscoveredListenerFilter):
                one.found.source.tell(self)

    def on_resource(self, source: ResourceSource) -> None:
        """A discovered config has come, changed or gone."""
        del source
        self.filters = self._make()

    def _make(self) -> tuple[LiveListenerFilter, ...] | None:
        """A filter whose config has not changed stays: it may have a state of its own."""
        services = self._services
        before, self._made = self._made, {}
        for place, one in enumerate(self._configs):
            current: Any = one
            if isinstance(one, DiscoveredListenerFilter):
                current = one.found.current(context_in(services))
            if current is None:
                continue
            factory, config = current.factory, current.config
            kept = before.get(place)
            if kept is None or kept[0] is not factory or kept[1] is not config:
                live = LiveListenerFilter(
                    factory.create(config, services, self._facts),
                    one.disabled,
                    factory.only_detects is not None and factory.only_detects(config),
                )
                kept = factory, config, live
            self._made[place] = kept
        if len(self._made) < len(self._configs):
            return None
        return tuple(live for _, _, live in self._made.values())
