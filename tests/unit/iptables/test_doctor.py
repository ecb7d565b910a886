from __future__ import annotations

import pytest

from iptables.config import build
from iptables.doctor import Packet, Surroundings, traps, walk
from iptables.observe import parse_save

TPROXY = """*mangle
:PREROUTING ACCEPT [0:0]
:ISTIO_TPROXY - [0:0]
-A PREROUTING -p tcp -m mark --mark 0x539 -j RETURN
-A PREROUTING -p tcp -j ISTIO_TPROXY
-A ISTIO_TPROXY -p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x539/0xffffffff
COMMIT
"""


@pytest.mark.parametrize(
    ("rules", "packet", "end"),
    [
        (TPROXY, Packet("in", "10.0.0.1", 80), "handed to the transparent listener on port 15006"),
        (TPROXY, Packet("in", "10.0.0.1", 80, mark=1337), "not captured"),
        (TPROXY, Packet("in", "10.0.0.1", 80, "udp"), "not captured"),
        (
            "*raw\n:OUTPUT DROP [0:0]\nCOMMIT\n",
            Packet("out", "1.1.1.1", 80),
            "dropped by the policy of raw OUTPUT",
        ),
        (
            "*nat\n-A OUTPUT -p tcp -j DNAT --to-destination 9.9.9.9\nCOMMIT\n",
            Packet("out", "1.1.1.1", 80),
            "a rule that is not ours: DNAT",
        ),
        (
            "*nat\n-A OUTPUT -j A\n-A A -j B\n-A B -j A\nCOMMIT\n",
            Packet("out", "1.1.1.1", 80),
            "not captured",
        ),
        (
            "*nat\n-A OUTPUT -o eth+ -j DROP\nCOMMIT\n",
            Packet("out", "1.1.1.1", 80, interface="eth7"),
            "dropped in nat OUTPUT",
        ),
        (
            "*nat\n-A OUTPUT -m owner ! --uid-owner 5 -j DROP\nCOMMIT\n",
            Packet("out", "1.1.1.1", 80, uid="5"),
            "not captured",
        ),
        ("*nat\n-A OUTPUT -d ::/0 -j DROP\nCOMMIT\n", Packet("out", "2001:db8::1", 80), "dropped"),
    ],
)
def test_the_end_of_a_packet(rules: str, packet: Packet, end: str) -> None:
    assert end in walk(parse_save(rules), packet).end


def test_what_cannot_be_judged_is_said() -> None:
    found = walk(
        parse_save("*nat\n-A OUTPUT -m set --match-set s dst -j DROP\nCOMMIT\n"), Packet("out", "1.1.1.1", 80)
    )
    assert found.unsure == ["nat OUTPUT rule 1: -m set --match-set s dst -j DROP"]


def test_each_trap_has_its_remedy() -> None:
    config = build({"proxy_uid": "0"}, {})
    own = parse_save("*nat\n:ISTIO_OUTPUT - [0:0]\nCOMMIT\n")
    found = Surroundings(
        {4: own, 6: {}},
        legacy_rules=True,
        nft_rules=True,
        has_ipv6=True,
        uids={"0": ["sshd", "outrider"]},
        missing_modules=["TPROXY"],
        meshes=["chain PROXY_INIT_OUTPUT in nat is of Linkerd"],
    )
    warnings = traps(config, found)
    for trap in ("Linkerd", "sshd runs with it", "is root", "are mixed", "bypass", "modprobe xt_TPROXY"):
        assert sum(trap in warning for warning in warnings) == 1, trap
    assert traps(build({}, {}), Surroundings({4: own, 6: own}, has_ipv6=True)) == []
    assert "no rules of ours" in traps(build({}, {}), Surroundings({}))[0]
