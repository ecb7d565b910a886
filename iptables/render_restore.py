"""Rules as the text of iptables-restore, word for word as Istio lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_never

from iptables.model import (
    BASE_CHAINS,
    TABLES,
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
    Target,
    Tproxy,
    Unknown,
    Verdict,
    Zone,
    chains_of,
)


def listing(tables: Mapping[str, tuple[Rule, ...]]) -> str:
    """A whole rule set of one IP version, for `iptables-restore --noflush` in a namespace without ours."""
    parts = []
    for table in TABLES:
        rules = tables.get(table)
        if rules:
            new = [f"-N {chain}" for chain in chains_of(rules) if chain not in BASE_CHAINS]
            parts.append("\n".join([f"*{table}", *new, *commands(rules), "COMMIT\n"]))
    return "".join(parts)


def commands(rules: Iterable[Rule]) -> list[str]:
    """One line each: `-A CHAIN ...`, or `-I CHAIN n ...` for those before the rules of others."""
    heads: dict[str, int] = {}
    lines = []
    for rule in rules:
        if rule.head:
            heads[rule.chain] = heads.get(rule.chain, 0) + 1
            lines.append(f"-I {rule.chain} {heads[rule.chain]} {specification(rule)}")
        else:
            lines.append(f"-A {rule.chain} {specification(rule)}")
    return lines


def specification(rule: Rule) -> str:
    """A rule without the name of its chain."""
    return " ".join([*(_match(match) for match in rule.matches), f"-j {_target(rule.target)}"])


def _match(match: Match) -> str:
    match match:
        case Interface(incoming, name):
            return f"{'-i' if incoming else '-o'} {name}"
        case Network(source, cidr, negated):
            return f"{_not(negated)}{'-s' if source else '-d'} {cidr}"
        case Protocol(name):
            return f"-p {name}"
        case Ports(source, (port,), negated):
            return f"{_not(negated)}{'--sport' if source else '--dport'} {port}"
        case Ports(source, ports, negated):
            return f"-m multiport {_not(negated)}{'--sports' if source else '--dports'} {','.join(ports)}"
        case Owner(kind, who, negated):
            return f"-m owner {_not(negated)}--{kind}-owner {who}"
        case Mark(value, negated, connection):
            return f"-m {'connmark' if connection else 'mark'} {_not(negated)}--mark {value}"
        case State(names):
            return f"-m conntrack --ctstate {','.join(reversed(names))}"
        case Unknown(text):
            return text
        case Family():
            raise AssertionError("a table of iptables has one family")
        case _:
            assert_never(match)


def _target(target: Target) -> str:
    match target:
        case Verdict(name) | Jump(name) | Unknown(name):
            return name
        case Redirect(port):
            return f"REDIRECT --to-ports {port}"
        case Tproxy(port, mark):
            return f"TPROXY --tproxy-mark {mark}/0xffffffff --on-port {port}"
        case SetMark(value):
            return f"MARK --set-mark {value}"
        case CopyMark(save):
            return f"CONNMARK {'--save-mark' if save else '--restore-mark'}"
        case Zone(zone):
            return f"CT --zone {zone}"
        case _:
            assert_never(target)


def _not(negated: bool) -> str:
    return "! " if negated else ""
