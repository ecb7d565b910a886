"""The listeners of the process: those of the bootstrap, and those that a control plane lists (LDS)."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from envoy.config.listener.v3 import listener_pb2
from msgspec import Struct

from proxy.admin.server_stats import ListenerManagerStats
from proxy.app.active_listener import ActiveListener, Opener
from proxy.app.bootstrap_extensions import NEEDS_EXTENSION
from proxy.app.config_loading import ListenerPlan, plan_of
from proxy.base.errors import ConfigError, UsageError
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceWant
from proxy.connection.sockets import open_sockets
from proxy.discovery.accept import Reading, UpdateError, reason_of, refuse, tell
from proxy.discovery.changes import Changes
from proxy.discovery.places import Places
from proxy.discovery.turns import Turns
from proxy.discovery.wanted import WantedResources
from proxy.discovery.warming import Warming
from proxy.downstream.filter_chain import chains_ended
from proxy.downstream.listener import compile_listener
from xds_client.api import RefusedWhole, Rejection, Resource, Update

logger = logging.getLogger("outrider.config")


class ListenerRecord(Struct):
    """One listener. `column` counts its connections in shared memory; `updated` is in Unix seconds.

    `number` is one that no other has, nor an earlier version of this one.
    """

    number: int
    active: ActiveListener
    column: int
    updated: float
    dynamic: bool = False
    version: str = ""
    wants: tuple[ResourceWant, ...] = ()
    warming: Warming | None = None

    @property
    def plan(self) -> ListenerPlan:
        """What it is."""
        return self.active.plan


class ListenerChanges(Changes[ListenerRecord]):
    """`kept_columns` are those of listeners that change in place."""

    def __init__(self, places: Places) -> None:
        super().__init__("listener", places)
        self.kept_columns: set[int] = set()

    def discard(self) -> None:
        """See `Changes`."""
        for record in self.records:
            record.active.close()
            if record.column not in self.kept_columns:
                self.places.give_back(record.column)


class ListenerTable:
    """See module.

    `start` makes workers run a listener, `stop` makes them run it no longer; before start-up is complete neither
    does anything. `context` makes what a check of one listener uses; `clock` gives Unix seconds. `after_drain`
    calls a function when the connections of a listener that goes now are over. `draw_name` gives names to listeners
    that have none.
    """

    def __init__(
        self,
        workers: int,
        places: Places,
        wanted: WantedResources,
        stats: ListenerManagerStats,
        context: Callable[[], CompileContext],
        clock: Callable[[], float],
        start: Callable[[ListenerRecord], None],
        stop: Callable[[list[ListenerRecord]], None],
        *,
        after_drain: Callable[[Callable[[], None]], object],
        allows_internal: bool = False,
        opener: Opener = open_sockets,
        draw_name: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._workers = workers
        self._draw_name = draw_name
        self._places = places
        self._wanted = wanted
        self._stats = stats
        self._context = context
        self._clock = clock
        self._start = start
        self._stop = stop
        self._allows_internal = allows_internal
        self._after_drain = after_drain
        self._opener = opener
        self._numbers = itertools.count(1).__next__
        self.active: dict[str, ListenerRecord] = {}
        self.warming: dict[str, ListenerRecord] = {}
        self.errors: dict[str, UpdateError] = {}
        #: Those that serve the connections they have and are served no more, by number.
        self.draining: dict[int, ListenerRecord] = {}
        #: What those are called that come without a name, by what the protocol calls them.
        self._nameless: dict[str, str] = {}
        #: Whether a control plane has said which there are.
        self.listed = False

    def __iter__(self) -> Iterator[ListenerRecord]:
        """Those that run, or will when start-up is complete."""
        return iter(self.active.values())

    @property
    def changes(self) -> tuple[int, int]:
        """How many were added or changed so far, and how many were removed."""
        stats = self._stats
        return stats.listener_added + stats.listener_modified, stats.listener_removed

    def add_static(self, plans: Iterable[ListenerPlan]) -> None:
        """Bind those of the bootstrap, which were checked with it. Raises `UsageError`."""
        now = self._clock()
        for plan in plans:
            active = ActiveListener(plan, self._workers, opener=self._opener)
            self.active[plan.name] = ListenerRecord(self._numbers(), active, self._column(), now)
            self._stats.listener_added += 1
        self._count()

    def prepare(
        self, plans: Iterable[ListenerPlan], context: Callable[[], CompileContext]
    ) -> ListenerChanges:
        """What makes these the listeners of the bootstrap; raises `ConfigError`, and nothing has changed.

        The addresses of those that come are bound, and nobody listens there yet.
        """
        changes = ListenerChanges(self._places)
        names = set()
        try:
            for plan in plans:
                names.add(plan.name)
                before = self.warming.get(plan.name) or self.active.get(plan.name)
                changes.refuse_discovered(plan.name, before)
                if before is None or before.plan.serialized != plan.serialized:
                    self._prepare(plan, context(), changes)
        except ConfigError:
            changes.discard()
            raise
        static = {name: one for one in (self.active, self.warming) for name in one if not one[name].dynamic}
        changes.compare((record.plan.name for record in changes.records), static, names)
        return changes

    def take(self, changes: ListenerChanges) -> None:
        """Use what was prepared as soon as it is warm, and forget those that are gone."""
        for record in changes.records:
            if record.plan.name in changes.added:
                self._stats.listener_added += 1
            else:
                self._stats.listener_modified += 1
                self._stats.listener_in_place_updated += record.column in changes.kept_columns
            self._warm(record)
        removed = [gone for name in changes.removed if (gone := self._forget(name)) is not None]
        if removed:
            self._stop(removed)
        self._count()

    def _prepare(self, plan: ListenerPlan, context: CompileContext, changes: ListenerChanges) -> None:
        message = listener_pb2.Listener.FromString(plan.serialized)
        compile_listener(message, f"listener {plan.name}", context)
        refuse(context.problems)
        discovered = [one for one in (*self.active.values(), *self.warming.values()) if one.dynamic]
        self._check_addresses(plan, discovered)
        active = self._bind(plan)
        wants = tuple(context.resources.wants.values())
        try:
            column = self._column_for(plan)
        except ConfigError:
            active.close()
            raise
        serving = self.active.get(plan.name)
        if serving is not None and serving.column == column:
            changes.kept_columns.add(column)
        changes.records.append(ListenerRecord(self._numbers(), active, column, self._clock(), wants=wants))

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """See `xds_client.api.Consumer`."""
        self.listed = True
        reading = Reading(listener_pb2.Listener)
        await reading.look((*update.added, *update.further))
        if reading.rejections:
            for one in reading.rejections:
                logger.warning("all listeners of a response are refused for listener %s", one)
            return RefusedWhole.of(reading.rejections, update)
        # As in Envoy, what was wrong with an update is shown until the next.
        self.errors.clear()
        rejections = []
        turns = Turns()
        # First what goes, so that its addresses are free.
        removed = [record for name in update.removed if (record := self._remove(name)) is not None]
        if removed:
            self._stop(removed)
        seen: set[str] = set()
        for number, resource in enumerate((*update.added, *update.further)):
            further = number >= len(update.added)
            try:
                if further:
                    raise ConfigError(f"duplicate listener {resource.name} found")
                self._offer(reading.message(number, resource), resource, seen)
            except ConfigError as error:
                reason = reason_of(error)
                error_of = UpdateError(resource.version, reason, self._clock(), resource.body)
                self.errors[resource.name] = error_of
                logger.warning("listener %s is refused: %s", resource.name, reason)
                rejections.append(Rejection(resource.name, reason, further=further))
            if turns.over:
                await turns.next()
        self._wanted.sweep()
        self._count()
        return rejections

    def missing(self, name: str, *, said: bool = False) -> None:
        """See `xds_client.api.Consumer`."""

    def failed(self, reason: str) -> None:
        """See `xds_client.api.Consumer`."""
        logger.debug("lds: %s", reason)

    def close(self) -> None:
        """Close every socket."""
        for record in (*self.active.values(), *self.warming.values()):
            record.active.close()

    def _offer(self, message: Any, resource: Resource, seen: set[str]) -> None:
        """Take one of the resources; `seen` are the names inside those that came before it."""
        if message.name in seen:
            raise ConfigError(f"duplicate listener {message.name} found")
        seen.add(message.name)
        name = message.name or self._nameless.get(resource.name) or self._draw_name()
        version = resource.version
        before = self.warming.get(name) or self.active.get(name)
        if before is not None and not before.dynamic:
            logger.debug("listener %s of the bootstrap is not changed by LDS", name)
            return
        if before is not None and before.plan.serialized == resource.body:
            before.version = version
            return
        context = self._context()
        config = compile_listener(message, "", context)
        if message.HasField("internal_listener") and not self._allows_internal:
            context.problem("internal_listener", NEEDS_EXTENSION)
        tell(f"Listener {name}", context.warnings)
        refuse(context.problems)
        plan = plan_of(name, resource.body, config)
        self._check_addresses(plan, (*self.active.values(), *self.warming.values()))
        active = self._bind(plan)
        wants = tuple(context.resources.wants.values())
        serving = self.active.get(name)
        column = self._column_for(plan)
        record = ListenerRecord(self._numbers(), active, column, self._clock(), True, version, wants)
        if not message.name:
            self._nameless[resource.name] = name
        if serving is not None and serving.column == column:
            self._stats.listener_in_place_updated += 1
        if name in self.active:
            self._stats.listener_modified += 1
        else:
            self._stats.listener_added += 1
        self._warm(record)

    def _bind(self, plan: ListenerPlan) -> ActiveListener:
        before = self.active.get(plan.name)
        try:
            if before is not None and before.active.shares(plan):
                return before.active.succeeded_by(plan)
            return ActiveListener(plan, self._workers, opener=self._opener)
        except UsageError as error:
            self._stats.listener_create_failure += 1
            raise ConfigError(str(error)) from error

    def _check_addresses(self, plan: ListenerPlan, others: Iterable[ListenerRecord]) -> None:
        for other in others:
            if other.plan.name == plan.name:
                continue
            for where in set(other.plan.addresses) & set(plan.addresses):
                if where.address.port or where.address.path:
                    raise ConfigError(
                        f"error adding listener: '{plan.name}' has duplicate address '{where.address}' as existing "
                        f"listener '{other.plan.name}'"
                    )

    def _warm(self, record: ListenerRecord) -> None:
        name = record.plan.name
        replaced = self.warming.pop(name, None)
        if replaced is not None:
            self._discard(replaced)
        self.warming[name] = record
        record.warming = Warming(self._clock(), lambda: self._activate(record))
        self._wanted.hold(record.wants, _holder(record), record.warming)
        record.warming.start()
        self._count()

    def _activate(self, record: ListenerRecord) -> None:
        """Everything that it needs is here: workers run it from now on."""
        name = record.plan.name
        record.warming = None
        del self.warming[name]
        before = self.active.pop(name, None)
        self.active[name] = record
        if before is not None:
            record.active.take_over(before.active)
        self._wanted.flush()
        self._start(record)
        if before is not None:
            self._discard(before)
        self._count()

    def _remove(self, name: str) -> ListenerRecord | None:
        name = self._nameless.pop(name, name)
        known = self.warming.get(name) or self.active.get(name)
        return self._forget(name) if known is not None and known.dynamic else None

    def _forget(self, name: str) -> ListenerRecord | None:
        warming = self.warming.get(name)
        if warming is not None:
            del self.warming[name]
            self._discard(warming)
            self._stats.listener_removed += name not in self.active
        record = self.active.get(name)
        if record is None:
            return None
        del self.active[name]
        self._stats.listener_removed += 1
        self._drain(record)
        self._places.give_back(record.column)
        return record

    def _drain(self, record: ListenerRecord) -> None:
        """As a whole; the one that takes its place, if any, has sockets of its own."""
        self.draining[record.number] = record
        self._release_drained(record)

    def _release_drained(self, record: ListenerRecord, chains: int = 0) -> None:
        """Its connections go on by its routes, and see them change, until they have ended.

        So many of its `chains` end where it was changed in place.
        """
        self._stats.total_filter_chains_draining += chains

        def release() -> None:
            self._stats.total_filter_chains_draining -= chains
            if self.draining.pop(record.number, None) is not None:
                self._count()
            self._wanted.release(record.wants, _holder(record))
            self._wanted.sweep()

        self._after_drain(release)

    def _discard(self, record: ListenerRecord) -> None:
        """Another version has taken its place; the sockets are its own only if it did not hand them on."""
        kept = self.active.get(record.plan.name)
        in_place = kept is not None and kept is not record and kept.column == record.column
        if record.warming is not None:
            record.warming.cancel()
            self._wanted.release(record.wants, _holder(record))
        elif kept is not None and in_place:
            self._release_drained(record, _chains_ended(record, kept))
        else:
            self._drain(record)
        if not in_place:
            self._places.give_back(record.column)
        record.active.close()

    def _column_for(self, plan: ListenerPlan) -> int:
        """Where its connections are counted: with those of the version that it changes in place."""
        serving = self.active.get(plan.name)
        if serving is not None and plan.frame and serving.plan.frame == plan.frame:
            return serving.column
        return self._column()

    def _column(self) -> int:
        column = self._places.take()
        if column is None:
            raise ConfigError(
                f"there are {self._places.capacity} listeners already, which is the most there can be"
            )
        return column

    def _count(self) -> None:
        self._stats.total_listeners_active = len(self.active)
        self._stats.total_listeners_warming = len(self.warming)
        self._stats.total_listeners_draining = len(self.draining)


def _chains_ended(before: ListenerRecord, after: ListenerRecord) -> int:
    read = listener_pb2.Listener.FromString
    return chains_ended(read(before.plan.serialized), read(after.plan.serialized))


def _holder(record: ListenerRecord) -> str:
    return f"listener/{record.number}/{record.plan.name}"
