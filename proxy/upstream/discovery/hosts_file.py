"""The hosts file: names that never go to a DNS server. Read again whenever the file has changed."""

from __future__ import annotations

import ipaddress
import os
from typing import Final

HOSTS_PATH: Final = "/etc/hosts"
_LOCALHOST: Final = ("::1", "127.0.0.1")


def parse_hosts(text: str) -> dict[str, list[str]]:
    """Lower-case name → addresses in the order of the file; lines that make no sense are passed over."""
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *aliases = line.partition("#")[0].split() or [""]
        try:
            ip = str(ipaddress.ip_address(address))
        except ValueError:
            continue
        for alias in aliases:
            found = names.setdefault(alias.lower(), [])
            if ip not in found:
                found.append(ip)
    return names


class HostsFile:
    """The current content of a hosts file; a file that cannot be read counts as empty."""

    def __init__(self, path: str = HOSTS_PATH) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._names: dict[str, list[str]] = {}

    def lookup(self, name: str) -> list[str]:
        """All addresses of `name`. `localhost` and what ends so is loopback in any case (RFC 6761)."""
        self._refresh()
        name = name.lower().rstrip(".")
        found = self._names.get(name)
        if found is None and (name == "localhost" or name.endswith(".localhost")):
            return list(_LOCALHOST)
        return list(found or ())

    def _refresh(self) -> None:
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version == self._version:
                return
            with open(self._path, encoding="utf-8", errors="replace") as file:
                self._names = parse_hosts(file.read())
            self._version = version
        except OSError:
            self._names = {}
            self._version = None
