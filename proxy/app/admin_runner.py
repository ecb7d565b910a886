"""Starts the admin server that a bootstrap asks for, and writes down where it listens."""

from __future__ import annotations

import logging
import socket

from proxy.access_log.compile import CompiledAccessLog
from proxy.access_log.logger import AccessLogger
from proxy.access_log.sinks import SinkManager
from proxy.admin.server import AdminServer
from proxy.app.admin_plan import compile_plan
from proxy.app.admin_state import ControllerAdminState
from proxy.app.controller import Controller
from proxy.app.draw import random_draw
from proxy.app.hot_restart.inherited import key_of
from proxy.base.errors import UsageError
from proxy.base.runtime import Runtime
from proxy.base.services import WorkerServices
from proxy.base.stream_info import DrainState, WallClock
from proxy.config.context import CompileContext
from proxy.connection.sockets import ListenAddress, open_sockets, remove_socket_file
from proxy.connection.timers import TimerQueue

logger = logging.getLogger("proxy.admin")


class AdminRunner:
    """The admin server of one controller; does nothing if the bootstrap has no admin address."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._server: AdminServer | None = None
        self._sinks: SinkManager | None = None
        self._listening: socket.socket | None = None
        self._passed = False
        # Checked when the bootstrap was loaded.
        self._plan = compile_plan(controller.bootstrap, CompileContext())

    async def start(self) -> None:
        """Listen. Raises `UsageError` if the address cannot be had or its file cannot be written."""
        plan = self._plan
        if plan.where is None:
            if self._controller.hot_restart is not None:
                await self._controller.hot_restart.take_admin("")
            return
        controller = self._controller
        access_log = self._access_logger(plan.access_logs) if plan.access_logs else None
        listening = await self._socket(plan.where)
        self._server = AdminServer(
            ControllerAdminState(controller),
            plan.config,
            controller.stats.registry,
            access_log.log if access_log is not None else None,
        )
        bound = await self._listen(self._server, listening)
        logger.info("admin address: %s", bound)
        if controller.options.admin_address_path:
            _write(controller.options.admin_address_path, bound)

    def pause(self) -> tuple[str, socket.socket] | None:
        """Accept no longer, as a process that takes over wants to; the address and the socket, if there is one."""
        if self._server is None or self._listening is None or self._plan.where is None:
            return None
        self._server.pause()
        self._passed = True
        return key_of(self._plan.where), self._listening

    async def go_on(self) -> None:
        """Accept again, if `pause` was called: that process has gone."""
        if self._passed and self._server is not None and self._listening is not None:
            self._passed = False
            listening = self._listening.dup()
            try:
                await self._server.start(listening)
            except OSError as error:
                listening.close()
                logger.error("the admin server cannot go on: %s", error)

    def reopen_logs(self) -> None:
        """After a rotation of the admin's access log."""
        if self._sinks is not None:
            self._sinks.reopen()

    async def close(self) -> None:
        """End every admin connection."""
        if self._server is not None:
            await self._server.close()
        if self._sinks is not None:
            self._sinks.close()
        if self._listening is not None:
            self._listening.close()
        if self._plan.where is not None and not self._passed:
            remove_socket_file(self._plan.where)

    async def _socket(self, where: ListenAddress) -> socket.socket:
        """One that is bound there; kept here under another descriptor, so that it outlives the server's."""
        restart = self._controller.hot_restart
        passed = None if restart is None else await restart.take_admin(key_of(where))
        if passed is None:
            (passed,) = open_sockets("admin", where, 1)
        self._listening = passed.dup()
        return passed

    async def _listen(self, server: AdminServer, listening: socket.socket) -> str:
        try:
            return str(await server.start(listening))
        except OSError as error:
            listening.close()
            raise UsageError(
                f"admin: cannot listen on '{self._plan.where}': {error.strerror}; choose another admin.address"
            ) from error

    def _access_logger(self, compiled: tuple[CompiledAccessLog, ...]) -> AccessLogger:
        controller = self._controller
        options = controller.options
        self._sinks = SinkManager(
            controller.loop, options.file_flush_interval_msec / 1000, options.file_flush_min_size_kb * 1024
        )
        services = WorkerServices(
            loop=controller.loop,
            clusters=_NoClusters(),
            runtime=Runtime(controller.runtime.values()),
            stats=controller.stats.registry,
            wall_clock=WallClock(controller.loop.time),
            timers=TimerQueue(controller.loop),
            access_logs=self._sinks,
            random=random_draw(),
            drain=DrainState(),
            node=controller.bootstrap.node,
        )
        return AccessLogger(compiled, services)


class _NoClusters:
    """The controller forwards nothing."""

    def get(self, name: str) -> None:
        """No cluster."""


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"cannot open admin address output file {path} for writing: {error.strerror}"
        ) from error
