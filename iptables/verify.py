"""Whether the rules work: real connections to addresses that nobody has must come to the proxy's ports.

A probe is sent as a workload's user, or as the proxy's where the rule in question is about the proxy. If the
port of the proxy is free, a listener here takes it and reads the original destination; if the proxy has it, a
connection that succeeds at all proves the redirect, since the destination does not exist.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct

from iptables.config import DNS_PORT, Config
from iptables.model import Version, network
from iptables.observe import covers
from iptables.rules import dns_active

_SO_ORIGINAL_DST: Final = 80  # linux/netfilter_ipv4.h, and the same for IPv6
_LOCAL: Final[dict[Version, str]] = {4: "127.0.0.1", 6: "::1"}
_NOWHERE: Final[dict[Version, str]] = {4: "192.0.2.1", 6: "2001:db8::1"}  # RFC 5737, RFC 3849
_PASSTHROUGH: Final[dict[Version, str]] = {4: "127.0.0.6", 6: "::6"}
_WORKLOAD_UID: Final = 65534
_DNS_QUERY: Final = struct.pack("!6H", 0x6F72, 0x0100, 1, 0, 0, 0) + b"\x05probe\x07invalid\0\0\1\0\1"

Outcome = Literal["ok", "failed", "skipped"]


class Probe(Struct, frozen=True):
    """One connection or datagram: where to, by whom, and the port of the proxy that must get it."""

    name: str
    version: Version
    protocol: Literal["tcp", "udp"]
    destination: str
    port: int
    expected: int
    uid: int
    source: str = ""


class Result(Struct, frozen=True):
    """`detail` says why a probe failed or could not be sent."""

    probe: Probe
    outcome: Outcome
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.outcome:8}{self.probe.name}"
        return f"{text}: {self.detail}" if self.detail else text


def probes(config: Config, versions: Sequence[Version]) -> list[Probe]:
    """Those that the rules of a config promise an answer to."""
    found: list[Probe] = []
    proxy = next((int(uid) for uid in config.proxy_uid if uid != "0"), -1)
    workload = _WORKLOAD_UID if str(_WORKLOAD_UID) not in config.proxy_uid else _WORKLOAD_UID - 1
    port = config.iptables_probe_port
    for version in versions:
        target = _captured(config, version)
        if target:
            name = f"IPv{version} TCP to {target} port {port} comes to port {config.envoy_port}"
            found.append(Probe(name, version, "tcp", target, port, config.envoy_port, workload))
        if not config.outbound_only and proxy >= 0:
            there = _PASSTHROUGH[version]
            expected = config.inbound_capture_port
            name = f"IPv{version} TCP of the proxy to {there} port {port} comes to port {expected}"
            found.append(Probe(name, version, "tcp", there, port, expected, proxy, _LOCAL[version]))
        server = _resolver(config, version)
        if server:
            for protocol in ("udp", "tcp"):
                name = f"IPv{version} {protocol.upper()} DNS to {server} comes to port {DNS_PORT}"
                kind: Literal["tcp", "udp"] = "udp" if protocol == "udp" else "tcp"
                found.append(Probe(name, version, kind, server, 53, DNS_PORT, workload))
    return found


def _captured(config: Config, version: Version) -> str:
    """An address that is captured, of which as good as certainly nobody has it."""
    nowhere = _NOWHERE[version]
    if any(cidr != "*" and covers_text(cidr, nowhere) for cidr in config.service_exclude_cidr):
        return ""
    if str(config.iptables_probe_port) in config.outbound_ports_exclude:
        return ""
    if config.service_cidr == ("*",):
        return nowhere
    return nowhere if any(covers_text(cidr, nowhere) for cidr in config.service_cidr) else ""


def covers_text(cidr: str, address: str) -> bool:
    """As `observe.covers`, for ranges that may have host bits."""
    return cidr != "*" and covers(network(cidr), address)


def _resolver(config: Config, version: Version) -> str:
    if not dns_active(config):
        return ""
    if config.capture_all_dns:
        return _NOWHERE[version]
    return next((server for server in config.dns_servers if (":" in server) == (version == 6)), "")


def run(probe: Probe, timeout: float) -> Result:
    """Send one probe; it takes at most `timeout` seconds."""
    if not _may_be(probe.uid):
        return Result(probe, "skipped", f"needs root, or uid {probe.uid}")
    with contextlib.ExitStack() as stack:
        listener = _listen(probe)
        if listener is not None:
            stack.enter_context(listener)
        try:
            with _as_user(probe.uid), contextlib.suppress(BlockingIOError):
                client = stack.enter_context(_socket(probe))
                client.setblocking(False)
                if probe.source:
                    client.bind((probe.source, 0))
                client.connect((probe.destination, probe.port))
                if probe.protocol == "udp":
                    client.send(_DNS_QUERY)
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
                return Result(probe, "skipped", f"no route to {probe.destination} from here")
            return Result(probe, "failed", str(error.strerror))
        return _await(probe, client, listener, time.monotonic() + timeout)


def _await(probe: Probe, client: socket.socket, listener: socket.socket | None, deadline: float) -> Result:
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return Result(probe, "failed", "nothing came: the rules are there and have no effect")
        readers = [listener] if listener is not None else [client] if probe.protocol == "udp" else []
        writers = [client] if probe.protocol == "tcp" and listener is None else []
        readable, writable, _ = select.select(readers, writers, [], left)
        if writable:
            reason = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if reason:
                return Result(
                    probe, "failed", f"{os.strerror(reason)}: the rules are there and have no effect"
                )
            return Result(probe, "ok", "answered by the program on that port")
        if readable and listener is None:
            with contextlib.suppress(OSError):
                client.recv(512)
                return Result(probe, "ok", "answered by the program on that port")
            return Result(probe, "failed", "refused")
        if readable and listener is not None:
            if probe.protocol == "udp":
                if listener.recv(512) == _DNS_QUERY:
                    return Result(probe, "ok")
            elif _original_port(listener, probe.version) == probe.port:
                return Result(probe, "ok")


def _listen(probe: Probe) -> socket.socket | None:
    made = _socket(probe)
    try:
        if probe.protocol == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((_LOCAL[probe.version], probe.expected))
        if probe.protocol == "tcp":
            made.listen(8)
        made.setblocking(False)
    except OSError:
        made.close()
        return None
    return made


def _original_port(listener: socket.socket, version: Version) -> int:
    try:
        accepted, _ = listener.accept()
    except OSError:
        return 0
    with accepted:
        level = socket.IPPROTO_IP if version == 4 else socket.IPPROTO_IPV6
        try:
            address = accepted.getsockopt(level, _SO_ORIGINAL_DST, 28)
        except OSError:
            return 0
    return int(struct.unpack_from("!H", address, 2)[0])


def _socket(probe: Probe) -> socket.socket:
    family = socket.AF_INET if probe.version == 4 else socket.AF_INET6
    return socket.socket(family, socket.SOCK_STREAM if probe.protocol == "tcp" else socket.SOCK_DGRAM)


def _may_be(uid: int) -> bool:
    return os.geteuid() in (0, uid)


@contextlib.contextmanager
def _as_user(uid: int) -> Iterator[None]:
    """The sockets made inside belong to that user, with a group of the same number; needs root to change."""
    before, group = os.geteuid(), os.getegid()
    if before != 0:
        yield
        return
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)
        os.setegid(group)
