"""The only place that runs commands: which binaries, what they say, and what their failures mean."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from iptables.config import Config
from iptables.errors import MachineError
from iptables.model import Table, Version
from iptables.observe import parse_save
from iptables.plan import Installed, Routing, Step

Flavour = Literal["nft", "legacy", "plain"]
_CLONE_NEWNET: Final = 0x40000000
_CAP_NET_ADMIN: Final = 12
_LOCK_SECONDS: Final = "30"
_COMMAND_SECONDS: Final = 60.0
_PACKAGES: Final = {"nft": "nftables", "ip": "iproute2"}


@dataclass(frozen=True, slots=True)
class Backend:
    """Which family of iptables binaries is used."""

    flavour: Flavour

    def command(self, verb: str, version: Version) -> str:
        """The name of a binary, such as `ip6tables-nft-save`."""
        name = "iptables" if version == 4 else "ip6tables"
        return f"{name}-{verb}" if self.flavour == "plain" else f"{name}-{self.flavour}-{verb}"


class Runner:
    """Runs commands in the network namespace that this thread is in; MachineError if one cannot."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        self._environment = {**os.environ, "PATH": self._path, "LC_ALL": "C"}
        if config.cni_mode or not os.access("/run", os.W_OK):
            # The lock file of legacy binaries: a pod's own where the machine's is shared or out of reach.
            self._environment["XTABLES_LOCKFILE"] = "/proc/self/ns/net"
        self._backend: Backend | None = None

    def find(self, name: str) -> str | None:
        """The path of a binary, None if there is none."""
        return shutil.which(name, path=self._path)

    def run(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its status."""
        path = self.find(command[0])
        if path is None:
            package = _PACKAGES.get(command[0], "iptables")
            raise MachineError(f"{command[0]} is not installed; install the package {package}")
        try:
            return subprocess.run(  # noqa: S603
                [path, *command[1:]],
                input=text,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MachineError(f"{command[0]} did not run: {error}") from None

    def execute(self, step: Step) -> None:
        """Take one step of a plan; MachineError unless it is optional."""
        command: tuple[str, ...]
        match step.tool:
            case "restore":
                wait = ("--wait", _LOCK_SECONDS)
                command = (self.backend().command("restore", step.version), "--noflush", *wait)
            case "ip":
                command = ("ip", *step.arguments)
            case "nft":
                command = ("nft", "-f", "-")
        done = self.run(*command, text=step.text)
        if done.returncode and not step.optional and "File exists" not in done.stderr:
            raise MachineError(explain(" ".join(command[:1]), done.stderr))

    def backend(self) -> Backend:
        """As the machine already does: legacy if that has rules, or nft, or what is called plain `iptables`."""
        if self._backend is None:
            self._backend = Backend(self._flavour())
        return self._backend

    def _flavour(self) -> Flavour:
        forced = self.config.force_iptables_binary
        if forced:
            return "nft" if forced == "nft" else "legacy"
        if self.legacy_in_use() and self.find("iptables-legacy-save"):
            return "legacy"
        if self.find("iptables-nft-restore"):
            return "nft"
        if self.find("iptables-restore"):
            return "plain"
        raise MachineError("iptables-restore is not installed; install the package iptables")

    def legacy_in_use(self) -> bool:
        """Some table of legacy iptables holds a rule."""
        for version, listing in ((4, "ip_tables_names"), (6, "ip6_tables_names")):
            try:
                names = Path("/proc/net", listing).read_text()
            except OSError:
                continue
            command = Backend("legacy").command("save", 4 if version == 4 else 6)
            if names.strip() and self.find(command) and "\n-A " in self.run(command).stdout:
                return True
        return False

    def saved(self, version: Version) -> str:
        """What iptables-save says."""
        command = self.backend().command("save", version)
        done = self.run(command)
        if done.returncode:
            raise MachineError(explain(command, done.stderr))
        return done.stdout

    def tables(self, version: Version) -> dict[str, Table]:
        """What is installed, by iptables."""
        return parse_save(self.saved(version))

    def base_chains(self) -> frozenset[tuple[str, str, str]] | None:
        """The chains that nft has in the tables of iptables-nft; None where they cannot be told."""
        if self.backend().flavour == "legacy" or self.find("nft") is None:
            return None
        done = self.run("nft", "list", "chains")
        if done.returncode:
            return None
        found, table = set(), ("", "")
        for line in done.stdout.splitlines():
            words = line.split()
            if words[:1] == ["table"]:
                table = (words[1], words[2])
                found.add((*table, ""))
            elif words[:1] == ["chain"]:
                found.add((*table, words[1]))
        return frozenset(found)

    def nft_listing(self) -> str:
        """All rules of nft, with numbers for names."""
        done = self.run("nft", "-n", "list", "ruleset")
        if done.returncode:
            raise MachineError(explain("nft", done.stderr))
        return done.stdout

    def routing(self, ipv6: bool) -> dict[Version, Routing]:
        """What is installed of ours by `ip`; nothing where there is no `ip`."""
        if self.find("ip") is None:
            return {}
        table, mark = str(self.config.inbound_tproxy_route_table), hex(self.config.inbound_tproxy_mark)
        found: dict[Version, Routing] = {}
        versions: tuple[Version, ...] = (4, 6) if ipv6 else (4,)
        for version in versions:
            rules = self.run("ip", f"-{version}", "rule", "show").stdout
            rule = f"fwmark {mark} lookup {table}" in rules
            # A table that nobody looks up is asked all the same: a killed start may have left it.
            routes = self.run("ip", f"-{version}", "route", "show", "table", table).stdout
            route = any(line.startswith("local default dev lo") for line in routes.splitlines())
            found[version] = Routing(rule, route, version == 6 and has_passthrough_address())
        return found

    def installed(self, routing: bool = True) -> Installed:
        """All that a plan must know."""
        versions: list[Version] = [4, 6] if kernel_ipv6() else [4]
        tables = {version: self.tables(version) for version in versions if version == 4 or self._has6()}
        return Installed(tables, self.routing(6 in versions) if routing else {}, self.base_chains())

    def _has6(self) -> bool:
        return self.find(self.backend().command("save", 6)) is not None


def explain(command: str, stderr: str) -> str:
    """One line for a failed command, with what mends it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("Try ")]
    said = lines[0] if lines else "failed without a word"
    low = stderr.lower()
    if "permission denied" in low or "operation not permitted" in low:
        return f"{command} may not change rules: run as root or with the capability NET_ADMIN ({said})"
    if "missing kernel module" in low or "not supported" in low or "can't initialize" in low:
        return f"the kernel lacks what {command} needs: load its module with modprobe ({said})"
    if "lock" in low:
        return f"another program holds the lock of iptables: try again when it has ended ({said})"
    return f"{command} failed: {said}"


