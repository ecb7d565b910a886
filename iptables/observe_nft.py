"""Reading what nft lists (`nft -n list ruleset`): our own tables into the model, and the tables of others."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from iptables.errors import MachineError
from iptables.model import (
    Chain,
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
    Target,
    Tproxy,
    Unknown,
    Verdict,
    Zone,
    network,
)
from iptables.render_nft import TABLE_PREFIX

_PROTOCOLS: Final = {"6": "tcp", "17": "udp"}
_STATES: Final = {"0x1": "INVALID", "0x2": "ESTABLISHED", "0x4": "RELATED", "0x8": "NEW"}
_COUNTER: Final = re.compile(r"counter (packets \d+ bytes \d+)? ?")
_PORTS: Final = re.compile(r"\d+(:\d+)?")
_TOKEN: Final = re.compile(r'"[^"]*"|\{[^}]*\}|\S+')


class NftTable(Struct, frozen=True):
    """One table of a listing."""

    family: str
    table: Table

    @property
    def own(self) -> bool:
        """It is one of our native mode."""
        return self.table.name.startswith(TABLE_PREFIX)

    @property
    def plain(self) -> str:
        """`nat`, `mangle` or `raw` for a table of ours."""
        return self.table.name.removeprefix(TABLE_PREFIX)


def parse_ruleset(text: str) -> list[NftTable]:
    """All tables of a listing, their chains named as iptables would name them.

    Raises `MachineError` for a table or chain without a name.
    """
    found: list[NftTable] = []
    chain, rules, policy = "", list[Rule](), ""
    chains: dict[str, Chain] = {}
    depth = 0
    for line in text.splitlines():
        line = line.strip()
        words = line.split()
        least = {"table": 4, "chain": 3}.get(words[0] if words else "", 0)
        if len(words) < least and line.endswith("{"):
            raise MachineError(f"a listing of nft has a line that cannot be read: {line!r}")
        if words[:1] == ["table"] and line.endswith("{"):
            chains, depth = {}, 1
            found.append(NftTable(words[1], Table(words[2], chains)))
        elif words[:1] == ["chain"] and line.endswith("{"):
            chain, rules, policy, depth = iptables_name(words[1]), [], "", 2
        elif line == "}":
            if depth == 2 and chain:
                chains[chain] = Chain(chain, tuple(rules), policy)
                chain = ""
            depth -= 1
        elif chain and line.startswith("type "):
            policy = "DROP" if "policy drop" in line else "ACCEPT"
        elif chain and line and not line.startswith("#"):
            rules.append(parse_rule(chain, line))
        elif line.endswith("{"):
            depth += 1
    return found


def iptables_name(chain: str) -> str:
    """The inverse of `render_nft.chain_name` for chains of ours, and of hooks."""
    if chain.startswith("istio-") or chain in ("prerouting", "output"):
        return chain.upper().replace("-", "_")
    return chain


def parse_rule(chain: str, line: str) -> Rule:
    """One line of a chain."""
    words: list[str] = _TOKEN.findall(_COUNTER.sub("", line.partition(" # ")[0]))
    matches: list[Match] = []
    at = 0
    while at < len(words):
        try:
            read = _match(words, at)
        except (ValueError, IndexError):
            # Somebody else's words: a set, a range of addresses, a masked mark.
            read = None
        if read is None:
            break
        match, at = read
        if isinstance(match, Ports):
            protocol = Protocol(words[at - 3 - match.negated])
            if protocol not in matches:
                matches.append(protocol)
        matches.append(match)
    try:
        target = _target(words[at:])
    except ValueError:
        target = Unknown(" ".join(words[at:]))
    return Rule(chain, tuple(matches), target, text=line)


def _match(words: list[str], at: int) -> tuple[Match, int] | None:
    word, rest = words[at], words[at + 1 :]
    if word in ("iifname", "oifname") and rest:
        return Interface(word == "iifname", rest[0].strip('"')), at + 2
    if word == "meta" and rest[0] in ("l4proto", "nfproto"):
        value = rest[1]
        if rest[0] == "l4proto":
            return Protocol(_PROTOCOLS.get(value, value)), at + 3
        return Family(4 if value in ("2", "ipv4") else 6), at + 3
    prefix = 1 if word in ("meta", "ct", "ip", "ip6", "tcp", "udp") else 0
    if word == "meta" and rest[:2] == ["mark", "set"]:
        return None
    if word == "ct" and rest[:2] in (["mark", "set"], ["zone", "set"]):
        return None
    tail = words[at + prefix :]
    if len(tail) < 2:
        return None
    key, negated = tail[0], tail[1] == "!="
    value = tail[1 + negated] if len(tail) > 1 + negated else ""
    end = at + prefix + 2 + negated
    if key in ("saddr", "daddr"):
        return Network(key == "saddr", network(value), negated), end
    if key in ("sport", "dport"):
        ports = tuple(part.strip().replace("-", ":") for part in value.strip("{}").split(","))
        if not all(_PORTS.fullmatch(part) for part in ports):
            return None
        return Ports(key == "sport", ports, negated), end
    if key in ("skuid", "skgid"):
        return Owner("uid" if key == "skuid" else "gid", value.strip('"'), negated), end
    if key == "mark":
        return Mark(int(value, 0), negated, word == "ct"), end
    if word == "ct" and key == "state":
        return State(tuple(sorted(_STATES.get(part, part.upper()) for part in value.split(",")))), end
    return None


def _target(words: list[str]) -> Target:
    text = " ".join(words)
    match words:
        case [("return" | "accept" | "drop") as verdict]:
            return Verdict(verdict.upper())
        case ["jump", chain]:
            return Jump(iptables_name(chain))
        case ["redirect", "to", port]:
            return Redirect(int(port.lstrip(":"))) if port.lstrip(":").isdigit() else Unknown(text)
        case ["tproxy", *_, "to", port, "meta", "mark", "set", mark, "accept"]:
            return Tproxy(int(port.lstrip(":")), int(mark, 0))
        case ["ct", "mark", "set", *what] if what in (["mark"], ["meta", "mark"]):
            return CopyMark(True)
        case ["meta", "mark", "set", "ct", "mark"]:
            return CopyMark(False)
        case ["meta", "mark", "set", mark] if re.fullmatch(r"0x[0-9a-f]+|\d+", mark):
            return SetMark(int(mark, 0))
        case ["ct", "zone", "set", zone] if zone.isdigit():
            return Zone(int(zone))
    return Unknown(text)
