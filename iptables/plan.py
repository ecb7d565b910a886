"""From what is installed to what should be: the steps, each harmless if the next never comes. Pure.

Order: what TPROXY's marked packets need (address, route, rule) before the tables that mark them, and in each IP
version `raw`, `mangle`, `nat`, every one of which the kernel replaces at once. Removal goes the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct, field

from iptables.config import OUTBOUND_MARK, Config
from iptables.model import (
    BASE_CHAINS,
    MARKER_PREFIX,
    OWN_PREFIX,
    TABLES,
    CopyMark,
    Interface,
    Jump,
    Mark,
    Rule,
    RuleSet,
    SetMark,
    Table,
    Verdict,
    Version,
    chains_of,
)
from iptables.render_restore import specification

Tool = Literal["restore", "ip", "nft"]


class Step(Struct, frozen=True):
    """One command: `tool` with arguments and input. `optional`: its failure changes nothing for traffic."""

    tool: Tool
    version: Version = 4
    arguments: tuple[str, ...] = ()
    text: str = ""
    optional: bool = False


class Routing(Struct, frozen=True):
    """What `ip` shows of ours, for one IP version."""

    rule: bool = False
    route: bool = False
    address: bool = False


class Installed(Struct, frozen=True):
    """What was found. `base_chains`: (family, table, chain) that nft has, None if nobody can say.

    `nft` is its whole listing, empty where it was not asked.
    """

    tables: Mapping[Version, Mapping[str, Table]]
    routing: Mapping[Version, Routing] = field(default_factory=dict)
    base_chains: frozenset[tuple[str, str, str]] | None = None
    nft: str = ""


class Change(Struct, frozen=True):
    """One table that is not as it should be; `foreign` if it holds chains of ours with other contents."""

    version: Version
    table: str
    text: str
    diff: tuple[str, ...]
    foreign: bool


def own_base_rules(table: Table, wanted: Iterable[Rule]) -> list[Rule]:
    """The rules in base chains that are ours: jumps to our chains, and what only we write.

    Rules that others could have written too are ours only beside a chain of ours, as often as we wrote them.
    """
    keys: dict[object, int] = {}
    for rule in wanted:
        if rule.chain in BASE_CHAINS:
            keys[rule.key] = keys.get(rule.key, 0) + 1
    present = bool(table.own())
    found: list[Rule] = []
    for name in BASE_CHAINS:
        ours: list[Rule] = []
        for rule in reversed(table.rules(name)):
            if isinstance(rule.target, Jump) and rule.target.chain.startswith(OWN_PREFIX):
                ours.append(rule)
            elif present and keys.get(rule.key, 0):
                keys[rule.key] -= 1
                ours.append(rule)
            elif present and table.name == "mangle" and _marks(rule):
                ours.append(rule)
        found += reversed(ours)
    return found


def _marks(rule: Rule) -> bool:
    """A rule of the kind that keeps the client's address with TPROXY, of whatever configuration."""
    marked = any(isinstance(match, Mark) for match in rule.matches)
    if isinstance(rule.target, SetMark):
        return rule.target.value == OUTBOUND_MARK
    if isinstance(rule.target, CopyMark):
        return marked
    return marked and rule.target == Verdict("RETURN") and Interface(False, "lo") in rule.matches


def change(
    version: Version, name: str, table: Table, wanted: Sequence[Rule], markers: Sequence[str] = ()
) -> Change | None:
    """How one table becomes what is wanted; None if it is."""
    installed = own_base_rules(table, wanted)
    chains = chains_of(wanted)
    own = {chain: rules for chain, rules in chains.items() if chain not in BASE_CHAINS}
    base = [rule for chain in BASE_CHAINS for rule in chains.get(chain, ())]
    before: dict[str, Sequence[Rule]] = {chain: table.rules(chain) for chain in table.own()}
    keys = {chain: [rule.key for rule in rules] for chain, rules in own.items()}
    same_base = [rule.key for rule in installed] == [rule.key for rule in base]
    if same_base and keys == {chain: [rule.key for rule in rules] for chain, rules in before.items()}:
        return None
    stale = [chain for chain in before if chain not in own]
    lines = [f"*{name}"]
    lines += [f":{chain} - [0:0]" for chain in [*markers, *own, *stale]]
    lines += [f"-D {rule.chain} {_spec(rule)}" for rule in installed]
    heads: dict[str, int] = {}
    for rule in wanted:
        if rule.head:
            heads[rule.chain] = heads.get(rule.chain, 0) + 1
            lines.append(f"-I {rule.chain} {heads[rule.chain]} {_spec(rule)}")
        else:
            lines.append(f"-A {rule.chain} {_spec(rule)}")
    lines += [f"-X {chain}" for chain in stale]
    diff = _diff([*installed, *(rule for rules in before.values() for rule in rules)], [*base, *_flat(own)])
    foreign = bool(before or installed)
    return Change(version, name, "\n".join([*lines, "COMMIT\n"]), tuple(diff), foreign)


