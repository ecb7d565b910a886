from __future__ import annotations

import pytest

from iptables.errors import MachineError
from iptables.model import (
    CopyMark,
    Interface,
    Jump,
    Mark,
    Network,
    Owner,
    Ports,
    Protocol,
    Redirect,
    Rule,
    SetMark,
    State,
    Tproxy,
    Unknown,
    Verdict,
    Zone,
)
from iptables.observe import covers, parse_rule, parse_save

TCP = Protocol("tcp")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (
            "-o lo ! -d 127.0.0.1/32 -j RETURN",
            ((Interface(False, "lo"), Network(False, "127.0.0.1/32", True)), Verdict("RETURN")),
        ),
        (
            "-p tcp -m tcp --dport 80 -j REDIRECT --to-ports 15001",
            ((TCP, Ports(False, ("80",))), Redirect(15001)),
        ),
        (
            "-p tcp -m multiport ! --dports 53,90:99 -j RETURN",
            ((TCP, Ports(False, ("53", "90:99"), True)), Verdict("RETURN")),
        ),
        ("-m owner ! --gid-owner 5 -j ACCEPT", ((Owner("gid", "5", True),), Verdict("ACCEPT"))),
        ("-m mark --mark 0x539 -j RETURN", ((Mark(1337),), Verdict("RETURN"))),
        (
            "-m connmark --mark 0x539 -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            ((Mark(1337, connection=True),), CopyMark(False)),
        ),
        (
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
            ((State(("ESTABLISHED", "RELATED")),), Jump("ISTIO_DIVERT")),
        ),
        (
            "-j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff",
            ((), Tproxy(15006, 1337)),
        ),
        ("-j MARK --set-xmark 0x53a/0xffffffff", ((), SetMark(1338))),
        ("-j CT --zone 2", ((), Zone(2))),
        ("-m mark --mark 0x1/0x1 -j RETURN", ((Unknown("--mark 0x1/0x1"),), Verdict("RETURN"))),
        ("-m set --match-set a b src -j DROP", ((Unknown("--match-set a b src"),), Verdict("DROP"))),
        ("-j DNAT --to-destination 10.0.0.1:80", ((), Unknown("DNAT --to-destination 10.0.0.1:80"))),
        ("-j REDIRECT --to-ports 10-20", ((), Unknown("REDIRECT --to-ports 10-20"))),
        ("-g CHAIN", ((), Unknown("go to CHAIN"))),
    ],
)
def test_a_rule_as_the_kernel_lists_it(text: str, rule: tuple[object, object]) -> None:
    found = parse_rule("X", text)
    assert (found.matches, found.target) == rule
    assert found.text == text


def test_a_listing_with_policies_insertions_and_quoted_words() -> None:
    tables = parse_save(
        "# Generated\n*filter\n:INPUT DROP [1:60]\n:DOCKER - [0:0]\n"
        '[3:180] -A INPUT -m comment --comment "it -j works" -j ACCEPT\n-I INPUT 1 -i lo -j ACCEPT\nCOMMIT\n'
    )
    table = tables["filter"]
    assert table.chains["INPUT"].policy == "DROP"
    assert table.chains["DOCKER"].policy == ""
    assert [rule.matches for rule in table.rules("INPUT")] == [
        (Interface(True, "lo"),),
        (Unknown("--comment it -j works"),),
    ]
    assert parse_save("") == {}


def test_an_address_lies_in_networks_of_its_version() -> None:
    assert covers("10.0.0.0/8", "10.1.1.1")
    assert not covers("::/0", "10.1.1.1")
    assert Rule("A", (), Verdict("DROP")).key == parse_rule("A", "-j DROP").key


@pytest.mark.parametrize(
    "text",
    [
        "-m mark --mark 0x1g -j RETURN",
        "-s host.example -j RETURN",
        "-j TPROXY --on-port x",
        "-j",
        "!",
        "-m comment --comment 'no end",
    ],
)
def test_what_cannot_be_read_is_unknown(text: str) -> None:
    assert parse_rule("X", text) == Rule("X", (Unknown(text),), Unknown(""))


@pytest.mark.parametrize("line", [":X", ":", "[3:4]--to-ports 1500 -A X", "[1:2] -A"])
def test_a_line_that_nobody_writes_is_an_error_of_the_machine(line: str) -> None:
    with pytest.raises(MachineError, match="cannot be read"):
        parse_save(f"*nat\n{line}\nCOMMIT\n")


def test_a_rule_may_stand_far_behind_the_last_one() -> None:
    table = parse_save(f"*nat\n:X - [0:0]\n-I X {'9' * 5000} -j RETURN\nCOMMIT\n")["nat"]
    assert len(table.chains["X"].rules) == 1
