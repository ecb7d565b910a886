"""Takes the resources of one type and source that are wanted by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from proxy.discovery.accept import InvalidError, reason_of
from proxy.discovery.turns import Turns
from xds_client.api import RefusedWhole, Rejection, Subscription, Update
from xds_client.resource_types import ResourceType

if TYPE_CHECKING:
    from proxy.discovery.wanted import Examined, Wanted, WantedResources

logger = logging.getLogger("outrider.config")

_TAKEN_AWAY: Final = frozenset({ResourceType.EXTENSION_CONFIG, ResourceType.RUNTIME})


class NamedConsumer:
    """The `xds_client.api.Consumer` of one type and source."""

    subscription: Subscription

    def __init__(self, wanted: WantedResources, kind: ResourceType, source: bytes) -> None:
        self._wanted = wanted
        self._kind = kind
        self._source = source

    def demand(self, entry: Wanted, name: str) -> None:
        """A request needs a part of `entry`."""
        self._wanted.answer(entry.want.key, name)

    def remove(self, names: Sequence[str]) -> None:
        """Nobody refers to these any more."""
        self.subscription.remove(names)

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """See `Consumer`. What is removed stays in use while somebody refers to it, except a filter's config and a
        layer of the runtime, as in Envoy.

        As in Envoy, one that breaks a rule of its proto has all of them refused.
        """
        wanted = self._wanted
        turns = Turns()
        fine: set[bytes] = set()
        examined: list[tuple[str, Examined]] = []
        invalid: list[Rejection] = []
        for resource in update.added:
            one = wanted.examine(self._kind, self._source, resource.name, resource.body, fine)
            if one is not None:
                examined.append((resource.version, one))
                if isinstance(one.error, InvalidError):
                    invalid.append(Rejection(resource.name, reason_of(one.error)))
            if turns.over:
                await turns.next()
        if invalid:
            refused = RefusedWhole.of(invalid, update)
            reasons = {rejection.name: rejection.reason for rejection in refused}
            for version, one in examined:
                wanted.refuse(one, version, reasons[one.want.name])
            wanted.sweep()
            return refused
        rejections = []
        for version, one in examined:
            reason = wanted.conclude(one, version, update)
            if reason:
                rejections.append(Rejection(one.want.name, reason))
            if turns.over:
                await turns.next()
        take_away = wanted.take_away if self._kind in _TAKEN_AWAY else wanted.keep
        for name in update.removed:
            take_away(self._kind, self._source, name, update.version)
        if update.unchanged:
            wanted.flush()
        for name in update.unchanged:
            wanted.confirm(self._kind, self._source, name, update.version)
            if turns.over:
                await turns.next()
        wanted.sweep()
        return rejections

    def missing(self, name: str, *, said: bool = False) -> None:
        """See `Consumer`."""
        self._wanted.missing(self._kind, self._source, name, said=said)

    def failed(self, reason: str) -> None:
        """See `Consumer`."""
        logger.debug("%s: %s", self._kind.name.lower(), reason)
        self._wanted.failed(self._kind, self._source)
