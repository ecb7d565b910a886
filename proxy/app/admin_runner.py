"""Starts the admin server that a bootstrap asks for, and writes down where it listens."""

from __future__ import annotations

import logging

from proxy.admin.config import compile_admin
from proxy.admin.server import AdminServer
from proxy.app.admin_state import ControllerAdminState
from proxy.app.controller import Controller
from proxy.base.errors import UsageError
from proxy.config.context import CompileContext
from proxy.downstream.listen_address import compile_address

logger = logging.getLogger("proxy.admin")


class AdminRunner:
    """The admin server of one controller; does nothing if the bootstrap has no admin address."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._server: AdminServer | None = None

    async def start(self) -> None:
        """Listen. Raises `UsageError` if the address cannot be had or its file cannot be written."""
        controller = self._controller
        # Checked when the bootstrap was loaded.
        context = CompileContext()
        admin = controller.bootstrap.admin
        if not admin.HasField("address"):
            return
        address = compile_address(admin.address, "admin.address", context)
        if address is None:
            return
        config = compile_admin(controller.bootstrap, context)
        self._server = AdminServer(ControllerAdminState(controller), config, controller.registry)
        try:
            bound = await self._server.start(address)
        except OSError as error:
            raise UsageError(
                f"admin: cannot bind '{address}': {error.strerror}; choose another admin.address"
            ) from error
        logger.info("admin address: %s", bound)
        if controller.options.admin_address_path:
            _write(controller.options.admin_address_path, str(bound))

    async def close(self) -> None:
        """End every admin connection."""
        if self._server is not None:
            await self._server.close()


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"cannot open admin address output file {path} for writing: {error.strerror}"
        ) from error
