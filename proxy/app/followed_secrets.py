"""Secrets in files and in the bootstrap: who looks at them, and where resources of a control plane find them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from proxy.base.stats import StatRegistry

if TYPE_CHECKING:
    from proxy.app.secret_files import LoadingSecrets
    from proxy.app.secret_watch import SecretWatch
    from proxy.connection.tls_secrets import SecretPlan


class FollowedSecrets:
    """See module. `on_change` gets the key of a secret and its bytes. `watch` is None until there is one to follow:
    most proxies have none, and YAML and TLS cost a start's time.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bootstrap: Any,
        registry: StatRegistry,
        plans: Iterable[SecretPlan],
        on_change: Callable[[str, bytes], None],
    ) -> None:
        self._loop = loop
        self._bootstrap = bootstrap
        self._registry = registry
        self._on_change = on_change
        self._store: LoadingSecrets | None = None
        plans = tuple(plans)
        self.watch: SecretWatch | None = self._make_watch(plans) if plans else None

    def start(self) -> None:
        """Look every second from now on."""
        if self.watch is not None:
            self.watch.start(self._loop)

    def close(self) -> None:
        """Look no more."""
        if self.watch is not None:
            self.watch.close()

    def values(self) -> Mapping[str, bytes]:
        """Every secret that is here, by key."""
        return {} if self.watch is None else self.watch.values()

    def resources(self) -> list[tuple[SecretPlan, bytes, float]]:
        """See `SecretWatch.resources`."""
        return [] if self.watch is None else self.watch.resources()

    def store(self) -> LoadingSecrets:
        """Where discovered resources find static secrets and those in files, which are followed from then on."""
        if self._store is None:
            from proxy.app.secret_files import LoadingSecrets, static_secrets

            self._store = LoadingSecrets(static_secrets(self._bootstrap), self._follow)
        return self._store

    def _follow(self, plan: SecretPlan) -> None:
        if self.watch is None:
            self.watch = self._make_watch(())
            self.watch.start(self._loop)
        self.watch.add(plan)

    def _make_watch(self, plans: Iterable[SecretPlan]) -> SecretWatch:
        from proxy.app.secret_watch import SecretWatch

        return SecretWatch(plans, self._registry, self._on_change)
