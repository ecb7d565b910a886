"""Resources that others refer to by name: asked for while somebody wants them, held, given to the workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import xxhash
from envoy.config.core.v3 import config_source_pb2
from msgspec import Struct, field

from proxy.app.ipc import SLICE_BYTES, slices
from proxy.base.errors import ConfigError
from proxy.config.context import CompileContext
from proxy.config.resources import DEMANDED, ResourceWant, resource_key
from proxy.discovery.accept import Broadcast, UpdateError, reason_of
from proxy.discovery.checks import check
from proxy.discovery.named_consumer import NamedConsumer
from proxy.discovery.warming import Warming
from proxy.router.table_parts import CutTable
from xds_client.api import Subscription, SubscriptionCounters, Update
from xds_client.resource_types import ResourceType

logger = logging.getLogger("outrider.config")

#: The one that the rest of the process refers to without ever giving it up.
STATIC: Final = "bootstrap"
_SMALL_TABLE_BYTES: Final = 4096


_NOTHING: Final[Mapping[str, ResourceWant]] = {}
_UNCOUNTED: Final = SubscriptionCounters()


class Wanted:
    """One resource. `value` is what workers have, None before it has come.

    It is `settled` once it has come, has been refused, or was waited for in vain. What it refers to itself is in
    `refers`, by key; a new value is `pending`, and `warming`, until that has settled. `held` also has what
    only the former value refers to. `demanded` are the parts of it that only requests ask for.
    """

    __slots__ = (
        "conflicts", "demanded", "empty", "error", "failed_before", "held", "holders", "late", "pending", "refers",
        "rejected_before", "reloaded", "reloads", "settled", "since", "source", "succeeded", "successes", "told",
        "tried", "unbuilt", "updated", "value", "version", "waiting", "want", "warming", "whole_version",
    )  # fmt: skip

    def __init__(self, want: ResourceWant, since: float) -> None:
        self.want = want
        self.since = since
        #: What is counted of all that its source is asked for, and what that was when it was asked for this one.
        self.source: SubscriptionCounters = _UNCOUNTED
        self.rejected_before = self.failed_before = 0
        self.value: bytes | None = None
        #: What workers have of it: the value, or what `WantedResources.amenders` make of it.
        self.told: bytes | None = None
        self.version = ""
        self.updated = 0.0
        self.settled = False
        self.error: UpdateError | None = None
        self.holders: dict[str, ResourceWant] = {}
        # Replaced, never changed: most of many thousands have nothing there.
        self.refers: Mapping[str, ResourceWant] = _NOTHING
        self.held: Mapping[str, ResourceWant] = _NOTHING
        self.pending: bytes | None = None
        self.demanded: frozenset[str] = frozenset()
        self.warming: Warming | None = None
        self.waiting: list[Warming] = []
        #: The version of the last response that it was in, and the Unix second when that came.
        self.whole_version = ""
        self.succeeded = 0.0
        #: How often it was asked for, or failed to be applied where that counts as an attempt by itself.
        self.tried = 1
        self.successes = 0
        #: How often it was waited for in vain, and how often another value has come.
        self.late = 0
        self.reloads = 0
        self.reloaded = 0.0  # Unix seconds
        #: Updates that took it away, and those that changed no host of a cluster.
        self.empty = 0
        self.unbuilt = 0
        #: How often it did not fit those who came to refer to it.
        self.conflicts = 0

    @property
    def terms(self) -> frozenset[tuple[Any, ...]]:
        """What those who refer to it ask of it."""
        if len(self.holders) == 1:
            (want,) = self.holders.values()
            return want.terms
        return frozenset[tuple[Any, ...]]().union(*(want.terms for want in self.holders.values()))

    @property
    def rejected(self) -> int:
        """How many responses were refused since it was asked for: each counts for all resources of its type."""
        return self.source.update_rejected - self.rejected_before

    def count_with(self, source: SubscriptionCounters) -> None:
        """It is asked for now."""
        self.tried = int(source.asks)
        self.source = source
        self.rejected_before = source.update_rejected
        self.failed_before = source.update_failure

    def numbers(self) -> dict[str, int]:
        """The counters of Envoy's subscription, by name."""
        rejected, failed = self.rejected, self.source.update_failure - self.failed_before
        return {
            "update_attempt": self.tried + self.successes + rejected + failed + self.late,
            "update_success": self.successes,
            "update_rejected": rejected,
            "update_failure": failed,
            "init_fetch_timeout": self.late,
        }

    def gauges(self) -> dict[str, int]:
        """The gauges of Envoy's subscription, by name."""
        return {
            "update_time": int(self.succeeded * 1000),
            "version": xxhash.xxh64_intdigest(self.whole_version) if self.succeeded else 0,
        }

    def succeed(self, version: str, now: float) -> None:
        """An update of this version of a response went well."""
        self.successes += 1
        self.whole_version = version
        self.succeeded = now


