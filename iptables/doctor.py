"""What happens to a packet: a walk through the rules that are installed, and the traps beside the way. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final, Literal, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from iptables.config import OUTBOUND_MARK, Config
from iptables.model import (
    CopyMark,
    Family,
    Interface,
    Jump,
    Mark,
    Match,
    Network,
    Owner,
    Ports,
    Protocol,
    Redirect,
    Rule,
    SetMark,
    State,
    Table,
    Tproxy,
    Unknown,
    Verdict,
    Version,
    Zone,
)
from iptables.observe import covers
from iptables.render_restore import specification

_DEEPEST: Final = 16  # jumps; the kernel itself refuses loops
_ORDER: Final = ("raw", "mangle", "nat")


class Packet(Struct, frozen=True):
    """The first packet of a connection. Ids are text; None means unknown, and then no owner rule applies to it."""

    direction: Literal["in", "out"]
    destination: str
    port: int
    protocol: str = "tcp"
    source: str = ""
    source_port: int = 40000
    uid: str = "0"
    gid: str = "0"
    interface: str = "eth0"
    mark: int = 0
    state: str = "NEW"

    @property
    def version(self) -> Version:
        """Of its destination."""
        return 6 if ipaddress.ip_address(self.destination).version == 6 else 4


class Walk(Struct):
    """What was met on the way: one line for each rule that applied, and the end."""

    packet: Packet
    lines: list[str] = field(default_factory=list)
    end: str = ""
    unsure: list[str] = field(default_factory=list)


def walk(tables: Mapping[str, Table], packet: Packet) -> Walk:
    """Send a packet through `raw`, `mangle` and `nat` of its direction."""
    found = Walk(packet)
    hook = "OUTPUT" if packet.direction == "out" else "PREROUTING"
    for name in _ORDER:
        table = tables.get(name)
        if table is None or hook not in table.chains:
            found.lines.append(f"{name} {hook}: no rules")
            continue
        found.lines.append(f"{name} {hook}:")
        end = _chain(table, hook, found, 1)
        if end not in ("", "RETURN", "ACCEPT"):
            found.end = end
            return found
        if end == "" and table.chains[hook].policy == "DROP":
            found.end = f"dropped by the policy of {name} {hook}"
            return found
    where = f"{packet.destination} port {packet.port}"
    found.end = f"goes on to {where}, not captured"
    return found


def _chain(table: Table, name: str, walk: Walk, depth: int) -> str:
    """The end of the way in this chain: empty if the packet comes out of it, RETURN if the hook ends there."""
    for number, rule in enumerate(table.rules(name), 1):
        verdict = _applies(rule, walk.packet)
        text = rule.text or specification(rule)
        if verdict is None:
            walk.unsure.append(f"{table.name} {name} rule {number}: {text}")
            continue
        if not verdict:
            continue
        walk.lines.append(f"{'  ' * depth}{name} rule {number}: {text}")
        end = _target(table, rule, walk, depth)
        if end is None:
            continue
        if end == "RETURN" and depth > 1:
            return ""
        return end
    return ""


def _target(table: Table, rule: Rule, walk: Walk, depth: int) -> str | None:
    target = rule.target
    match target:
        case Verdict("DROP"):
            return f"dropped in {table.name} {rule.chain}"
        case Verdict(name):
            return name
        case Redirect(port):
            return f"redirected to port {port} of this machine"
        case Tproxy(port):
            return f"handed to the transparent listener on port {port}, addresses untouched"
        case Jump(chain):
            if depth > _DEEPEST or chain not in table.chains:
                return None
            return _chain(table, chain, walk, depth + 1) or None
        case SetMark(value):
            walk.packet = replace(walk.packet, mark=value)
            return None
        case CopyMark() | Zone():
            return None
        case Unknown(text):
            if text.split(" ", 1)[0] in ("DNAT", "SNAT", "MASQUERADE", "REJECT", "NETMAP", "REDIRECT"):
                return f"ends at a rule that is not ours: {text}"
            walk.unsure.append(f"{table.name} {rule.chain}: {text}")
            return None
        case _:
            assert_never(target)


def _applies(rule: Rule, packet: Packet) -> bool | None:
    """None: a match that cannot be judged decides."""
    answers = [_meets(match, packet) for match in rule.matches]
    if False in answers:
        return False
    return None if None in answers else True


def _meets(match: Match, packet: Packet) -> bool | None:
    match match:
        case Interface(incoming, name):
            if incoming != (packet.direction == "in"):
                return False
            return packet.interface.startswith(name[:-1]) if name.endswith("+") else packet.interface == name
        case Network(source, cidr, negated):
            address = packet.source if source else packet.destination
            if not address:
                return None if not _loopback(cidr) else negated
            return covers(cidr, address) != negated
        case Protocol(name):
            return name == packet.protocol
        case Ports(source, ports, negated):
            port = packet.source_port if source else packet.port
            return any(_in_range(text, port) for text in ports) != negated
        case Owner(kind, who, negated):
            if packet.direction == "in":
                return False
            return (who == (packet.uid if kind == "uid" else packet.gid)) != negated
        case Mark(value, negated, connection):
            return (value == (0 if connection else packet.mark)) != negated
        case State(names):
            return packet.state in names
        case Family(version):
            return version == packet.version
        case Unknown():
            return None
        case _:
            assert_never(match)


def _loopback(cidr: str) -> bool:
    return cidr.startswith("127.") or cidr == "::6/128"


def _in_range(text: str, port: int) -> bool:
    first, _, last = text.partition(":")
    return int(first) <= port <= int(last or first)


class Surroundings(Struct, frozen=True):
    """What the traps depend on, as the runner found it."""

    tables: Mapping[Version, Mapping[str, Table]]
    legacy_rules: bool = False
    nft_rules: bool = False
    has_ipv6: bool = False
    uids: Mapping[str, Sequence[str]] = field(default_factory=dict)
    missing_modules: Sequence[str] = ()
    meshes: Sequence[str] = ()


def traps(config: Config, found: Surroundings) -> list[str]:
    """Warnings, each with its remedy."""
    warnings = [f"another mesh: {text}" for text in found.meshes]
    captured = {version for version, tables in found.tables.items() if any(t.own() for t in tables.values())}
    for uid in config.proxy_uid:
        names = sorted(set(found.uids.get(uid, ())))
        strangers = [name for name in names if not _proxy(name)]
        if strangers:
            warnings.append(
                f"uid {uid} is the proxy's, and {', '.join(strangers)} runs with it: its connections are not "
                "captured; give it another user"
            )
    if "0" in config.proxy_uid:
        warnings.append(
            "--proxy-uid is root: whatever runs as root is not captured; run the proxy as another user"
        )
    if found.legacy_rules and found.nft_rules:
        warnings.append(
            "rules of iptables-legacy and of nft are mixed: a packet meets both; keep one and flush the other"
        )
    if 4 in captured and 6 not in captured and found.has_ipv6:
        warnings.append(
            "IPv4 is captured and IPv6 is not, and the machine has an IPv6 address: connections by IPv6 bypass "
            "the proxy; use --dual-stack"
        )
    warnings += [
        f"the kernel has no {name}: load its module with modprobe xt_{name}" for name in found.missing_modules
    ]
    if config.tproxy and config.inbound_tproxy_mark == OUTBOUND_MARK:
        warnings.append(f"mark {OUTBOUND_MARK} is used twice; choose another --istio-inbound-tproxy-mark")
    if not captured:
        warnings.append("no rules of ours are installed; use `outrider iptables apply`")
    return warnings


def _proxy(name: str) -> bool:
    return any(part in name for part in ("outrider", "envoy", "pilot-agent"))