def removal_change(version: Version, table: Table, rules: Sequence[Rule]) -> Change | None:
    """How our rules leave a table; `rules` are those of the config, which tell ours from others' alike."""
    installed = own_base_rules(table, rules)
    own = table.own()
    if not installed and not own:
        return None
    lines = [f"*{table.name}", *(f":{chain} - [0:0]" for chain in own)]
    lines += [f"-D {rule.chain} {_spec(rule)}" for rule in installed]
    lines += [f"-X {chain}" for chain in own]
    gone = [*installed, *(rule for chain in own for rule in table.rules(chain))]
    return Change(version, table.name, "\n".join([*lines, "COMMIT\n"]), tuple(_diff(gone, ())), False)


def changes(installed: Installed, wanted: Mapping[Version, Mapping[str, tuple[Rule, ...]]]) -> list[Change]:
    """Of all tables, in the order in which they are made."""
    found = []
    for version, tables in installed.tables.items():
        rules = wanted.get(version, {})
        for name in TABLES if rules else reversed(TABLES):
            table = tables.get(name, Table(name))
            chosen = rules.get(name, ())
            markers = _markers(installed, version, table, chosen)
            made = change(version, name, table, chosen, markers)
            if made is not None:
                found.append(made)
    return found


def _markers(installed: Installed, version: Version, table: Table, rules: Sequence[Rule]) -> list[str]:
    """Chains that record which parts of an absent table come with our rules, so that they can go with them."""
    if installed.base_chains is None or not rules:
        return []
    family = "ip" if version == 4 else "ip6"
    there = {chain for where, name, chain in installed.base_chains if (where, name) == (family, table.name)}
    made = [] if there else ["TABLE"]
    made += [chain for chain in chains_of(rules) if chain in BASE_CHAINS and chain not in there]
    return [MARKER_PREFIX + name for name in made]


def table_steps(made: Sequence[Change]) -> list[Step]:
    """One command for each IP version; the kernel takes each table in it as a whole."""
    steps = []
    for version in dict.fromkeys(change.version for change in made):
        text = "".join(change.text for change in made if change.version == version)
        steps.append(Step("restore", version, text=text))
    return steps


def routing_steps(
    config: Config, routing: Mapping[Version, Routing], versions: Sequence[Version]
) -> list[Step]:
    """What is missing of the route for marked packets, and of the address that the proxy connects from."""
    steps = []
    table = str(config.inbound_tproxy_route_table)
    for version in versions:
        found, flag = routing.get(version, Routing()), f"-{version}"
        if version == 6 and not found.address and not config.outbound_only:
            steps.append(Step("ip", 6, (flag, "address", "add", "::6/128", "dev", "lo")))
        if config.routes and not found.route:
            arguments = (flag, "route", "replace", "local", "default", "dev", "lo", "table", table)
            steps.append(Step("ip", version, arguments))
        if config.routes and not found.rule:
            mark = str(config.inbound_tproxy_mark)
            steps.append(Step("ip", version, (flag, "rule", "add", "fwmark", mark, "lookup", table)))
    return steps


