"""What every compile function gets: a place for problems, and the few services that compiled config keeps.

A compile function takes (message, path, context) and returns a frozen object. It never raises for a bad config:
it reports through `context.problem(path, reason)`, returns something harmless, and the caller looks at
`context.problems` once at the end, so that one load names every problem.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any

from proxy.base.errors import ConfigError, Problem
from proxy.base.runtime import Runtime
from proxy.base.stream_info import WallClock

if TYPE_CHECKING:
    from proxy.config.config_sources import ConfigSources
    from proxy.config.resources import ResourceStore


class CompileContext:
    """Collects problems; hands out what compiled objects may hold on to.

    `known_clusters` is what `validate_clusters` checks against; None means "do not check".
    `node` is the `envoy.config.core.v3.Node` of the bootstrap, or None.
    `eager` asks to compile now what is otherwise compiled at first use, so that every problem shows.
    `secrets` is the `proxy.connection.tls_secrets.SecretStore` that TLS contexts ask, or None.
    `resources` is where to ask for what a control plane brings. `has_ads` tells whether there is an aggregated
    stream to ask it from; None means "do not check". `terms` are what those who refer to a discovered resource ask
    of it, see `proxy.config.resources.ResourceWant`, and `stat_prefix` begins the stats of it.
    `dns_caches` are the `DnsCacheConfig`s met so far, serialised, by name; those given are known from elsewhere.
    `config_sources` are those of the bootstrap, None for none; `resources` that are given have them already.
    `owner` is the discovered resource in which paths begin, "" where they begin in something else.
    """

    def __init__(
        self,
        runtime: Runtime | None = None,
        wall_clock: WallClock | None = None,
        known_clusters: Container[str] | None = None,
        node: Any = None,
        eager: bool = False,
        secrets: Any = None,
        resources: ResourceStore | None = None,
        has_ads: bool | None = None,
        dns_caches: dict[str, bytes] | None = None,
        config_sources: ConfigSources | None = None,
        owner: str = "",
    ) -> None:
        self.runtime = runtime or Runtime()
        self.wall_clock = wall_clock or WallClock()
        self.known_clusters = known_clusters
        self.node = node
        self.eager = eager
        self.secrets = secrets
        self.has_ads = has_ads
        self.owner = owner
        self.stat_prefix = ""
        self.dns_caches = {} if dns_caches is None else dns_caches
        self.terms: frozenset[tuple[Any, ...]] = frozenset()
        self.config_sources = config_sources
        self._resources = resources
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    @property
    def resources(self) -> ResourceStore:
        """Where to ask for what a control plane brings."""
        if self._resources is None:
            from proxy.config.resources import ResourceStore  # most configs name nothing that is elsewhere

            self._resources = ResourceStore(self.config_sources)
        return self._resources

    def problem(self, path: str, reason: str) -> None:
        """Record that the field at `path` makes the resource unacceptable."""
        self.problems.append(Problem(path, reason))

    def warning(self, path: str, reason: str) -> None:
        """Record something that works, but perhaps not as the operator thinks."""
        self.warnings.append(Problem(path, reason))

    def raise_if_problems(self) -> None:
        """Raise `ConfigError` with every problem recorded so far."""
        if self.problems:
            raise ConfigError(self.problems)
