"""`sidecar.env`: the settings of Traffic Director's VM scripts, read without running a shell.

The scripts source the file. Here a line is empty, a comment, or `NAME=value` (`export` may stand before it); the
value is bare, or in single or double quotes. As in a shell, a later line wins. What a shell expands is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from iptables.config import Config, check
from iptables.errors import SettingError
from iptables.values import is_range
from proxy.app.command_line import level_name
from proxy.base.errors import UsageError
from proxy.vm.errors import VmError

_LINE: Final = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_VALUE: Final = re.compile(r"""(?:'([^']*)'|"([^"\\$`]*)"|([^\s'"\\$`;&|<>()#]*))\s*(?:\s#.*)?""")
_NAMES: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MOST_BYTES: Final = 1 << 16


class Settings(Struct, frozen=True):
    """Of one VM. Empty `project_number`, `network_name` and `server_cert` leave them to the machine.

    `service_cidr` are IP ranges, or `("*",)` for every destination.
    """

    user: str = "envoy"
    exclude_user: bool = True
    service_cidr: tuple[str, ...] = ("*",)
    project_number: str = ""
    network_name: str = ""
    port: int = 15001
    admin_port: int = 15000
    log_dir: str = "/var/log/envoy"
    log_level: str = "info"
    server_cert: str = ""
    tracing: bool = False
    access_log: str = ""

    def rules(self, uid: int) -> Config:
        """What is captured: outbound connections to the service ranges, not those of the proxy's user."""
        own = (str(uid),) if self.exclude_user else ()
        return Config(
            envoy_port=self.port,
            proxy_uid=own,
            proxy_gid=(),
            service_cidr=self.service_cidr,
            outbound_only=True,
            # A range of IPv6 asks for rules there, whatever addresses the machine has.
            ipv6=True if any(":" in one for one in self.service_cidr) else None,
        )


def read(path: Path) -> Settings:
    """The settings in a file; raises `VmError` with file, line and remedy."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise VmError(f"{path}: {error.strerror}; give the file of the sidecar with --env") from None
    if len(raw) > _MOST_BYTES:
        raise VmError(f"{path}: larger than {_MOST_BYTES} bytes; this is no sidecar.env")
    try:
        return parse(raw.decode(), str(path))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise VmError(f"{path}:{line}: the file is not UTF-8 text; write it anew") from None


def parse(text: str, origin: str) -> Settings:
    """The settings in a text; raises `VmError`, whose place begins with `origin`."""
    values: dict[str, Any] = {}
    places: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            name, value = _assignment(line)
            field, convert = _variable(name)
            values[field] = convert(value)
        except ValueError as error:
            raise VmError(f"{origin}:{number}: {error}") from None
        places[field] = number
    values.pop("", None)
    settings = Settings(**values)
    if settings.port == settings.admin_port:
        line_number = places.get("admin_port") or places.get("port", 1)
        raise VmError(
            f"{origin}:{line_number}: ENVOY_PORT and ENVOY_ADMIN_PORT are both {settings.port}; choose another one"
        )
    try:
        check(settings.rules(0))
    except SettingError as error:
        raise VmError(f"{origin}: {error}") from None
    return settings


def _assignment(line: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("no assignment; write NAME=value, or # before a comment")
    name, rest = found[1], found[2]
    value = _VALUE.fullmatch(rest)
    if value is None:
        raise ValueError(f"{name}: the value needs single quotes around it; nothing in it is expanded")
    return name, next((group for group in value.groups() if group is not None), "")


def _variable(name: str) -> tuple[str, Callable[[str], Any]]:
    known = _VARIABLES.get(name)
    if known is None:
        near = difflib.get_close_matches(name, _VARIABLES, n=1)
        remedy = f"did you mean {near[0]}?" if near else "remove the line"
        raise ValueError(f"{name}: unknown variable; {remedy}")
    field, convert = known

    def named(value: str) -> Any:
        try:
            return convert(value)
        except (ValueError, UsageError) as error:
            raise ValueError(f"{name}: {error}") from None

    return field, named


def _user(value: str) -> str:
    if not _NAMES.fullmatch(value):
        raise ValueError(f"{value!r} is not the name of a user, such as envoy")
    return value


def _bool(value: str) -> bool:
    if value not in {"true", "false"}:
        raise ValueError(f"{value!r} is neither true nor false")
    return value == "true"


def _ranges(value: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    if not parts:
        raise ValueError("empty: nothing would be captured; write '*' or ranges such as 10.0.0.0/8")
    if parts == ("*",):
        return parts
    for part in parts:
        if not is_range(part):
            raise ValueError(f"{part!r} is not an IP range such as 10.0.0.0/8; '*' stands alone")
    return parts


def _project(value: str) -> str:
    if value and not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value!r} is not a project's number, which has digits only")
    return value


def _network_name(value: str) -> str:
    if not re.fullmatch(r"(mesh:|scope:)?[A-Za-z0-9_.-]*", value):
        raise ValueError(f"{value!r} is not the name of a VPC network, such as default, or mesh:name")
    return value


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65535):
        raise ValueError(f"{value!r} is not a port from 1 to 65535")
    return int(value)


def _path(value: str) -> str:
    if value and (not value.startswith("/") or re.search(r"[\x00-\x1f\"\\]", value)):
        raise ValueError(f"{value!r} is not an absolute path")
    return value


def _folder(value: str) -> str:
    if value.rstrip("/") == "":
        raise ValueError("write the absolute path of a folder for logs, such as /var/log/envoy")
    return _path(value).rstrip("/")


def _no_inbound(value: str) -> None:
    if value:
        raise ValueError("inbound capture is not supported; empty it, or use `outrider iptables apply -b`")


_VARIABLES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "ENVOY_USER": ("user", _user),
    "EXCLUDE_ENVOY_USER_FROM_INTERCEPT": ("exclude_user", _bool),
    "SERVICE_CIDR": ("service_cidr", _ranges),
    "GCP_PROJECT_NUMBER": ("project_number", _project),
    "VPC_NETWORK_NAME": ("network_name", _network_name),
    "ENVOY_PORT": ("port", _port),
    "ENVOY_ADMIN_PORT": ("admin_port", _port),
    "LOG_DIR": ("log_dir", _folder),
    "LOG_LEVEL": ("log_level", level_name),
    "XDS_SERVER_CERT": ("server_cert", _path),
    "TRACING_ENABLED": ("tracing", _bool),
    "ACCESSLOG_PATH": ("access_log", _path),
    "BACKEND_INBOUND_PORTS": ("", _no_inbound),
}