def may_change() -> bool:
    """This process has the capability NET_ADMIN."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return False


def kernel_ipv6() -> bool:
    """The namespace has IPv6 at all."""
    try:
        return bool(Path("/proc/net/if_inet6").read_text())
    except OSError:
        return False


def has_passthrough_address() -> bool:
    """::6 is an address of this machine."""
    try:
        return f"{6:032x} " in Path("/proc/net/if_inet6").read_text()
    except OSError:
        return False


def addresses() -> tuple[bool, bool]:
    """Whether the machine has a global IPv4 and a global IPv6 address."""
    v6 = False
    try:
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            address, _, _, _, _, name = line.split()
            v6 = v6 or (name != "lo" and not address.startswith("fe80"))
    except OSError:
        pass
    v4, last = False, ""
    for line in Path("/proc/net/fib_trie").read_text().splitlines():
        if "|--" in line:
            last = line.split()[-1]
        elif "host LOCAL" in line and not last.startswith(("127.", "169.254.")):
            v4 = True
    return v4, v6


def wants_ipv6(config: Config) -> bool:
    """Rules of IPv6 are installed: asked for, or by the machine's addresses.

    As Istio decides: with a global IPv6 address, if there is no IPv4 one or both are asked for.
    """
    if config.ipv6 is not None:
        return config.ipv6
    v4, v6 = addresses()
    return v6 and (config.dual_stack or not v4)


def enter(namespace: str) -> None:
    """Take this thread into a network namespace, by name (`ip netns`) or path; MachineError if it cannot."""
    path = namespace if "/" in namespace else f"/run/netns/{namespace}"
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise MachineError(f"--network-namespace: {path}: {error.strerror}") from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET):
            reason = os.strerror(ctypes.get_errno())
            raise MachineError(f"--network-namespace: cannot enter {path}: {reason}; run as root")
    finally:
        os.close(descriptor)


def modules_missing(names: Sequence[str]) -> list[str]:
    """Those kernel features of a list that the machine says it has not; empty where it does not say."""
    found = set()
    for listing in ("ip_tables_matches", "ip_tables_targets"):
        try:
            found |= set(Path("/proc/net", listing).read_text().split())
        except OSError:
            return []
    return [name for name in names if found and name not in found]