class Examined(Struct):
    """A resource that has come: what workers would get and what that refers to, or what is wrong with it."""

    want: ResourceWant
    body: bytes
    terms: frozenset[tuple[Any, ...]]
    fine: set[bytes] | None
    value: bytes = b""
    wants: dict[str, ResourceWant] = field(default_factory=dict)
    error: ConfigError | None = None


class WantedResources:
    """All of them, of every type and source, by `ResourceWant.key`.

    `subscribe(type, source, consumer)` begins to ask a source for resources of a type. `broadcast` gives workers
    what was accepted. `context` makes what a check of one resource uses. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        subscribe: Callable[[ResourceType, Any, Any], Subscription],
        broadcast: Broadcast,
        context: Callable[[], CompileContext],
        clock: Callable[[], float],
    ) -> None:
        self._subscribe = subscribe
        self._broadcast = broadcast
        self._context = context
        self.clock = clock
        self.entries: dict[str, Wanted] = {}
        #: Who in this process hears of what was accepted, by type.
        self.observers: dict[ResourceType, Callable[[Wanted], None]] = {}
        #: Who hears of what is about to take the place of a value, by type.
        self.before_change: dict[ResourceType, Callable[[Wanted, bytes], None]] = {}
        #: What workers get in place of a value, by type; `told` is still what they have.
        self.amenders: dict[ResourceType, Callable[[Wanted, bytes], bytes]] = {}
        #: How resources are asked for where it is not by their names alone, by type.
        self.consumers: dict[ResourceType, type[NamedConsumer]] = {}
        self._unheld: set[str] = set()
        self._untold: list[tuple[str, bytes | None]] = []
        self._untold_bytes = 0
        #: What workers have of route tables that they get in parts.
        self._tables: dict[str, CutTable] = {}
        self._consumers: dict[tuple[ResourceType, bytes], NamedConsumer] = {}

    def hold(self, wants: Iterable[ResourceWant], holder: str, warming: Warming | None = None) -> None:
        """`holder` refers to these from now on; `warming` waits for what is not settled."""
        added: dict[tuple[ResourceType, bytes], list[Wanted]] = {}
        for want in wants:
            entry = self.entries.get(want.key)
            if entry is None:
                entry = self.entries[want.key] = Wanted(want, self.clock())
                added.setdefault((want.type, want.source), []).append(entry)
            known = entry.terms
            entry.holders[holder] = want
            if not want.terms <= known:
                self._check_again(entry)
            if warming is not None and want.waits and not entry.settled:
                warming.add(want.key)
                entry.waiting.append(warming)
        for place, entries in added.items():
            subscription = self.consumer(place).subscription
            for entry in entries:
                entry.count_with(subscription.counters)
            subscription.add([entry.want.name for entry in entries])

    def release(self, wants: Iterable[ResourceWant], holder: str) -> None:
        """`holder` refers to them no longer; what nobody refers to goes with the next `sweep`."""
        for want in wants:
            entry = self.entries.get(want.key)
            if entry is not None:
                entry.holders.pop(holder, None)
                if not entry.holders:
                    self._unheld.add(want.key)

    def sweep(self) -> None:
        """Forget what nobody refers to. To be called when an update was taken whole: it may have passed on."""
        removed: dict[tuple[ResourceType, bytes], list[str]] = {}
        while self._unheld:
            key = self._unheld.pop()
            entry = self.entries.get(key)
            if entry is not None and not entry.holders:
                del self.entries[key]
                if entry.warming is not None:
                    entry.warming.cancel()
                # What it referred to may be next.
                self.release(entry.held.values(), _holder(entry))
                removed.setdefault((entry.want.type, entry.want.source), []).append(entry.want.name)
                self._tables.pop(key, None)
                self.flush()
                self._broadcast(("forget_resource", key))
        for place, names in removed.items():
            self._consumers[place].remove(names)

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """What makes a worker know everything, in slices."""
        whole = (
            (key, entry.told)
            for key, entry in self.entries.items()
            if entry.told is not None and key not in self._tables
        )
        for resources in slices(whole):
            yield "resources", resources
        for key, table in self._tables.items():
            for part in table.whole(SLICE_BYTES):
                yield "table", key, part

    def of_type(self, kind: ResourceType) -> list[Wanted]:
        """Those of one type."""
        return [entry for entry in self.entries.values() if entry.want.type is kind]

    def take(
        self,
        kind: ResourceType,
        source: bytes,
        name: str,
        body: bytes,
        update: Update,
    ) -> str:
        """A resource has come with an update; returns why it is refused, "" if it is not."""
        examined = self.examine(kind, source, name, body)
        return "" if examined is None else self.conclude(examined, update.version, update)

    def examine(
        self, kind: ResourceType, source: bytes, name: str, body: bytes, fine: set[bytes] | None = None
    ) -> Examined | None:
        """Check a resource that has come, without using it; None if nobody refers to it."""
        entry = self.entries.get(resource_key(kind, name, source))
        if entry is None:
            return None
        context = self._context()
        context.stat_prefix = entry.want.stat_prefix
        terms = entry.terms | _demanded(entry)
        examined = Examined(entry.want, body, terms, fine)
        try:
            examined.value = check(kind, body, name, context, terms, fine)
        except ConfigError as error:
            examined.error = error
        else:
            examined.wants = context.resources.wants
        return examined

    def conclude(self, examined: Examined, version: str, update: Update) -> str:
        """Use what was examined, or refuse it; returns why it is refused, "" if it is not.

        `version` is its own, in an update of many.
        """
        entry = self.entries.get(examined.want.key)
        if entry is None:
            return ""
        if entry.terms | _demanded(entry) != examined.terms:
            # Somebody has come to refer to it meanwhile, or has ceased to.
            want = examined.want
            again = self.examine(want.type, want.source, want.name, examined.body, examined.fine)
            examined = again or examined
        if examined.error is not None:
            reason = reason_of(examined.error)
            # By the delta protocol, Envoy counts the attempt to apply an update and its failure as two.
            entry.tried += update.incremental
            self._refuse(entry, examined, version, reason)
            return reason
        entry.error = None
        entry.version = version
        entry.updated = self.clock()
        entry.succeed(update.version, entry.updated)
        self._warm(entry, examined.value, examined.wants)
        return ""

    def refuse(self, examined: Examined, version: str, reason: str) -> None:
        """Do not use what was examined, since it came with something bad."""
        entry = self.entries.get(examined.want.key)
        if entry is not None:
            self._refuse(entry, examined, version, reason)

    def confirm(self, kind: ResourceType, source: bytes, name: str, version: str) -> None:
        """A resource has come again as it is, in a response of that version."""
        entry = self.entries.get(resource_key(kind, name, source))
        if entry is not None:
            # What was refused has been taken back.
            entry.error = None
            entry.unbuilt += kind is ResourceType.ENDPOINT
            entry.succeed(version, self.clock())
            if kind is ResourceType.RUNTIME and (observer := self.observers.get(kind)) is not None:
                # Envoy loads the runtime with every update.
                observer(entry)

    def keep(self, kind: ResourceType, source: bytes, name: str, version: str) -> None:
        """The server has taken a resource away in a response of that version; who has it goes on with it."""
        entry = self.entries.get(resource_key(kind, name, source))
        if entry is not None:
            entry.empty += kind is ResourceType.ENDPOINT
            entry.succeed(version, self.clock())

    def _refuse(self, entry: Wanted, examined: Examined, version: str, reason: str) -> None:
        entry.error = UpdateError(version, reason, self.clock(), examined.body)
        kept = "the former one stays in use" if entry.value is not None else "there is none to use"
        want = entry.want
        # Ten thousand may have come with one that is bad.
        level = logging.DEBUG if examined.error is None else logging.WARNING
        logger.log(level, "%s %s is refused, %s: %s", want.type.name.lower(), want.name, kept, reason)
        self._settle(entry)

    def _warm(self, entry: Wanted, value: bytes, wants: dict[str, ResourceWant]) -> None:
        """Give it to the workers when what it refers to is here."""
        if entry.warming is not None:
            entry.warming.cancel()
        entry.refers = wants
        if not wants and not entry.held:
            self._publish(entry, value)
            return
        entry.held = {**entry.held, **wants}
        entry.pending = value
        entry.warming = Warming(self.clock(), lambda: self._publish(entry, value))
        self.hold(wants.values(), _holder(entry), entry.warming)
        entry.warming.start()

    def _publish(self, entry: Wanted, value: bytes) -> None:
        entry.warming = entry.pending = None
        if entry.held:
            gone = [want for key, want in entry.held.items() if key not in entry.refers]
            entry.held = entry.refers
            self.release(gone, _holder(entry))
        if value != entry.value:
            if (hear := self.before_change.get(entry.want.type)) is not None:
                hear(entry, value)
            entry.value = value
            entry.reloads += 1
            entry.reloaded = self.clock()
            self._publish_told(entry, self._amended(entry, value))
        self._settle(entry)

    def amend_again(self, entry: Wanted) -> None:
        """What workers are to get in place of the value may be another now."""
        if entry.value is not None:
            told = self._amended(entry, entry.value)
            if told != entry.told:
                self._publish_told(entry, told)

    def _amended(self, entry: Wanted, value: bytes) -> bytes:
        amend = self.amenders.get(entry.want.type)
        return value if amend is None else amend(entry, value)

    def _publish_told(self, entry: Wanted, told: bytes | None) -> None:
        entry.told = told
        observer = self.observers.get(entry.want.type)
        if observer is not None:
            observer(entry)
        self._tell(entry, told)

    def _tell(self, entry: Wanted, value: bytes | None) -> None:
        key = entry.want.key
        if value is not None and _comes_in_parts(entry, value):
            self.flush()
            table = self._tables.setdefault(key, CutTable())
            for part in table.update(value, SLICE_BYTES):
                self._broadcast(("table", key, part))
            return
        self._tables.pop(key, None)
        if not self._untold:
            asyncio.get_running_loop().call_soon(self.flush)
        self._untold.append((key, value))
        self._untold_bytes += len(value or b"")
        if self._untold_bytes >= SLICE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Give workers what was published: to be called before they hear of what refers to it."""
        if self._untold:
            resources, self._untold = self._untold, []
            self._untold_bytes = 0
            self._broadcast(("resources", resources))

    def _check_again(self, entry: Wanted) -> None:
        """Something else is asked of the value that is here; where that does not fit, it is not used."""
        value = entry.value if entry.pending is None else entry.pending
        if value is None:
            return
        context = self._context()
        want = entry.want
        context.stat_prefix = want.stat_prefix
        try:
            check(want.type, value, want.name, context, entry.terms | _demanded(entry))
        except ConfigError as error:
            entry.conflicts += 1
            logger.warning("%s %s does not fit: %s", want.type.name.lower(), want.name, reason_of(error))
            return
        entry.refers = {**entry.refers, **context.resources.wants}
        entry.held = {**entry.held, **context.resources.wants}
        self.hold(context.resources.wants.values(), _holder(entry), entry.warming)

    def demand(self, key: str, name: str) -> None:
        """A request needs a part of the resource with that key; workers are told when it has settled."""
        entry = self.entries.get(key)
        if entry is None:
            self.answer(key, name)
            return
        self.consumer((entry.want.type, entry.want.source)).demand(entry, name)

    def demand_reference(self, entry: Wanted, name: str) -> None:
        """Refer to what that part refers to, from now on."""
        entry.demanded |= {name}
        self._check_again(entry)
        warming = Warming(self.clock(), lambda: self.answer(entry.want.key, name))
        self.hold(entry.held.values(), _holder(entry), warming)
        warming.start()

    def answer(self, key: str, name: str) -> None:
        """What was demanded is here, or will not come in time."""
        self.flush()
        self._broadcast(("demanded", key, name))

    def take_away(self, kind: ResourceType, source: bytes, name: str, version: str) -> None:
        """The server says that there is no such resource (any more); what has come is not to be used."""
        entry = self.entries.get(resource_key(kind, name, source))
        if entry is None:
            return
        if entry.warming is not None:
            entry.warming.cancel()
            entry.warming = entry.pending = None
        gone, entry.held, entry.refers = entry.held, _NOTHING, _NOTHING
        self.release(gone.values(), _holder(entry))
        if entry.value is not None:
            entry.value = None
            self._publish_told(entry, None)
        self._do_without(entry, version)

    def missing(self, kind: ResourceType, source: bytes, name: str, *, said: bool = False) -> None:
        """The server has `said` that there is no such resource, or says nothing."""
        entry = self.entries.get(resource_key(kind, name, source))
        if entry is not None and not entry.settled:
            if said:
                self._do_without(entry)
            else:
                self._give_up(entry)
        self.sweep()

    def failed(self, kind: ResourceType, source: bytes) -> None:
        """The server cannot be reached in time: nobody waits for it in order to start."""
        for entry in self.entries.values():
            if entry.want.type is kind and entry.want.source == source and not entry.settled:
                self._give_up(entry)
        self.sweep()

    def _do_without(self, entry: Wanted, version: str | None = None) -> None:
        entry.succeed(entry.whole_version if version is None else version, self.clock())
        entry.empty += entry.want.type is ResourceType.ENDPOINT
        entry.reloads += entry.want.type is ResourceType.EXTENSION_CONFIG
        want = entry.want
        logger.warning(
            "%s %s does not exist, says the server; going on without it", want.type.name.lower(), want.name
        )
        self._settle(entry)

    def _give_up(self, entry: Wanted) -> None:
        want = entry.want
        entry.late += 1
        logger.warning("%s %s has not come in time; starting without it", want.type.name.lower(), want.name)
        self._settle(entry)

    def _settle(self, entry: Wanted) -> None:
        entry.settled = True
        waiting, entry.waiting = entry.waiting, []
        for warming in waiting:
            warming.settled(entry.want.key)

    def consumer(self, place: tuple[ResourceType, bytes]) -> NamedConsumer:
        """Who asks for resources of one type and source."""
        consumer = self._consumers.get(place)
        if consumer is None:
            kind, source = place
            make = self.consumers.get(kind, NamedConsumer)
            consumer = self._consumers[place] = make(self, kind, source)
            message = config_source_pb2.ConfigSource.FromString(source)
            consumer.subscription = self._subscribe(kind, message, consumer)
        return consumer


def _comes_in_parts(entry: Wanted, value: bytes) -> bool:
    """A large route table does. Those with virtual hosts on demand are joined, for which they must be whole."""
    return (
        entry.want.type is ResourceType.ROUTE
        and len(value) >= _SMALL_TABLE_BYTES
        and all(want.type is not ResourceType.VIRTUAL_HOST for want in entry.held.values())
    )


def _holder(entry: Wanted) -> str:
    return f"resource/{entry.want.key}"


def _demanded(entry: Wanted) -> frozenset[tuple[Any, ...]]:
    return frozenset([(DEMANDED, name) for name in entry.demanded])
