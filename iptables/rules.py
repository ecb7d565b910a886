"""From a config to its rules; pure. Order within a chain is Istio's, since a packet meets the rules in order.

Reference of behaviour: istio tools/istio-iptables/pkg/capture/run.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from iptables.config import DNS_PORT, OUTBOUND_MARK, Config
from iptables.model import (
    TABLES,
    CopyMark,
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
    Verdict,
    Version,
    Zone,
    network,
)

OUTPUT, OUTPUT_DNS = "ISTIO_OUTPUT", "ISTIO_OUTPUT_DNS"
INBOUND, IN_REDIRECT, REDIRECT = "ISTIO_INBOUND", "ISTIO_IN_REDIRECT", "ISTIO_REDIRECT"
DIVERT, TPROXY, DROP = "ISTIO_DIVERT", "ISTIO_TPROXY", "ISTIO_DROP"

RETURN: Final = Verdict("RETURN")
TCP: Final = Protocol("tcp")
UDP: Final = Protocol("udp")
OUT_LO: Final = Interface(False, "lo")
IN_LO: Final = Interface(True, "lo")

PASSTHROUGH: Final[dict[Version, str]] = {4: "127.0.0.6/32", 6: "::6/128"}
"""The source of the proxy's inbound connections to the workload."""

LOOPBACK6: Final = "::1/128"
VERSIONS: Final[tuple[Version, ...]] = (4, 6)


def dport(*ports: str, negated: bool = False) -> Ports:
    """Destination ports."""
    return Ports(False, ports, negated)


class _Rules:
    """Collects the rules of each table."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tables: dict[str, list[Rule]] = {table: [] for table in TABLES}
        self.loopback: dict[Version, str] = {4: network(config.loopback_cidr), 6: LOOPBACK6}

    def add(self, table: str, chain: str, *parts: Match | Target, version: Version | None = None) -> None:
        """Append a rule: its matches, then its target."""
        self.tables[table].append(_rule(chain, parts, version))

    def each(
        self, table: str, chain: str, by: dict[Version, str], source: bool, *parts: Match | Target
    ) -> None:
        """One rule for each IP version, `None` standing for nothing: the network is the first match."""
        for version in VERSIONS:
            self.add(table, chain, Network(source, by[version]), *parts, version=version)

    def not_loopback(self, version: Version) -> Network:
        """To any address but the workload's loopback."""
        return Network(False, self.loopback[version], True)


def _rule(chain: str, parts: Iterable[Match | Target], version: Version | None, head: bool = False) -> Rule:
    *matches, target = parts
    return Rule(chain, tuple(matches), target, version, head)  # type: ignore[arg-type]


def build_rules(config: Config) -> RuleSet:
    """The rules of a config, for both IP versions; whether those of IPv6 are used is the caller's decision."""
    rules = _Rules(config)
    if config.outbound_only:
        _outbound_only(rules)
    else:
        _interfaces(rules)
        _inbound(rules)
        _outbound(rules)
        if config.tproxy:
            _keep_client_address(rules)
    heads = _virtual_interfaces(config)
    return RuleSet({table: (*(heads if table == "nat" else ()), *rules.tables[table]) for table in TABLES})


def dns_active(config: Config) -> bool:
    """DNS is captured: asked for, and there is something to capture."""
    return config.redirect_dns and (config.capture_all_dns or bool(config.dns_servers))


def _outbound_only(rules: _Rules) -> None:
    """Traffic Director's mode: connections to service ranges, not those of the proxy."""
    config = rules.config
    rules.add("nat", REDIRECT, TCP, Redirect(config.envoy_port))
    rules.add("nat", "OUTPUT", TCP, Jump(OUTPUT))
    for port in config.outbound_ports_exclude:
        rules.add("nat", OUTPUT, TCP, dport(port), RETURN)
    for uid in config.proxy_uid:
        rules.add("nat", OUTPUT, Owner("uid", uid), RETURN)
    for gid in config.proxy_gid:
        rules.add("nat", OUTPUT, Owner("gid", gid), RETURN)
    for version in VERSIONS:
        rules.add("nat", OUTPUT, Network(False, rules.loopback[version]), RETURN, version=version)
    _outbound_ranges(rules)


def _interfaces(rules: _Rules) -> None:
    for table in ("nat", "mangle") if rules.config.inbound_interception_mode == "TPROXY" else ("nat",):
        for name in rules.config.exclude_interfaces:
            rules.add(table, "PREROUTING", Interface(True, name), RETURN)
            rules.add(table, "OUTPUT", Interface(False, name), RETURN)


