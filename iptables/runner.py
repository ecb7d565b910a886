"""The only place that runs commands: which binaries, what they say, and what their failures mean."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from iptables.config import Config
from iptables.errors import MachineError
from iptables.model import Version
from iptables.observe import parse_save
from iptables.plan import Installed, Routing, Step

Flavour = Literal["nft", "legacy", "plain"]
_CLONE_NEWNET: Final = 0x40000000
_CAP_NET_ADMIN: Final = 12
_LOCK_SECONDS: Final = "30"
_COMMAND_SECONDS: Final = 60.0
_NFT_LISTING: Final = ("nft", "-n", "list", "ruleset")
_PACKAGES: Final = {"nft": "nftables", "ip": "iproute2"}


class Backend(Struct, frozen=True):
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
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        self._folders = [folder for folder in dict.fromkeys(path.split(":")) if folder]
        self._environment = {**os.environ, "PATH": path, "LC_ALL": "C"}
        if config.cni_mode or not os.access("/run", os.W_OK):
            # The lock file of legacy binaries: a pod's own where the machine's is shared or out of reach.
            self._environment["XTABLES_LOCKFILE"] = "/proc/self/ns/net"
        self._backend: Backend | None = None

    def find(self, name: str) -> str | None:
        """The path of a binary, None if there is none."""
        candidates = (f"{folder}/{name}" for folder in self._folders)
        return next((path for path in candidates if os.access(path, os.X_OK)), None)

    def run(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its status."""
        (done,) = self.gather([command], text)
        return done

    def gather(
        self, commands: Sequence[Sequence[str]], text: str = ""
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run commands side by side, each with `text` as its input, to their ends, whatever their status."""
        paths = [self._need(command[0]) for command in commands]
        running: list[subprocess.Popen[str]] = []
        done: list[subprocess.CompletedProcess[str]] = []
        try:
            for path, command in zip(paths, commands, strict=True):
                running.append(self._start(path, command[1:]))
            for process, command in zip(running, commands, strict=True):
                output, errors = process.communicate(text, _COMMAND_SECONDS)
                done.append(subprocess.CompletedProcess(command, process.returncode, output, errors))
        except (OSError, subprocess.TimeoutExpired) as error:
            for process in running:
                process.kill()
                process.communicate()
            raise MachineError(f"{commands[len(done)][0]} did not run: {error}") from None
        return done

    def _need(self, name: str) -> str:
        path = self.find(name)
        if path is None:
            package = _PACKAGES.get(name, "iptables")
            raise MachineError(f"{name} is not installed; install the package {package}")
        return path

    def _start(self, path: str, arguments: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603
            [path, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            text=True,
        )

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

    def nft_listing(self) -> str:
        """All rules of nft, with numbers for names."""
        return self.read(_NFT_LISTING)[0]

    def read(self, *commands: Sequence[str]) -> list[str]:
        """What commands say; MachineError if one fails."""
        found = self.gather(commands)
        for command, done in zip(commands, found, strict=True):
            if done.returncode:
                raise MachineError(explain(command[0], done.stderr))
        return [done.stdout for done in found]

    def routing(self, ipv6: bool) -> dict[Version, Routing]:
        """What is installed of ours by `ip`; nothing where there is no `ip`."""
        if self.find("ip") is None:
            return {}
        versions: tuple[Version, ...] = (4, 6) if ipv6 else (4,)
        table = self.config.inbound_tproxy_route_table
        # A table that nobody looks up is asked all the same: a killed start may have left it.
        found = self.gather(
            [("ip", f"-{version}", "-force", "-batch", "-") for version in versions],
            f"rule show\nroute show table {table}\n",
        )
        return {
            version: self._routing(version, done.stdout)
            for version, done in zip(versions, found, strict=True)
        }

    def _routing(self, version: Version, listing: str) -> Routing:
        rule = (
            f"fwmark {hex(self.config.inbound_tproxy_mark)} lookup {self.config.inbound_tproxy_route_table}"
        )
        # A rule's line begins with its number, a route's with its type.
        route = any(line.startswith("local default dev lo") for line in listing.splitlines())
        return Routing(rule in listing, route, version == 6 and has_passthrough_address())

    def installed(
        self, routing: bool = True, versions: Sequence[Version] | None = None, nft: bool = True
    ) -> Installed:
        """What a plan must know, of both IP versions unless told; the rules of `nft` where asked for."""
        asked: Sequence[Version] = versions or ((4, 6) if kernel_ipv6() else (4,))
        backend = self.backend()
        kept = [version for version in asked if version == 4 or self.find(backend.command("save", 6))]
        commands: list[Sequence[str]] = [(backend.command("save", version),) for version in kept]
        nft = nft and backend.flavour != "legacy" and self.find("nft") is not None
        texts = self.read(*commands, *([_NFT_LISTING] if nft else []))
        listing = texts[-1] if nft else ""
        return Installed(
            {version: parse_save(text) for version, text in zip(kept, texts, strict=False)},
            self.routing(6 in asked) if routing else {},
            base_chains(listing) if nft else None,
            listing,
        )


def base_chains(listing: str) -> frozenset[tuple[str, str, str]]:
    """(family, table, chain) of what nft lists, and (family, table, "") for each table."""
    found, table = set(), ("", "")
    for line in listing.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            table = (words[1], words[2])
            found.add((*table, ""))
        elif words[:1] == ["chain"]:
            found.add((*table, words[1]))
    return frozenset(found)


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
