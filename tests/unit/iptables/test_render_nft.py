"""Single rules in the words of nft; that whole scripts can be read back is tested in `test_rules.py`."""

from __future__ import annotations

import pytest

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
    RuleSet,
    SetMark,
    State,
    Target,
    Tproxy,
    Unknown,
    Verdict,
    Zone,
)
from iptables.render_nft import qualified, script

NAT = "inet istio-proxy-nat"


RETURN = Verdict("RETURN")


def rendered(*matches: Match, target: Target = RETURN) -> str:
    """The only rule of a script, without the name of its chain."""
    rules = RuleSet({"nat": (Rule("ISTIO_X", matches, target),)})
    (line,) = [line for line in script(rules, ipv6=True).splitlines() if line.startswith("add rule")]
    return line.partition(" istio-x ")[2]


@pytest.mark.parametrize(
    ("match", "text"),
    [
        (Interface(True, "eth0"), 'iifname "eth0"'),
        (Interface(False, "lo"), 'oifname "lo"'),
        (Network(True, "10.0.0.0/8"), "ip saddr 10.0.0.0/8"),
        (Network(False, "::1/128", negated=True), "ip6 daddr != ::1/128"),
        (Ports(False, ("80",)), "tcp dport 80"),
        (Ports(True, ("80:90",), negated=True), "tcp sport != 80-90"),
        (Ports(False, ("80", "90:99")), "tcp dport { 80, 90-99 }"),
        (Owner("uid", "1337"), "meta skuid 1337"),
        (Owner("gid", "istio", negated=True), "meta skgid != istio"),
        (Mark(1337), "meta mark 1337"),
        (Mark(1337, negated=True, connection=True), "ct mark != 1337"),
        (State(("ESTABLISHED", "RELATED")), "ct state established,related"),
        (Family(6), "meta nfproto ipv6"),
        (Unknown("fib daddr type local"), "fib daddr type local"),
    ],
)
def test_what_a_packet_must_be_like(match: Match, text: str) -> None:
    assert rendered(match) == f"{text} counter return"


def test_ports_are_those_of_the_protocol_that_the_rule_names() -> None:
    assert rendered(Protocol("udp"), Ports(False, ("53",))) == "meta l4proto udp udp dport 53 counter return"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Jump("ISTIO_OUTPUT"), "counter jump istio-output"),
        (Redirect(15001), "counter redirect to :15001"),
        (Tproxy(15006, 1337), "tproxy ip to :15006 meta mark set 1337 counter accept"),
        (SetMark(1337), "counter meta mark set 1337"),
        (CopyMark(save=True), "counter ct mark set meta mark"),
        (CopyMark(save=False), "counter meta mark set ct mark"),
        (Zone(2), "counter ct zone set 2"),
        (Unknown("log"), "log"),
    ],
)
def test_what_happens_to_it(target: Target, text: str) -> None:
    assert rendered(target=target) == text


def test_a_transparent_socket_is_one_of_the_packets_family() -> None:
    to = Network(False, "fd00::/8", negated=True)
    assert rendered(to, target=Tproxy(15006, 1337)).startswith("ip6 daddr != fd00::/8 tproxy ip6 to :15006 ")


def test_a_rule_of_one_family_says_so_only_where_nothing_else_does() -> None:
    rule = Rule("X", (Protocol("tcp"),), Verdict("RETURN"), version=6)
    assert qualified(rule, ipv6=True).matches == (Family(6), Protocol("tcp"))
    assert qualified(rule, ipv6=False) is rule
    told = Rule("X", (Network(False, "::1/128"),), Verdict("RETURN"), version=6)
    assert qualified(told, ipv6=True) is told


def test_a_table_is_replaced_as_a_whole_and_stale_ones_go() -> None:
    rules = RuleSet(
        {"nat": (Rule("OUTPUT", (), Jump("ISTIO_OUTPUT")), Rule("ISTIO_OUTPUT", (), Redirect(15001)))}
    )
    assert script(rules, True, [("ip", "istio-proxy-nat")]).splitlines() == [
        "delete table ip istio-proxy-nat",
        f"add table {NAT}",
        f"delete table {NAT}",
        f"add table {NAT}",
        f"add chain {NAT} output {{ type nat hook output priority -100 ; }}",
        f"add chain {NAT} istio-output",
        f"add rule {NAT} output counter jump istio-output",
        f"add rule {NAT} istio-output counter redirect to :15001",
    ]


def test_without_ipv6_its_rules_stay_out() -> None:
    rules = RuleSet({"nat": (Rule("OUTPUT", (), Redirect(1), 4), Rule("OUTPUT", (), Redirect(2), 6))})
    lines = script(rules, ipv6=False).splitlines()
    assert [line for line in lines if "redirect" in line] == [
        "add rule ip istio-proxy-nat output counter redirect to :1"
    ]
    assert script(RuleSet({"nat": (Rule("OUTPUT", (), Redirect(2), 6),)}), ipv6=False) == ""
