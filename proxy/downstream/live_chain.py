"""A filter chain in a worker: its filters made, and made anew where a control plane brings another config."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.config.resources import ResourceSource
from proxy.downstream.filter_chain import FilterChain, NetworkFilterConfig
from proxy.downstream.late_gates import guarded
from proxy.filters.api import ConnectionGate, ListenerFacts, NetworkFilterFactory
from proxy.filters.discovered import DiscoveredFilter, context_in

_Made = tuple[NetworkFilterFactory, Any, Any]


class LiveChain:
    """See module. Connections keep the filters that they began with.

    `create_protocol` is None for a chain without filters, or as long as one of them has no config. `dial_early` is
    that of a terminal filter that has one, where nothing stands before it: a gate may refuse a connection or say
    where it goes.

    `connections` are the numbers of those that it serves, `drain` tells them to end when they can.
    """

    __slots__ = (
        "__weakref__",
        "_facts",
        "_made",
        "_services",
        "config",
        "connections",
        "create_protocol",
        "dial_early",
        "drain",
        "gates",
        "tls",
    )

    def __init__(self, config: FilterChain, services: WorkerServices, facts: ListenerFacts) -> None:
        self.config = config
        self._services = services
        self._facts = facts
        self.connections: set[int] = set()
        self.drain = DrainState()
        self.tls: Any = None
        if config.tls is not None:
            from proxy.downstream.handshake import DownstreamTls  # needs ssl, which plain text does not

            last = config.filters[-1] if config.filters else None
            self.tls = DownstreamTls(
                config.tls,
                config.connect_timeout,
                services,
                facts,
                half_closes=isinstance(last, NetworkFilterConfig) and last.factory.half_closes,
            )
        #: By place in the chain: (factory, config, filter).
        self._made: dict[int, _Made] = {}
        self._use_filters()
        for one in config.filters:
            if isinstance(one, DiscoveredFilter):
                one.source.tell(self)

    def on_resource(self, source: ResourceSource) -> None:
        """A discovered config has come, changed or gone."""
        del source
        self._use_filters()

    def _use_filters(self) -> None:
        """Serve new connections by the filters as their configs are now."""
        self.gates: tuple[ConnectionGate, ...] = ()
        self.create_protocol: Callable[[ConnectionInfo], asyncio.Protocol] | None = None
        self.dial_early: Any = None
        made = self._make_filters()
        if not made or not made[-1][0].terminal:
            return
        live = made.pop()[2]
        create_protocol = live.create_protocol
        if not made and self.tls is None:
            self.dial_early = getattr(live, "dial_early", None)
        first = next((i for i, (factory, _, _) in enumerate(made) if factory.on_data), len(made))
        patient = next((i for i, (factory, _, _) in enumerate(made) if factory.waits), len(made))
        plain = [not factory.after_handshake and not factory.on_data for factory, _, _ in made]
        self.gates = tuple(gate for i, (_, _, gate) in enumerate(made) if plain[i] and i < patient)
        held = tuple(gate for i, (_, _, gate) in enumerate(made) if plain[i] and i >= patient)
        late = tuple(gate for factory, _, gate in made[:first] if factory.after_handshake)
        deciding = tuple(
            gate for factory, _, gate in made[first:] if factory.on_data or factory.after_handshake
        )
        if deciding:
            from proxy.downstream.data_gates import undecided  # few chains have such filters

            create_protocol = undecided(deciding, create_protocol)
        if late:
            create_protocol = guarded(late, create_protocol, self._services)
        if held:
            from proxy.downstream.waiting_gates import waiting  # few chains have such filters

            create_protocol = waiting(held, create_protocol)
        self.create_protocol = create_protocol

    def _make_filters(self) -> list[_Made]:
        """All but the passive ones in order; nothing as long as one has no config.

        A filter whose config has not changed stays: it may have a state of its own.
        """
        services = self._services
        before, self._made = self._made, {}
        missing = False
        for place, one in enumerate(self.config.filters):
            current: Any = one
            if isinstance(one, DiscoveredFilter):
                current = one.current(context_in(services))
            if current is None:
                missing = True
                continue
            factory, config = current.factory, current.config
            if factory.passive:
                continue
            kept = before.get(place)
            if kept is None or kept[0] is not factory or kept[1] is not config:
                kept = factory, config, factory.create(config, services, self._facts)
            self._made[place] = kept
        return [] if missing else list(self._made.values())
