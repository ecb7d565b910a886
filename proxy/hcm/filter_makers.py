"""What makes the filters of a stream: a maker for each filter of a chain but those that the route switches off."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from proxy.base.services import WorkerServices
from proxy.config.resources import ResourceSource
from proxy.filters.api import HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.discovered import context_in
from proxy.hcm.config import HcmConfig
from proxy.hcm.discovered_filter import (
    CompiledHttpFilter,
    DiscoveredHttpFilter,
    HttpFilterConfig,
    missing_config,
)
from proxy.hcm.filter_manager import FilterMaker
from proxy.hcm.request_plan import RequestPlan
from proxy.router.per_filter_config import FilterOverrides

_Maker = Callable[[StreamCallbacks], HttpFilter]
_Makers = tuple[tuple[HttpFilterConfig, _Maker], ...]


class FilterMakers:
    """Those of one connection manager, whose stats begin with `stat_prefix`.

    `router` is the message of a router that a control plane has brought, None where the listener holds it.
    """

    def __init__(self, config: HcmConfig, services: WorkerServices, stat_prefix: str) -> None:
        self._config = config
        self._services = services
        self._stat_prefix = stat_prefix
        #: By the identity of what they are of, which is kept: a maker may have a state of its own.
        self._kept: dict[int, tuple[CompiledHttpFilter, _Maker]] = {}
        self._by_route: dict[int, tuple[Any, tuple[FilterMaker, ...]]] = {}
        self.router: Any = None
        self.any = bool(config.filters) or any(one.filters for one in config.upgrades.values())
        self._chains: list[tuple[HttpFilterConfig, ...]] = [
            config.filters,
            *(one.filters for one in config.upgrades.values() if one.filters is not None),
        ]
        self.use()

    def sources(self) -> Iterable[ResourceSource]:
        """Where discovered configs are from."""
        for chain in self._chains:
            for one in chain:
                if isinstance(one, DiscoveredHttpFilter):
                    yield one.source

    def use(self) -> None:
        """Make what depends on the configs as they are now."""
        config = self._config
        before, self._kept = self._kept, {}
        self._factories: dict[str, HttpFilterFactory] = {}
        self._makers = self._make(config.filters, before)
        self._upgrade_makers = {
            name: self._make(upgrade.filters, before)
            for name, upgrade in config.upgrades.items()
            if upgrade.filters is not None
        }
        self._by_route.clear()

    def factory(self, name: str) -> HttpFilterFactory | None:
        """The kind of the filter that is configured as `name`."""
        return self._factories.get(name)

    def chosen(self, plan: RequestPlan, overrides: FilterOverrides) -> tuple[FilterMaker, ...]:
        """The filters that a request of this plan passes, in order; `overrides` are those of its route."""
        makers = self._makers
        if plan.upgrade and plan.upgrade in self._upgrade_makers:
            makers = self._upgrade_makers[plan.upgrade]
        key = id(overrides) if not plan.upgrade else hash((id(overrides), plan.upgrade))
        return self._of(makers, key, overrides) if makers else ()

    def _of(self, makers: _Makers, key: int, overrides: FilterOverrides) -> tuple[FilterMaker, ...]:
        known = self._by_route.get(key)
        if known is not None and known[0] is overrides:
            return known[1]
        chosen = []
        busy = False
        for one, make in makers:
            override = overrides.get(one.name)
            disabled = one.disabled if override is None else override.disabled
            if not disabled:
                chosen.append((one.name, make))
                busy = busy or override is not None or not self._idles(one)
        # One that has something to do may change the route, and what the others then have to do.
        result = tuple(chosen) if busy else ()
        self._by_route[key] = (overrides, result)
        return result

    def any_on(self, overrides: FilterOverrides) -> bool:
        """Whether requests that are no upgrades pass any filter on a route with these overrides."""
        return bool(self._of(self._makers, id(overrides), overrides))

    def _idles(self, one: HttpFilterConfig) -> bool:
        kept = self._kept.get(id(one))
        return kept is not None and kept[0].factory.idle is not None and kept[0].factory.idle(kept[0].config)

    def _make(
        self, filters: Iterable[HttpFilterConfig], before: dict[int, tuple[CompiledHttpFilter, _Maker]]
    ) -> _Makers:
        services = self._services
        context = context_in(services)
        makers: list[tuple[HttpFilterConfig, _Maker]] = []
        misses = False
        for one in filters:
            current = one.current(context) if isinstance(one, DiscoveredHttpFilter) else one
            if current is None:
                # One answers for all.
                if not misses:
                    makers.append((one, missing_config))
                misses = True
            elif current.factory.terminal:
                self.router = current.config
            else:
                self._factories.setdefault(one.name, current.factory)
                makers.append((one, self._maker(one, current, before)))
        return tuple(makers)

    def _maker(
        self,
        one: HttpFilterConfig,
        current: CompiledHttpFilter,
        before: dict[int, tuple[CompiledHttpFilter, _Maker]],
    ) -> _Maker:
        kept = before.get(id(one))
        if kept is None or kept[0].config is not current.config:
            assert current.factory.create is not None
            kept = (current, current.factory.create(current.config, self._services, self._stat_prefix))
        self._kept[id(one)] = kept
        return kept[1]
