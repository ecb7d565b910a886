"""Who wants which resource of one type: the subscriptions of a source, and what each of them still waits for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from xds_client.api import WILDCARD, Consumer, Resource, SubscriptionCounters
from xds_client.names import collection_of, normal
from xds_client.resource_types import ResourceType

if TYPE_CHECKING:
    from xds_client.group import Group


class Watch:
    """One subscription. `waiting` has the names that were not delivered yet, with the time when they are given up.

    A deadline of infinity means to wait for ever.
    """

    def __init__(self, group: Group, consumer: Consumer, timeout: float) -> None:
        self.consumer = consumer
        self.counters = SubscriptionCounters(stream=group.own_stream, asks=group.asks)
        self.timeout = timeout
        self.names: dict[str, None] = {}
        self.waiting: dict[str, float] = {}
        self.closed = False
        self.settled = False
        """Whether an update came or `failed` was called."""
        self._group = group

    def add(self, names: Iterable[str]) -> None:
        """See `Subscription.add`."""
        fresh = list(dict.fromkeys(name for name in map(normal, names) if name not in self.names))
        if fresh and not self.closed:
            self._group.add(self, fresh)

    def remove(self, names: Iterable[str]) -> None:
        """See `Subscription.remove`."""
        gone = list(dict.fromkeys(name for name in map(normal, names) if name in self.names))
        if gone and not self.closed:
            self._group.remove(self, gone)

    def refresh(self, names: Iterable[str]) -> None:
        """See `Subscription.refresh`."""
        again = [name for name in map(normal, names) if name in self.names]
        if again and not self.closed:
            self._group.refresh(self, again)

    def close(self) -> None:
        """See `Subscription.close`."""
        if not self.closed:
            self._group.close(self)
            self.closed = True


class Watches:
    """The subscriptions of one type and source, found by the names that they want.

    A name of `VIRTUAL_HOST` without a slash is a route table: its virtual hosts are those below that name.
    """

    def __init__(self, kind: ResourceType) -> None:
        self._by_prefix = kind is ResourceType.VIRTUAL_HOST
        self._by_name: dict[str, dict[Watch, None]] = {}
        self.all: dict[Watch, None] = {}

    def wire_name(self, name: str) -> str:
        """What is asked of the server for a name: route tables of virtual hosts come with the wildcard."""
        return WILDCARD if self._by_prefix and "/" not in name else name

    def add(self, watch: Watch, names: Iterable[str]) -> list[str]:
        """Note that the watch wants these; gives the names to ask the server for."""
        before = {self.wire_name(name) for name in self._by_name} if self._by_prefix else self._by_name.keys()
        asked: list[str] = []
        for name in names:
            if (wire := self.wire_name(name)) not in before and wire not in asked:
                asked.append(wire)
        for name in names:
            watch.names[name] = None
            self._by_name.setdefault(name, {})[watch] = None
        return asked

    def remove(self, watch: Watch, names: Iterable[str]) -> list[str]:
        """Note that the watch wants these no more; gives the names that nobody wants."""
        gone: list[str] = []
        for name in names:
            watch.names.pop(name, None)
            watch.waiting.pop(name, None)
            wanting = self._by_name.get(name)
            if wanting is not None:
                wanting.pop(watch, None)
                if not wanting:
                    del self._by_name[name]
                    gone.append(name)
        if self._by_prefix:
            left = {self.wire_name(name) for name in self._by_name}
            return list(dict.fromkeys(wire for wire in map(self.wire_name, gone) if wire not in left))
        return gone

    def wanting(self, name: str, aliases: tuple[str, ...] = ()) -> dict[Watch, str]:
        """The watches that a resource is for, with the name under which each wants it."""
        found: dict[Watch, str] = {}
        for key in self.keys(name, aliases):
            for watch in self._by_name.get(key, ()):
                found.setdefault(watch, key)
        return found

    def named(self, names: Sequence[str]) -> dict[Watch, Sequence[str]]:
        """Which of these each watch asked for, other than by the wildcard."""
        if len(self.all) == 1 and not self._by_prefix:
            # One that takes thousands of endpoints or routes is alone with them.
            (watch,) = self.all
            return {} if WILDCARD in watch.names else {watch: names}
        found: dict[Watch, list[str]] = {}
        for name in names:
            for watch, key in self.wanting(name).items():
                if key != WILDCARD:
                    found.setdefault(watch, []).append(name)
        return dict(found)

    def keys(self, name: str, aliases: tuple[str, ...]) -> Iterable[str]:
        """The names under which a resource may be wanted."""
        yield name
        yield from aliases
        if name.startswith("xdstp://"):
            yield collection_of(name)
        if self._by_prefix:
            yield name.rpartition("/")[0]
        yield WILDCARD

    def wants_it(self, watch: Watch, resource: Resource) -> bool:
        """Whether a resource is for this watch."""
        return any(key in watch.names for key in self.keys(resource.name, resource.aliases))
