"""What one process does in hot restarts: first it may take over from another, later another from it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from proxy.app.active_listener import ActiveListener
from proxy.app.command_line import Options
from proxy.app.hot_restart import names
from proxy.app.hot_restart.carried_stats import carried
from proxy.app.hot_restart.inherited import InheritedSockets, key_of
from proxy.app.hot_restart.messages import Welcome
from proxy.app.hot_restart.predecessor import NoParentError, Predecessor
from proxy.app.hot_restart.successor import Numbers, SuccessorGate
from proxy.base.errors import UsageError
from proxy.base.stats import PARENT
from proxy.connection.sockets import ListenAddress

if TYPE_CHECKING:
    from proxy.app.controller import Controller

logger = logging.getLogger("proxy.app.hot_restart")

_DYNAMIC_TRIES: Final = 100


def begin(options: Options) -> tuple[int, HotRestart | None]:
    """Take our place, and the sockets of the process before if there is one: base id, and None where hot restart
    has to be done without. Raises `UsageError`.
    """
    base_id, waiting = options.base_id, None
    try:
        base_id, waiting = _bind(options)
    except OSError as error:
        why = (
            f"unable to bind domain socket with base_id={base_id}, id={options.restart_epoch}, "
            f"errno={error.errno} (see --base-id option): {os.strerror(error.errno or 0)}"
        )
        if options.asks_for_hot_restart or error.errno != errno.EADDRINUSE:
            raise UsageError(f"error: {why}") from error
        logger.warning("hot restart is off, because another process has the base id: %s", why)
        return base_id, None
    predecessor, inherited = None, InheritedSockets()
    try:
        if options.restart_epoch:
            predecessor = Predecessor.meet(options, base_id)
            inherited = predecessor.take_sockets()
    except NoParentError as error:
        if not options.skip_hot_restart_on_no_parent:
            _give_up(options, base_id, waiting)
            raise
        logger.warning("%s; starting without, as --skip-hot-restart-on-no-parent says", error)
    except UsageError:
        _give_up(options, base_id, waiting)
        raise
    return base_id, HotRestart(options, base_id, waiting, predecessor, inherited)


def _bind(options: Options) -> tuple[int, socket.socket]:
    if not options.use_dynamic_base_id:
        return options.base_id, names.bind_place(options, options.base_id, options.restart_epoch)
    for _ in range(_DYNAMIC_TRIES):
        base_id = random.randrange(1, 2**16)
        try:
            return base_id, names.bind_place(options, base_id, 0)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no free base id")


def _give_up(options: Options, base_id: int, waiting: socket.socket) -> None:
    waiting.close()
    names.release_place(options, base_id, options.restart_epoch)


class HotRestart:
    """See module; it is the `HandOver` of its controller. `start` comes when the loop is about to run."""

    _controller: Controller
    _gate: SuccessorGate

    def __init__(
        self,
        options: Options,
        base_id: int,
        waiting: socket.socket,
        predecessor: Predecessor | None,
        inherited: InheritedSockets,
    ) -> None:
        self._options = options
        self._base_id = base_id
        self._waiting = waiting
        self._predecessor = predecessor
        self._inherited = inherited
        self._generation = 1 if predecessor is None else predecessor.welcome.generation + 1
        #: When the first process of all began, in Unix seconds.
        self.first_start = time.time() if predecessor is None else predecessor.welcome.started_at
        self._has_numbers = False
        self._started = False
        self._tasks: set[asyncio.Task[None]] = set()

    def open_sockets(self, listener: str, where: ListenAddress, workers: int) -> list[socket.socket]:
        """See `InheritedSockets.open`."""
        return self._inherited.open(listener, where, workers)

    def start(self, controller: Controller) -> None:
        """Be there for a successor, and hear from the predecessor."""
        self._controller = controller
        controller.stats.server.hot_restart_generation = self._generation
        self._started = True
        self._gate = SuccessorGate(controller.loop, self._waiting, self._options.restart_epoch, self)
        if self._predecessor is not None:
            self._predecessor.on_numbers = self._take_numbers
            self._predecessor.on_gone = self._predecessor_gone
            self._predecessor.watch(controller.loop)

    async def close(self) -> None:
        """The end of this process: say the last numbers."""
        if self._started:
            self._gate.tell_last(self._numbers())
            await self._gate.close()
        else:
            self._waiting.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._inherited.close()
        if self._predecessor is not None:
            self._predecessor.close()
        names.release_place(self._options, self._base_id, self._options.restart_epoch)

    # -- towards the process before

    async def take_admin(self, address: str) -> socket.socket | None:
        """Have it stop its admin server; the socket of that if it listens on `address`."""
        passed = None if self._predecessor is None else await self._predecessor.take_admin()
        if passed is None:
            return None
        if passed[0] == address:
            return passed[1]
        passed[1].close()
        return None

    def accepting(self) -> None:
        """Our listeners accept: have it drain."""
        predecessor = self._predecessor
        if predecessor is None or not predecessor.alive:
            self._inherited.close()
            return
        table = self._controller.listeners
        # What the control plane has not told us of yet may still be claimed, and is served there until then.
        dynamic = self._controller.bootstrap.dynamic_resources
        awaited = dynamic.HasField("lds_config") and not table.listed
        keep = awaited or bool(table.warming)
        seconds = self._options.parent_shutdown_time_s
        predecessor.drain(self._controller.served.taken(), seconds, keep=keep)
        if keep:
            self._controller.loop.call_later(seconds, self._inherited.close)
        else:
            self._inherited.close()

    def took(self, listener: ActiveListener) -> None:
        """A listener accepts that did not when `accepting` was called."""
        if self._predecessor is not None and self._predecessor.draining:
            self._predecessor.took([key_of(where) for where in listener.bound])

    async def refresh(self) -> None:
        """Bring its numbers up to date."""
        if self._predecessor is not None:
            await self._predecessor.refresh()

    def ask_numbers(self) -> None:
        """As `refresh`, without waiting."""
        if self._predecessor is not None and self._predecessor.alive:
            self._predecessor.ask_numbers()

    @property
    def awaits_numbers(self) -> bool:
        """Whether the process before has not said its last."""
        return self._predecessor is not None and self._predecessor.alive

    def _take_numbers(self, counters: dict[str, int], gauges: dict[str, int]) -> None:
        stats = self._controller.stats.server
        stats.parent_connections = 0 if self._predecessor is None else self._predecessor.connections
        if not self._options.skip_hot_restart_parent_stats:
            self._has_numbers = True
            self._controller.stats.sum.update(PARENT, carried(counters, gauges))

    def _predecessor_gone(self) -> None:
        self._controller.stats.server.parent_connections = 0
        if self._has_numbers:
            self._has_numbers = False
            self._controller.stats.sum.lost(PARENT)
        self._inherited.close()
        self._controller.life.progress()

    # -- towards the process after: `proxy.app.hot_restart.successor.HandOver`

    def objection(self) -> str:
        """See `HandOver`."""
        if self._controller.life.ending:
            return "it drains already"
        if not self._controller.served.accepting:
            return "previous envoy process is still initializing"
        return ""

    def greeted(self) -> None:
        """See `HandOver`."""
        if self._predecessor is not None and self._predecessor.alive:
            self._predecessor.hurry()

    def welcome(self) -> Welcome:
        """See `HandOver`."""
        return Welcome(self.first_start, self._generation)

    def pass_sockets(self) -> Iterator[tuple[str, list[socket.socket]]]:
        """See `HandOver`."""
        return self._controller.served.pass_sockets()

    def pass_admin(self) -> tuple[str, socket.socket] | None:
        """See `HandOver`."""
        return self._controller.pause_admin()

    async def numbers(self) -> Numbers:
        """See `HandOver`."""
        await self._controller.stats.refresh()
        return self._numbers()

    def drain(self, seconds: int, taken: frozenset[str], *, keep: bool) -> None:
        """See `HandOver`."""
        self._controller.life.hand_over(seconds, taken, keep=keep)

    def let_go(self, taken: frozenset[str]) -> None:
        """See `HandOver`."""
        self._controller.served.hand_over(taken, keep=True)

    def hurry(self) -> None:
        """See `HandOver`."""
        self._controller.life.hurry()

    def go_on(self) -> None:
        """See `HandOver`."""
        self._controller.served.unshare()
        task = self._controller.loop.create_task(self._controller.resume_admin(), name="resume admin")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _numbers(self) -> Numbers:
        stats = self._controller.stats.sum
        counters = {name: value for name, value in stats.counters().items() if value}
        gauges = {name: value for name, value in stats.gauges().items() if stats.used(name)}
        return counters, gauges, self._controller.counts.total(0)
