"""Hosts with real packets: network namespaces on bridges, for redirect rules and several proxies at work together.

A namespace has no name and no process that holds it: it lives as long as a descriptor of this process or
a process in it, so it cannot be left behind alone. Links are made between namespaces only; nothing changes outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypeVar

_CLONE_NEWNET = 0x40000000
_TOOLS = {
    "ip": "iproute2",
    "iptables-restore": "iptables",
    "ip6tables-restore": "iptables",
    "nft": "nftables",
}
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # which only root has by default
_HINT = "run `make test`, which takes a user namespace where it is not root, or run as root"
_THREADS = 8  # of a host: as many calls at a time, further ones wait

_libc = ctypes.CDLL(None, use_errno=True)

Version = Literal[4, 6]
P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=contextlib.AbstractContextManager[Any])


def _check(status: int, what: str) -> None:
    if status:
        raise AssertionError(f"{what}: {os.strerror(ctypes.get_errno())}; {_HINT}")


def _new_namespace() -> int:
    """The descriptor of a new network namespace; no thread stays in it."""

    def make() -> int:
        _check(_libc.unshare(_CLONE_NEWNET), "cannot make a network namespace")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


class Host:
    """One namespace. `Network.host` makes it, and ends what it runs.

    `addresses` are those of its links in the order in which it was attached.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: list[Addresses] = []
        self._descriptor = _new_namespace()
        self._threads = ThreadPoolExecutor(_THREADS, name, self._enter)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.run("ip", "link", "set", "lo", "up")

    def __repr__(self) -> str:
        return f"Host({self.name!r}, {self.addresses})"

    @property
    def path(self) -> str:
        """Names the namespace to `ip ... netns PATH` and `nsenter --net=PATH`."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def ip(self, version: Version = 4, link: int = 0) -> str:
        """The address on the host's n-th link."""
        return self.addresses[link].ip(version)

    def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call `function` as this host: its sockets, threads and processes belong to the host for good."""
        return self._threads.submit(function, *arguments, **named).result()

    def run(
        self, *command: str, text: str | None = None, timeout: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end with `text` as its input; AssertionError with its output if it fails."""
        done = self.call(
            subprocess.run,
            command,
            input=text or "",
            env={**os.environ, "PATH": _PATH},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{self.name}: {' '.join(command)} ended with {done.returncode}:\n"
                f"{done.stdout[-2000:]}{done.stderr[-2000:]}{text or ''}"
            )
        return done

    def spawn(
        self, *command: str, log: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command that the network ends; its output goes to `log`, or nowhere."""
        with open(log or os.devnull, "wb") as output:
            process = self.call(
                subprocess.Popen,
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PATH": _PATH, **(environment or {})},
            )
        self._processes.append(process)
        return process

    def connect(self, ip: str, port: int, timeout: float = 10.0) -> socket.socket:
        """A connection from this host."""
        return self.call(socket.create_connection, (ip, port), timeout)

    def wait_for_port(self, ip: str, port: int, timeout: float = 20.0) -> None:
        """Until somebody takes connections there; AssertionError if nobody does in time."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.connect(ip, port).close()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self.name}: nobody at {ip}:{port}: {error}") from None
                time.sleep(0.02)
            else:
                return

    def restore(self, rules: str, version: Version = 4) -> None:
        """Apply the text of iptables-restore, of ip6tables-restore for 6."""
        self.run(_iptables("restore", version), text=rules)

    def saved(self, version: Version = 4) -> str:
        """What iptables-save says, of ip6tables-save for 6."""
        return self.run(_iptables("save", version)).stdout

    def set(self, key: str, value: int) -> None:
        """Write a sysctl below `net/`, such as `ipv4/ip_forward`."""
        self.call(Path("/proc/sys/net", key).write_text, str(value))

    def close(self) -> None:
        """Kill what `spawn` started and let the namespace go."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(5)
        self._threads.shutdown()
        os.close(self._descriptor)

    def _enter(self) -> None:
        _check(_libc.setns(self._descriptor, _CLONE_NEWNET), f"cannot enter {self.name}")


@dataclass(frozen=True)
class Addresses:
    """Of one link of a host."""

    v4: str
    v6: str

    def ip(self, version: Version) -> str:
        return self.v4 if version == 4 else self.v6


class Network:
    """Hosts and the bridges between them. Use as a context manager.

    The n-th `lan` is 10.n.0.0/24 and fd00:n::/64, and its k-th host (from 1) has .k and ::k there.
    """

    def __init__(self) -> None:
        missing = sorted(
            {package for tool, package in _TOOLS.items() if shutil.which(tool, path=_PATH) is None}
        )
        assert not missing, f"tests in network namespaces need the Debian packages {', '.join(missing)}"
        self._exit = contextlib.ExitStack()
        self._lans = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def host(self, name: str) -> Host:
        """A host without links, its loopback up."""
        host = Host(name)
        self._exit.callback(host.close)
        return host

    def hosts(self, *names: str) -> list[Host]:
        return [self.host(name) for name in names]

    def keep(self, host: Host, make: Callable[[], M]) -> M:
        """Make something as `host` (a proxy, an origin) that ends with the network."""
        made = host.call(make)
        self._exit.enter_context(made)
        return made

    def lan(self, *hosts: Host) -> None:
        """A bridge with a link to each host, which is `eth0` in the first LAN of that host, then `eth1`."""
        self._lans += 1
        number = self._lans
        switch = self.host(f"switch {number}")
        switch.run("ip", "link", "add", "name", "bridge0", "type", "bridge")
        switch.run("ip", "link", "set", "bridge0", "up")
        for k, host in enumerate(hosts, 1):
            link = f"eth{len(host.addresses)}"
            addresses = Addresses(f"10.{number}.0.{k}", f"fd00:{number}::{k}")
            switch.run(
                *("ip", "link", "add", f"port{k}", "type", "veth"),
                *("peer", "name", link, "netns", host.path),
            )
            switch.run("ip", "link", "set", f"port{k}", "master", "bridge0", "up")
            host.run("ip", "address", "add", f"{addresses.v4}/24", "dev", link)
            host.run("ip", "address", "add", f"{addresses.v6}/64", "dev", link, "nodad")
            host.run("ip", "link", "set", link, "up")
            host.addresses.append(addresses)


def default_route(host: Host, via: Host, link: int = 0) -> None:
    """Send what `host` cannot place to the address of `via` on its n-th link, in both versions."""
    versions: tuple[Version, ...] = (4, 6)
    for version in versions:
        host.run("ip", f"-{version}", "route", "add", "default", "via", via.ip(version, link))


def _iptables(verb: str, version: Version) -> str:
    return f"iptables-{verb}" if version == 4 else f"ip6tables-{verb}"


def redirect(chain: str, match: str, port: int) -> str:
    """iptables-restore text: TCP connections that meet `match` in a chain of `nat` go to a local port."""
    return f"*nat\n-A {chain} -p tcp {match} -j REDIRECT --to-ports {port}\nCOMMIT\n"
