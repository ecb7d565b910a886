"""Rules as one nft transaction, in tables of their own with the names that Istio's native mode gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, assert_never

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
    RuleSet,
    SetMark,
    State,
    Target,
    Tproxy,
    Unknown,
    Verdict,
    Zone,
    chains_of,
)

TABLE_PREFIX: Final = "istio-proxy-"
HOOKS: Final = {
    ("nat", "PREROUTING"): "type nat hook prerouting priority -100",
    ("nat", "OUTPUT"): "type nat hook output priority -100",
    ("mangle", "PREROUTING"): "type filter hook prerouting priority -150",
    ("mangle", "OUTPUT"): "type route hook output priority -150",
    ("raw", "PREROUTING"): "type filter hook prerouting priority -300",
    ("raw", "OUTPUT"): "type filter hook output priority -300",
}


def script(rules: RuleSet, ipv6: bool, stale: Sequence[tuple[str, str]] = ()) -> str:
    """Replace our tables; `stale` are (family, table) that go too. Tables of IPv4 alone unless `ipv6`."""
    family = "inet" if ipv6 else "ip"
    lines = [f"delete table {family} {table}" for family, table in stale]
    for name in TABLES:
        chosen = rules.tables.get(name, ()) if ipv6 else rules.of(4).get(name, ())
        if chosen:
            lines += _table(family, name, chosen)
    return "\n".join(lines) + "\n" if lines else ""


def qualified(rule: Rule, ipv6: bool) -> Rule:
    """The rule with its IP version as a match, where the table has both and nothing else says it."""
    if rule.version is None or not ipv6 or any(isinstance(match, Network) for match in rule.matches):
        return rule
    return Rule(rule.chain, (Family(rule.version), *rule.matches), rule.target, rule.version)


def chain_name(chain: str) -> str:
    """As nft's listing has it: `ISTIO_OUTPUT` is `istio-output`."""
    return chain.lower().replace("_", "-")


def _table(family: str, name: str, rules: Sequence[Rule]) -> Iterable[str]:
    at = f"{family} {TABLE_PREFIX}{name}"
    # An existing table is replaced as a whole; adding it first lets the deletion succeed where it is absent.
    yield f"add table {at}"
    yield f"delete table {at}"
    yield f"add table {at}"
    chains = chains_of(rules)
    for chain in sorted(chains, key=lambda chain: chain not in BASE_CHAINS):
        hook = HOOKS.get((name, chain))
        yield f"add chain {at} {chain_name(chain)}" + (f" {{ {hook} ; }}" if hook else "")
    for rule in rules:
        yield f"add rule {at} {chain_name(rule.chain)} {_rule(qualified(rule, family == 'inet'))}"


def _rule(rule: Rule) -> str:
    protocol = next((match.name for match in rule.matches if isinstance(match, Protocol)), "tcp")
    versions = [match.version for match in rule.matches if isinstance(match, Network)]
    matches = [_match(match, protocol) for match in rule.matches]
    tproxy = "ip6" if versions == [6] else "ip"
    return " ".join([*matches, _target(rule.target, tproxy)])


def _match(match: Match, protocol: str) -> str:
    match match:
        case Interface(incoming, name):
            return f'{"iifname" if incoming else "oifname"} "{name}"'
        case Network(source, cidr, negated):
            family = "ip" if match.version == 4 else "ip6"
            return f"{family} {'saddr' if source else 'daddr'} {_not(negated)}{cidr}"
        case Protocol(name):
            return f"meta l4proto {name}"
        case Ports(source, ports, negated):
            one = [port.replace(":", "-") for port in ports]
            text = one[0] if len(one) == 1 else f"{{ {', '.join(one)} }}"
            return f"{protocol} {'sport' if source else 'dport'} {_not(negated)}{text}"
        case Owner(kind, who, negated):
            return f"meta sk{kind} {_not(negated)}{who}"
        case Mark(value, negated, connection):
            return f"{'ct' if connection else 'meta'} mark {_not(negated)}{value}"
        case State(names):
            return f"ct state {','.join(names).lower()}"
        case Family(version):
            return f"meta nfproto ipv{version}"
        case Unknown(text):
            return text
        case _:
            assert_never(match)


def _target(target: Target, tproxy: str) -> str:
    match target:
        case Verdict(name):
            return f"counter {name.lower()}"
        case Jump(chain):
            return f"counter jump {chain_name(chain)}"
        case Redirect(port):
            return f"counter redirect to :{port}"
        case Tproxy(port, mark):
            return f"tproxy {tproxy} to :{port} meta mark set {mark} counter accept"
        case SetMark(value):
            return f"counter meta mark set {value}"
        case CopyMark(save):
            return "counter ct mark set meta mark" if save else "counter meta mark set ct mark"
        case Zone(zone):
            return f"counter ct zone set {zone}"
        case Unknown(text):
            return text
        case _:
            assert_never(target)


def _not(negated: bool) -> str:
    return "!= " if negated else ""