def _inbound(rules: _Rules) -> None:
    config = rules.config
    if config.drop_invalid:
        rules.add("mangle", "PREROUTING", State(("INVALID",)), Jump(DROP))
        rules.add("mangle", DROP, Verdict("DROP"))
    rules.add("nat", INBOUND, TCP, dport(str(config.inbound_tunnel_port)), RETURN)
    rules.add("nat", REDIRECT, TCP, Redirect(config.envoy_port))
    rules.add("nat", IN_REDIRECT, TCP, Redirect(config.inbound_capture_port))
    if config.inbound_ports:
        if config.tproxy:
            rules.add("mangle", DIVERT, SetMark(config.inbound_tproxy_mark))
            rules.add("mangle", DIVERT, Verdict("ACCEPT"))
            target = Tproxy(config.inbound_capture_port, config.inbound_tproxy_mark)
            for version in VERSIONS:
                rules.add("mangle", TPROXY, rules.not_loopback(version), TCP, target, version=version)
        rules.add("mangle" if config.tproxy else "nat", "PREROUTING", TCP, Jump(INBOUND))
    if config.tproxy:
        # Ahead of the captured ports: the proxy's own connections must not come back to it.
        rules.add("mangle", INBOUND, TCP, Mark(config.inbound_tproxy_mark), RETURN)
        for version in VERSIONS:
            source = Network(True, PASSTHROUGH[version])
            rules.add("mangle", INBOUND, TCP, source, IN_LO, RETURN, version=version)
        rules.add("mangle", INBOUND, TCP, IN_LO, Mark(OUTBOUND_MARK, negated=True), RETURN)
    _captured_ports(rules)


def _captured_ports(rules: _Rules) -> None:
    config = rules.config
    table = "mangle" if config.tproxy else "nat"
    everything = config.inbound_ports == ("*",)
    if everything:
        for port in config.inbound_ports_exclude:
            rules.add(table, INBOUND, TCP, dport(port), RETURN)
    for port in config.inbound_ports:
        matches: tuple[Match, ...] = (TCP,) if everything else (TCP, dport(port))
        if config.tproxy:
            rules.add(table, INBOUND, *matches, State(("ESTABLISHED", "RELATED")), Jump(DIVERT))
            rules.add(table, INBOUND, *matches, Jump(TPROXY))
        else:
            rules.add(table, INBOUND, *matches, Jump(IN_REDIRECT))


def _outbound(rules: _Rules) -> None:
    config = rules.config
    rules.add("nat", "OUTPUT", Jump(OUTPUT))
    for port in config.outbound_ports_exclude:
        rules.add("nat", OUTPUT, TCP, dport(port), RETURN)
        rules.add("nat", OUTPUT, UDP, dport(port), RETURN)
    for version in VERSIONS:
        source = Network(True, PASSTHROUGH[version])
        rules.add("nat", OUTPUT, OUT_LO, source, RETURN, version=version)
    for uid in config.proxy_uid:
        _proxy_owner(rules, Owner("uid", uid))
    for gid in config.proxy_gid:
        _proxy_owner(rules, Owner("gid", gid))
    _owner_groups(rules)
    if dns_active(config):
        _dns(rules)
    for version in VERSIONS:
        rules.add("nat", OUTPUT, Network(False, rules.loopback[version]), RETURN, version=version)
    for cidr in config.service_exclude_cidr:
        found = Network(False, network(cidr))
        rules.add("nat", OUTPUT, found, RETURN, version=found.version)
    for port in config.outbound_ports:
        rules.add("nat", OUTPUT, TCP, dport(port), Jump(REDIRECT))
    _outbound_ranges(rules)


def _proxy_owner(rules: _Rules, owner: Owner) -> None:
    """Connections of the proxy, and of the workload to itself over loopback."""
    config = rules.config
    dns = dns_active(config)
    tunnel = str(config.inbound_tunnel_port)
    # A proxy that resolves by itself must reach port 53 of the machine; only its user is asked, as in Istio.
    ports = dport("53", tunnel, negated=True) if dns and owner.kind == "uid" else dport(tunnel, negated=True)
    for version in VERSIONS:
        away = rules.not_loopback(version)
        rules.add("nat", OUTPUT, OUT_LO, away, TCP, ports, owner, Jump(IN_REDIRECT), version=version)
    if not _captures_loopback(config):
        other = Owner(owner.kind, owner.who, True)
        not_dns: tuple[Match, ...] = (TCP, dport("53", negated=True)) if dns else ()
        rules.add("nat", OUTPUT, OUT_LO, *not_dns, other, RETURN)
    rules.add("nat", OUTPUT, owner, RETURN)


