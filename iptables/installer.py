"""Plan, apply and remove: what is installed is read, the steps are computed, the runner takes them.

A step that fails is answered by going back to what was there, so that an error leaves the network as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from iptables.config import Config
from iptables.errors import CaptureError, ConflictError, MachineError
from iptables.model import Rule, RuleSet, Version, chains_of
from iptables.plan import (
    Change,
    Installed,
    Step,
    changes,
    marked,
    previous_rules,
    removal_change,
    routing_removal,
    routing_steps,
    table_steps,
    tidy_script,
    wanted_rules,
)
from iptables.render_nft import TABLE_PREFIX, qualified, script
from iptables.rules import build_rules
from iptables.runner import Runner, may_change, wants_ipv6

if TYPE_CHECKING:
    from iptables.observe_nft import NftTable

FOREIGN_MESHES = {"PROXY_INIT_": "Linkerd", "KUMA_": "Kuma", "CONSUL_": "Consul", "ENVOY_": "another Envoy"}
"""How the chains of other meshes begin."""


class Plan(Struct, frozen=True):
    """The steps; `diff` says in rules what they change, `conflicts` why they should not be taken.

    `before` is what a step that fails goes back to; None where nft changes all or nothing.
    """

    steps: tuple[Step, ...]
    diff: tuple[str, ...]
    conflicts: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    before: Installed | None = None


def plan_apply(config: Config, runner: Runner) -> Plan:
    """How to get from what is installed to the rules of a config."""
    rules = build_rules(config)
    ipv6 = wants_ipv6(config)
    return (
        _plan_nft(config, rules, ipv6, runner)
        if config.native_nftables
        else _plan(config, rules, ipv6, runner)
    )


def versions_of(ipv6: bool) -> tuple[Version, ...]:
    """The IP versions that get rules."""
    return (4, 6) if ipv6 else (4,)


def _plan(config: Config, rules: RuleSet, ipv6: bool, runner: Runner) -> Plan:
    installed = runner.installed()
    versions = versions_of(ipv6)
    if 6 in versions and 6 not in installed.tables:
        raise MachineError(
            "IPv6 is asked for, and ip6tables or the kernel's IPv6 is missing: install it or use --ipv6=false"
        )
    made = changes(installed, wanted_rules(rules, versions))
    routes = routing_steps(config, installed.routing, versions)
    _need_ip(config, routes, runner)
    conflicts = [
        f"IPv{change.version} {change.table} holds rules of another configuration; use --reconcile to replace them"
        for change in made
        if change.foreign
    ]
    native = _native(installed)
    if native:
        conflicts.append(
            f"nft table {native[0].family} {native[0].table.name} captures already; "
            "use `outrider iptables remove` first"
        )
    return Plan(
        (*routes, *table_steps(made)),
        _describe(routes, made),
        tuple(conflicts),
        mesh_warnings(installed),
        installed,
    )


def _plan_nft(config: Config, rules: RuleSet, ipv6: bool, runner: Runner) -> Plan:
    if runner.find("nft") is None:
        raise MachineError("nft is not installed; install the package nftables")
    from iptables.observe_nft import parse_ruleset  # for native tables only, which few machines have

    tables = parse_ruleset(runner.nft_listing())
    family = "inet" if ipv6 else "ip"
    chosen = rules.tables if ipv6 else rules.of(4)
    wanted = {
        (family, name): _keys([qualified(rule, ipv6) for rule in rules])
        for name, rules in chosen.items()
        if rules
    }
    present = {
        (table.family, table.plain): {
            name: [rule.key for rule in chain.rules] for name, chain in table.table.chains.items()
        }
        for table in tables
        if table.own
    }
    routes = routing_steps(config, runner.routing(ipv6), versions_of(ipv6))
    _need_ip(config, routes, runner)
    steps, diff = list(routes), list(_describe(routes, []))
    conflicts = []
    if present != wanted:
        stale = [(where, TABLE_PREFIX + name) for where, name in present if (where, name) not in wanted]
        text = script(rules, ipv6, stale)
        steps.append(Step("nft", text=text))
        diff += [f"nft: {line}" for line in text.splitlines()]
        if present:
            conflicts.append(
                "nft tables hold rules of another configuration; use --reconcile to replace them"
            )
    conflicts += [
        f"iptables table {table.family} {table.table.name} captures already; "
        "use `outrider iptables remove` first"
        for table in tables
        if table.table.own() and not table.own
    ]
    return Plan(tuple(steps), tuple(diff), tuple(conflicts))


def _keys(rules: Sequence[Rule]) -> dict[str, list[object]]:
    return {chain: [rule.key for rule in rules] for chain, rules in chains_of(rules).items()}


def _need_ip(config: Config, steps: Sequence[Step], runner: Runner) -> None:
    if steps and runner.find("ip") is None:
        what = "TPROXY needs a route" if config.routes else "IPv6 needs the address ::6 on lo"
        raise MachineError(f"{what}, and `ip` is not installed; install the package iproute2")


def _describe(steps: Sequence[Step], made: Sequence[Change]) -> tuple[str, ...]:
    lines = [f"+ ip {' '.join(step.arguments)}" for step in steps]
    for change in made:
        tool = "iptables" if change.version == 4 else "ip6tables"
        lines += [f"{line[:2]}{tool} -t {change.table} -A {line[2:]}" for line in change.diff]
    return tuple(lines)


def _native(installed: Installed) -> list[NftTable]:
    """Our tables of the native mode."""
    if TABLE_PREFIX not in installed.nft:
        return []
    from iptables.observe_nft import parse_ruleset  # as above

    return [table for table in parse_ruleset(installed.nft) if table.own]


def mesh_warnings(installed: Installed) -> tuple[str, ...]:
    """One line for each other mesh whose chains are there."""
    found = {}
    for tables in installed.tables.values():
        for table in tables.values():
            for chain in table.chains:
                mesh = next(
                    (name for prefix, name in FOREIGN_MESHES.items() if chain.startswith(prefix)), None
                )
                if mesh is not None:
                    found[mesh] = (
                        f"chain {chain} in {table.name} is of {mesh}; remove that mesh's rules first"
                    )
    return tuple(found.values())


def _need_privilege() -> None:
    if not may_change():
        raise MachineError("changing rules needs the capability NET_ADMIN: run as root, or grant it")


def apply(config: Config, runner: Runner) -> Plan:
    """Install the rules of a config; the plan that was carried out. CaptureError, and nothing has changed."""
    _need_privilege()
    plan = plan_apply(config, runner)
    obstacles = [*plan.foreign, *(() if config.reconcile else plan.conflicts)]
    if obstacles and plan.steps and not config.force_apply:
        raise ConflictError(obstacles[0])
    if plan.steps:
        _take(plan.steps, config, runner, plan.before)
    return plan


def _take(steps: Sequence[Step], config: Config, runner: Runner, before: Installed | None) -> None:
    taken: list[Step] = []
    try:
        for step in steps:
            taken.append(step)
            runner.execute(step)
    except CaptureError as error:
        with contextlib.suppress(CaptureError):
            _go_back(taken, config, runner, before)
        raise type(error)(f"{error}; the rules are as they were") from None


def _go_back(taken: Sequence[Step], config: Config, runner: Runner, before: Installed | None) -> None:
    if before is not None:
        wanted: Mapping[Version, Mapping[str, tuple[Rule, ...]]] = wanted_rules(build_rules(config), (4, 6))
        now = runner.installed()
        previous = previous_rules(before, wanted)
        made = removal(now, wanted, keep=previous)
        made += [
            change for change in changes(now, previous) if previous.get(change.version, {}).get(change.table)
        ]
        for step in table_steps(made):
            runner.execute(step)
        _tidy(runner)
    for step in reversed(taken):
        if step.tool == "ip":
            verb = {"add": "delete", "replace": "delete"}
            arguments = tuple(verb.get(word, word) for word in step.arguments)
            runner.run("ip", *arguments)


def remove(config: Config, runner: Runner) -> tuple[str, ...]:
    """Take away all that is ours, of whatever configuration; what was removed, in rules."""
    _need_privilege()
    installed = runner.installed()
    rules = wanted_rules(build_rules(config), (4, 6))
    made = removal(installed, rules)
    for step in table_steps(made):
        runner.execute(step)
    native = _native(installed)
    if native:
        text = "".join(f"delete table {table.family} {table.table.name}\n" for table in native)
        runner.execute(Step("nft", text=text))
    routes = routing_removal(config, installed.routing)
    for step in routes:
        runner.execute(step)
    _tidy(runner, installed)
    lines = [f"- nft table {table.family} {table.table.name}" for table in native]
    return (*lines, *_describe((), made), *(f"- ip {' '.join(step.arguments)}" for step in routes))


def removal(
    installed: Installed,
    rules: Mapping[Version, Mapping[str, tuple[Rule, ...]]],
    keep: Mapping[Version, Mapping[str, tuple[Rule, ...]]] | None = None,
) -> list[Change]:
    """The changes that take our rules away, those which only the config can tell from others' included.

    Tables that `keep` has rules for are left alone.
    """
    made = []
    for version, tables in installed.tables.items():
        for name in ("nat", "mangle", "raw", "filter"):
            if name in tables and not (keep or {}).get(version, {}).get(name):
                change = removal_change(version, tables[name], rules.get(version, {}).get(name, ()))
                if change is not None:
                    made.append(change)
    return made


def _tidy(runner: Runner, before: Installed | None = None) -> None:
    """What the tables brought along, where nft can take it away again.

    `before` tells where that can be: nothing comes with tables that had no marker.
    """
    if runner.backend().flavour == "legacy" or runner.find("nft") is None:
        return
    versions = None if before is None else marked(before)
    if versions == ():
        return
    text = tidy_script(runner.installed(routing=False, versions=versions))
    if text:
        runner.execute(Step("nft", text=text, optional=True))
