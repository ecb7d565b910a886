"""What a bootstrap says of the admin server, compiled."""

from __future__ import annotations

from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from msgspec import Struct

from proxy.access_log.compile import CompiledAccessLog, compile_access_logs
from proxy.admin.config import AdminConfig, compile_admin
from proxy.config.context import CompileContext
from proxy.connection.sockets import ListenAddress
from proxy.downstream.listen_address import compile_address, compile_socket_options


class AdminPlan(Struct, frozen=True):
    """`Bootstrap.admin` compiled. `where` is None if no admin server is wanted."""

    where: ListenAddress | None
    config: AdminConfig
    access_logs: tuple[CompiledAccessLog, ...]


def compile_plan(bootstrap: Any, context: CompileContext) -> AdminPlan:
    """Check and compile what the admin server needs; problems go to `context`."""
    admin = bootstrap.admin
    where = None
    if admin.HasField("address"):
        address = compile_address(admin.address, "admin.address", context)
        options = compile_socket_options(admin.socket_options, "admin.socket_options", context)
        if address is not None:
            mode = admin.address.pipe.mode if address.path else 0
            where = ListenAddress(address, mode=mode, reuse_port=False, options=options)
    logs = list(admin.access_log)
    if admin.access_log_path:
        # The deprecated spelling of one file log in the default format.
        one = accesslog_pb2.AccessLog(name="envoy.access_loggers.file")
        one.typed_config.Pack(file_pb2.FileAccessLog(path=admin.access_log_path))
        logs.append(one)
    return AdminPlan(
        where, compile_admin(bootstrap, context), compile_access_logs(logs, "admin.access_log", context)
    )