def routing_removal(config: Config, routing: Mapping[Version, Routing]) -> list[Step]:
    """The inverse of `routing_steps`, of what is there."""
    steps = []
    table, mark = str(config.inbound_tproxy_route_table), str(config.inbound_tproxy_mark)
    for version, found in routing.items():
        flag = f"-{version}"
        if found.rule:
            steps.append(Step("ip", version, (flag, "rule", "delete", "fwmark", mark, "lookup", table)))
        if found.route:
            arguments = (flag, "route", "delete", "local", "default", "dev", "lo", "table", table)
            steps.append(Step("ip", version, arguments))
        if found.address:
            steps.append(Step("ip", 6, (flag, "address", "delete", "::6/128", "dev", "lo")))
    return steps


def marked(installed: Installed) -> tuple[Version, ...]:
    """The IP versions with a table that came with our rules, or a part of one."""
    return tuple(
        version
        for version, tables in installed.tables.items()
        if any(chain.startswith(MARKER_PREFIX) for table in tables.values() for chain in table.chains)
    )


def tidy_script(installed: Installed) -> str:
    """The nft script that takes away what our rules brought along, once they are gone; empty if nothing."""
    lines: list[str] = []
    for version, tables in installed.tables.items():
        family = "ip" if version == 4 else "ip6"
        for name, table in tables.items():
            markers = [chain for chain in table.chains if chain.startswith(MARKER_PREFIX)]
            if not markers or table.own():
                continue
            lines += [f"delete chain {family} {name} {marker}" for marker in markers]
            made = [marker.removeprefix(MARKER_PREFIX) for marker in markers]
            lines += [
                f"delete chain {family} {name} {chain}"
                for chain in made
                if chain != "TABLE" and not table.rules(chain) and _accepts(table, chain)
            ]
            others = {chain for chain in table.chains if chain not in BASE_CHAINS} - set(markers)
            bases = {
                chain
                for where, owner, chain in installed.base_chains or ()
                if chain in BASE_CHAINS and (where, owner) == (family, name)
            }
            if "TABLE" in made and not others and bases <= set(made) and not any(map(table.rules, bases)):
                lines.append(f"delete table {family} {name}")
    return "\n".join(lines) + "\n" if lines else ""


def _accepts(table: Table, chain: str) -> bool:
    return chain not in table.chains or table.chains[chain].policy == "ACCEPT"


def wanted_rules(
    rules: RuleSet, versions: Sequence[Version]
) -> dict[Version, Mapping[str, tuple[Rule, ...]]]:
    """The rules by IP version."""
    return {version: rules.of(version) for version in versions}


def previous_rules(
    installed: Installed, wanted: Mapping[Version, Mapping[str, tuple[Rule, ...]]]
) -> dict[Version, Mapping[str, tuple[Rule, ...]]]:
    """Ours among what was found: what a failed change goes back to."""
    found: dict[Version, Mapping[str, tuple[Rule, ...]]] = {}
    for version, tables in installed.tables.items():
        found[version] = {
            name: (
                *own_base_rules(table, wanted.get(version, {}).get(name, ())),
                *(rule for chain in table.own() for rule in table.rules(chain)),
            )
            for name, table in tables.items()
            if table.own()
        }
    return found


def _flat(chains: Mapping[str, Sequence[Rule]]) -> list[Rule]:
    return [rule for rules in chains.values() for rule in rules]


def _diff(before: Sequence[Rule], after: Sequence[Rule]) -> list[str]:
    old, new = sorted(before, key=lambda rule: rule.chain), sorted(after, key=lambda rule: rule.chain)
    if not old or not new:
        return [f"- {rule.chain} {_spec(rule)}" for rule in old] + [
            f"+ {rule.chain} {_spec(rule)}" for rule in new
        ]
    from difflib import SequenceMatcher  # most plans install or remove everything, and do without

    matcher = SequenceMatcher(None, [rule.key for rule in old], [rule.key for rule in new], autojunk=False)
    lines = []
    for kind, first, last, start, end in matcher.get_opcodes():
        if kind != "equal":
            lines += [f"- {rule.chain} {_spec(rule)}" for rule in old[first:last]]
            lines += [f"+ {rule.chain} {_spec(rule)}" for rule in new[start:end]]
    return lines


def _spec(rule: Rule) -> str:
    return rule.text or specification(rule)
