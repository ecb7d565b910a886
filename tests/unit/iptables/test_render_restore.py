"""Single rules in the words of iptables-restore; whole listings are compared in `test_rules.py`."""

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
    SetMark,
    State,
    Target,
    Tproxy,
    Unknown,
    Verdict,
    Zone,
)
from iptables.render_restore import commands, listing, specification


@pytest.mark.parametrize(
    ("match", "text"),
    [
        (Interface(True, "eth0"), "-i eth0"),
        (Interface(False, "lo"), "-o lo"),
        (Network(True, "10.0.0.0/8"), "-s 10.0.0.0/8"),
        (Network(False, "::1/128", negated=True), "! -d ::1/128"),
        (Protocol("udp"), "-p udp"),
        (Ports(False, ("80",)), "--dport 80"),
        (Ports(True, ("80:90",), negated=True), "! --sport 80:90"),
        (Ports(False, ("80", "90:99")), "-m multiport --dports 80,90:99"),
        (Ports(True, ("80", "81"), negated=True), "-m multiport ! --sports 80,81"),
        (Owner("uid", "1337"), "-m owner --uid-owner 1337"),
        (Owner("gid", "istio", negated=True), "-m owner ! --gid-owner istio"),
        (Mark(1337), "-m mark --mark 1337"),
        (Mark(1337, negated=True, connection=True), "-m connmark ! --mark 1337"),
        (State(("ESTABLISHED", "RELATED")), "-m conntrack --ctstate RELATED,ESTABLISHED"),
        (Unknown("-m comment --comment x"), "-m comment --comment x"),
    ],
)
def test_what_a_packet_must_be_like(match: Match, text: str) -> None:
    assert specification(Rule("X", (match,), Verdict("RETURN"))) == f"{text} -j RETURN"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Jump("ISTIO_OUTPUT"), "ISTIO_OUTPUT"),
        (Redirect(15001), "REDIRECT --to-ports 15001"),
        (Tproxy(15006, 1337), "TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006"),
        (SetMark(1337), "MARK --set-mark 1337"),
        (CopyMark(save=True), "CONNMARK --save-mark"),
        (CopyMark(save=False), "CONNMARK --restore-mark"),
        (Zone(2), "CT --zone 2"),
        (Unknown("LOG"), "LOG"),
    ],
)
def test_what_happens_to_it(target: Target, text: str) -> None:
    assert specification(Rule("X", (), target)) == f"-j {text}"


def test_a_table_of_one_family_has_no_match_for_it() -> None:
    with pytest.raises(AssertionError):
        specification(Rule("X", (Family(6),), Verdict("DROP")))


def test_rules_before_those_of_others_keep_their_order() -> None:
    rules = [
        Rule("OUTPUT", (), Jump("ISTIO_A"), head=True),
        Rule("OUTPUT", (), Jump("ISTIO_B")),
        Rule("PREROUTING", (), Jump("ISTIO_D"), head=True),
        Rule("OUTPUT", (), Jump("ISTIO_C"), head=True),
    ]
    assert commands(rules) == [
        "-I OUTPUT 1 -j ISTIO_A",
        "-A OUTPUT -j ISTIO_B",
        "-I PREROUTING 1 -j ISTIO_D",
        "-I OUTPUT 2 -j ISTIO_C",
    ]


def test_a_listing_makes_own_chains_and_leaves_out_empty_tables() -> None:
    rule = Rule("OUTPUT", (), Jump("ISTIO_OUTPUT"))
    assert listing({"nat": (rule,), "mangle": (), "raw": (Rule("OUTPUT", (), Zone(1)),)}) == (
        "*raw\n-A OUTPUT -j CT --zone 1\nCOMMIT\n*nat\n-N ISTIO_OUTPUT\n-A OUTPUT -j ISTIO_OUTPUT\nCOMMIT\n"
    )