def _captures_loopback(config: Config) -> bool:
    cidrs = [cidr for cidr in config.service_cidr if cidr != "*"]
    return any(cidr.startswith("127.") or network(cidr) == LOOPBACK6 for cidr in cidrs)


def _owner_groups(rules: _Rules) -> None:
    config = rules.config
    if config.owner_groups == ("*",):
        for group in config.owner_groups_exclude:
            rules.add("nat", OUTPUT, Owner("gid", group), RETURN)
    else:
        rules.add("nat", OUTPUT, *(Owner("gid", group, True) for group in config.owner_groups), RETURN)


def _outbound_ranges(rules: _Rules) -> None:
    for cidr in rules.config.service_cidr:
        if cidr == "*":
            rules.add("nat", OUTPUT, Jump(REDIRECT))
        else:
            found = Network(False, network(cidr))
            rules.add("nat", OUTPUT, found, Jump(REDIRECT), version=found.version)


def _dns(rules: _Rules) -> None:
    """Port 53 to the proxy's DNS listener, and a zone for each side, so that one query has two tracked flows."""
    config = rules.config
    servers = [Network(False, network(server)) for server in config.dns_servers]
    everything = config.capture_all_dns
    rules.add("raw", "OUTPUT", Jump(OUTPUT_DNS))
    for version in VERSIONS:
        if everything or any(server.version == version for server in servers):
            rules.add("nat", OUTPUT, Jump(OUTPUT_DNS), version=version)
    for protocol in (TCP, UDP):
        if everything:
            rules.add("nat", OUTPUT_DNS, protocol, dport("53"), Redirect(DNS_PORT))
            continue
        for server in servers:
            matches = (protocol, dport("53"), server)
            rules.add("nat", OUTPUT_DNS, *matches, Redirect(DNS_PORT), version=server.version)
    owners = [Owner("uid", uid) for uid in config.proxy_uid] + [Owner("gid", gid) for gid in config.proxy_gid]
    for owner in owners:
        rules.add("raw", OUTPUT_DNS, UDP, dport("53"), owner, Zone(1))
        rules.add("raw", OUTPUT_DNS, UDP, Ports(True, (str(DNS_PORT),)), owner, Zone(2))
    if everything:
        rules.add("raw", "PREROUTING", Jump(INBOUND))
        rules.add("raw", OUTPUT_DNS, UDP, dport("53"), Zone(2))
        rules.add("raw", INBOUND, UDP, Ports(True, ("53",)), Zone(1))
        return
    for version in VERSIONS:
        if any(server.version == version for server in servers):
            rules.add("raw", "PREROUTING", Jump(INBOUND), version=version)
    for server in servers:
        reply = Network(True, server.cidr)
        rules.add("raw", OUTPUT_DNS, UDP, dport("53"), server, Zone(2), version=server.version)
        rules.add("raw", INBOUND, UDP, Ports(True, ("53",)), reply, Zone(1), version=server.version)


def _keep_client_address(rules: _Rules) -> None:
    """Marks that follow a connection with the client's address through the proxy to the workload and back."""
    mark = rules.config.inbound_tproxy_mark
    rules.add("mangle", "PREROUTING", TCP, Mark(mark), CopyMark(save=True))
    rules.add("mangle", "OUTPUT", TCP, OUT_LO, Mark(mark), RETURN)
    owners = [Owner("uid", uid) for uid in rules.config.proxy_uid]
    owners += [Owner("gid", gid) for gid in rules.config.proxy_gid]
    for owner in owners:
        for version in VERSIONS:
            matches = (rules.not_loopback(version), TCP, OUT_LO, owner)
            rules.add("mangle", "OUTPUT", *matches, SetMark(OUTBOUND_MARK), version=version)
    rules.add("mangle", "OUTPUT", TCP, Mark(mark, connection=True), CopyMark(save=False))


def _virtual_interfaces(config: Config) -> list[Rule]:
    """What comes from virtual machines behind this one counts as outbound. In the order that packets meet them.

    Istio inserts each rule at the head, so that the last one written is the first met.
    """
    if config.outbound_only:
        return []
    written = [
        _rule("PREROUTING", (Interface(True, name), RETURN), None, True)
        for name in config.kube_virt_interfaces
    ]
    for cidr in config.service_cidr:
        found = () if cidr == "*" else (Network(False, network(cidr)),)
        version = found[0].version if found else None
        written += [
            _rule("PREROUTING", (Interface(True, name), *found, Jump(REDIRECT)), version, True)
            for name in config.kube_virt_interfaces
        ]
    return written[::-1]
