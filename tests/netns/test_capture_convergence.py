"""`outrider iptables` that is killed between any two steps, repeated, and beside the rules of others."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.capture import Capture
from tests.support.namespaces import Network

ROUNDS = int(os.environ.get("OUTRIDER_TEST_CAPTURE_ROUNDS", "1"))
MOST_STEPS = 30
BOTH = ["-b", "*", "-d", "15090", "-i", "*", "-x", "10.9.0.0/16", "--ipv6=true"]
DNS = ["--redirect-dns", "--capture-all-dns"]
CASES = {
    "nft": [*BOTH, *DNS, "-m", "TPROXY", "--force-iptables-binary=nft"],
    "legacy": [*BOTH, *DNS, "--force-iptables-binary=legacy"],
    "native": [*BOTH, *DNS, "-m", "TPROXY", "--native-nftables"],
}
# Rules like those of a container engine, a firewall, and somebody who wrote what we would write.
FOREIGN = """
iptables-{0}-restore <<'END'
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -i lo -m comment --comment "a firewall's" -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*mangle
-A POSTROUTING -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
COMMIT
*raw
-A PREROUTING -p udp -m udp --dport 5353 -j CT --notrack
COMMIT
END
ip6tables-{0}-restore <<'END'
*nat
-A OUTPUT -p tcp -m tcp --dport 9 -j REDIRECT --to-ports 99
COMMIT
*mangle
COMMIT
*raw
COMMIT
END
nft -f - <<'END'
table inet firewall {{
    set blocked {{ type ipv4_addr; elements = {{ 192.0.2.7 }} }}
    chain output {{ type filter hook output priority 10; policy accept; ip daddr @blocked drop; }}
}}
END
ip rule add fwmark 0x1 lookup 200
ip route add 198.51.100.0/24 dev lo table 200
"""


@pytest.fixture
def capture() -> Iterator[Capture]:
    with Network() as network, Capture(network.host("workload")) as made:
        yield made


@pytest.fixture(params=CASES)
def flags(request: pytest.FixtureRequest) -> list[str]:
    return CASES[request.param]


def binaries(flags: list[str]) -> str:
    return "legacy" if any(flag.endswith("legacy") for flag in flags) else "nft"


def test_what_is_killed_at_any_step_converges(capture: Capture, flags: list[str]) -> None:
    capture.shell(FOREIGN.format(binaries(flags)))
    before = capture.state()
    capture("apply", *flags)
    applied = capture.state()
    assert applied != before
    capture("remove", *flags)
    assert capture.state() == before
    for steps in range(MOST_STEPS):
        applying = capture.attempt("apply", *flags, stop=steps)
        capture("apply", *flags)
        assert capture.state() == applied, f"after apply was killed at step {steps}"
        removing = capture.attempt("remove", *flags, stop=steps)
        capture("remove", *flags)
        assert capture.state() == before, f"after remove was killed at step {steps}"
        if not applying.killed and not removing.killed:
            assert steps >= 3
            return
    raise AssertionError(f"more than {MOST_STEPS} steps")


def test_what_was_half_removed_is_whole_again(capture: Capture) -> None:
    flags = CASES["nft"]
    before = capture.state()
    capture("apply", *flags)
    applied = capture.state()
    assert capture.attempt("remove", *flags, stop=4).killed
    assert capture.state() not in (before, applied)
    capture("apply", *flags)
    assert "REDIRECT --to-ports 15001" in capture.state()
    assert capture("plan", *flags) == "nothing to change\n"
    capture("remove", *flags)
    assert capture.state() == before


def test_rounds_leave_nothing_behind(capture: Capture, flags: list[str]) -> None:
    """Among the rules of others, which stay as they are, in their order."""
    capture.shell(FOREIGN.format(binaries(flags)))
    before = capture.state()
    for _ in range(ROUNDS):
        capture("apply", *flags)
        once = capture.state()
        assert "were installed already" in capture("apply", *flags)
        assert capture.state() == once
        capture("remove", *flags)
        assert capture.state() == before


def test_the_machine_decides_on_the_binaries(capture: Capture) -> None:
    """Where rules of iptables-legacy are in use, ours join them: both kinds would see each packet."""
    capture.shell("iptables-legacy -A INPUT -p tcp --dport 9 -j ACCEPT")
    capture("apply", *BOTH)
    assert "ISTIO_OUTPUT" in capture.shell("iptables-legacy-save -t nat")
    assert "ISTIO" not in capture.shell("iptables-nft-save")
    capture("remove", *BOTH)
    assert "ISTIO" not in capture.state()


def test_a_failed_step_goes_back(capture: Capture) -> None:
    """The second of two commands fails: the first is undone."""
    before = capture.state()
    broken = [*BOTH, "-u", "1337", "-c", "eth0", "--force-iptables-binary=nft"]
    capture.shell(
        "nft add table ip6 nat; nft add chain ip6 nat OUTPUT '{ type filter hook input priority 0 ; }'"
    )
    taken = capture.state()
    done = capture.attempt("apply", *broken)
    assert done.status == 1
    assert done.errors.count("\n") == 1
    assert "the rules are as they were" in done.errors
    assert capture.state() == taken
    capture.shell("nft delete table ip6 nat")
    assert capture.state() == before
