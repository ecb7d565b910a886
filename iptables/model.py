"""The typed rules: what a packet must be like, and what happens to it then.

Two rules are the same if their matches are (in any order) and their targets are. All values are normalised:
networks by `ipaddress`, marks as numbers, users and groups as text.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from msgspec import Struct

Version = Literal[4, 6]
TABLES: Final = ("raw", "mangle", "nat")
"""In the order in which they are installed: what leads connections away comes last."""

BASE_CHAINS: Final = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
OWN_PREFIX: Final = "ISTIO_"
"""Begins the name of each chain that is ours; the names are Istio's, whose tools then recognise them."""

MARKER_PREFIX: Final = "OUTRIDER_NEW_"
"""Begins the name of an empty chain that says: what the rest names was made by us, and goes with our rules."""


class Interface(Struct, frozen=True):
    """The packet comes in by (or leaves by) an interface."""

    incoming: bool
    name: str


class Network(Struct, frozen=True):
    """An end of the packet lies in a network, written `address/length`."""

    source: bool
    cidr: str
    negated: bool = False

    @property
    def version(self) -> Version:
        """Of the address."""
        return 6 if ":" in self.cidr else 4


class Protocol(Struct, frozen=True):
    """`tcp` or `udp`."""

    name: str


class Ports(Struct, frozen=True):
    """A port of the packet is one of these: numbers, or ranges `first:last`."""

    source: bool
    ports: tuple[str, ...]
    negated: bool = False


class Owner(Struct, frozen=True):
    """The user or the group of the process that sends; a number, or a name."""

    kind: Literal["uid", "gid"]
    who: str
    negated: bool = False


class Mark(Struct, frozen=True):
    """The mark of the packet, or of its connection."""

    value: int
    negated: bool = False
    connection: bool = False


class State(Struct, frozen=True):
    """The connection tracker's opinion, such as `INVALID`; sorted."""

    names: tuple[str, ...]


class Family(Struct, frozen=True):
    """Packets of one IP version; only in a table of both."""

    version: Version


class Unknown(Struct, frozen=True):
    """A match or a target of somebody else that this package cannot judge."""

    text: str


class Verdict(Struct, frozen=True):
    """`RETURN`, `ACCEPT` or `DROP`."""

    name: str


class Jump(Struct, frozen=True):
    """Go on in another chain of the table, and come back at its end."""

    chain: str


class Redirect(Struct, frozen=True):
    """To a port of this machine, the original destination kept by the connection tracker."""

    port: int


class Tproxy(Struct, frozen=True):
    """To a transparent socket on a port, with a mark that routes the packet to the machine itself."""

    port: int
    mark: int


class SetMark(Struct, frozen=True):
    """Mark the packet, and go on."""

    value: int


class CopyMark(Struct, frozen=True):
    """From the packet to its connection (`save`), or back."""

    save: bool


class Zone(Struct, frozen=True):
    """Track the connection in a zone of its own."""

    zone: int


Match: TypeAlias = Interface | Network | Protocol | Ports | Owner | Mark | State | Family | Unknown
Target: TypeAlias = Verdict | Jump | Redirect | Tproxy | SetMark | CopyMark | Zone | Unknown


@dataclass(frozen=True, slots=True)
class Rule:
    """`version` None: of both. `head`: before the rules of others in a base chain, not after them.

    `text` is how the kernel's listing says it, which deletes it; empty for rules not read from there.
    """

    chain: str
    matches: tuple[Match, ...]
    target: Target
    version: Version | None = None
    head: bool = False
    text: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[str, frozenset[Match], Target]:
        """Equal for equal rules, wherever they were written."""
        return self.chain, frozenset(self.matches), self.target


class Chain(Struct, frozen=True):
    """`policy` is empty for a chain that is not a base chain."""

    name: str
    rules: tuple[Rule, ...] = ()
    policy: str = ""


class Table(Struct, frozen=True):
    """One table as installed; `chains` in the order of the listing."""

    name: str
    chains: Mapping[str, Chain] = {}

    def own(self) -> list[str]:
        """Names of the chains that are ours."""
        return [name for name in self.chains if name.startswith(OWN_PREFIX)]

    def rules(self, chain: str) -> tuple[Rule, ...]:
        """Those of a chain; none where there is no such chain."""
        found = self.chains.get(chain)
        return () if found is None else found.rules


class RuleSet(Struct, frozen=True):
    """The rules of a configuration: for each table, in the order in which they are written.

    Within one chain this is the order in which a packet meets them.
    """

    tables: Mapping[str, tuple[Rule, ...]]

    def of(self, version: Version) -> Mapping[str, tuple[Rule, ...]]:
        """Those of one IP version, without the tables that are empty then."""
        found = {
            table: tuple(rule for rule in rules if rule.version in (None, version))
            for table, rules in self.tables.items()
        }
        return {table: rules for table, rules in found.items() if rules}


def chains_of(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    """The rules chain by chain; chains that are only jumped to are there too, empty."""
    rules = list(rules)
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        found.setdefault(rule.chain, []).append(rule)
    for rule in rules:
        if isinstance(rule.target, Jump):
            found.setdefault(rule.target.chain, [])
    return found


def network(text: str) -> str:
    """`address/length`, without the bits of the host; ValueError if it is none."""
    return str(ipaddress.ip_network(text, strict=False))
