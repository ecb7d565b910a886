from __future__ import annotations

import pytest

from iptables.cli import main
from iptables.config import build
from iptables.doctor import Packet, Surroundings, traps, walk
from iptables.observe import parse_save
from iptables.render_restore import listing
from iptables.rules import build_rules


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--envoy-port=0"], "--envoy-port: '0' is not a port"),
        (["-p", "15006"], "must differ"),
        (["-m", "DNAT"], "neither REDIRECT nor TPROXY"),
        (["-i", "10.0.0.0"], "is not an IP range"),
        (["-x", "*"], "would exclude everything"),
        (["-b", "80,*"], "stands alone"),
        (["-u", "root"], "is not a numeric id"),
        (["--force-iptables-binary=bpf"], "neither legacy nor nft"),
        (["--native-nftables", "--force-iptables-binary=nft"], "drop --force-iptables-binary"),
        (["--loopback-cidr=10.0.0.0/8"], "does not lie in 127.0.0.0/8"),
        (["--probe-timeout=5"], "is not a duration"),
        (["--no-such-flag"], "unrecognized arguments"),
    ],
)
def test_a_flag_that_cannot_work_is_one_line(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--print", *flags]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_variables_are_istios_and_flags_win() -> None:
    environment = {"ISTIO_INBOUND_PORTS": "80", "ENVOY_PORT": "1", "ISTIO_META_DNS_CAPTURE": "true"}
    config = build({"envoy_port": "2"}, environment)
    assert (config.inbound_ports, config.envoy_port, config.redirect_dns) == (("80",), 2, True)


@pytest.mark.parametrize(
    ("packet", "end"),
    [
        (Packet("out", "1.2.3.4", 80, uid="1000", gid="1000"), "redirected to port 15001"),
        (Packet("out", "1.2.3.4", 80, uid="1337", gid="1337"), "not captured"),
        (Packet("out", "1.2.3.4", 22, uid="1000", gid="1000"), "not captured"),
        (Packet("out", "10.1.1.1", 80, uid="1000", gid="1000"), "not captured"),
        (Packet("out", "8.8.8.8", 53, "udp", uid="1000", gid="1000"), "redirected to port 15053"),
        (Packet("out", "127.0.0.1", 80, uid="1000", gid="1000", interface="lo"), "not captured"),
        (Packet("in", "10.0.0.1", 8080), "redirected to port 15006"),
        (Packet("in", "10.0.0.1", 15008), "not captured"),
    ],
)
def test_the_doctor_follows_a_packet(packet: Packet, end: str) -> None:
    flags = {"inbound_ports": "*", "service_cidr": "*", "service_exclude_cidr": "10.0.0.0/8"}
    flags |= {"outbound_ports_exclude": "22", "redirect_dns": "true", "capture_all_dns": "true"}
    rules = build_rules(build(flags, {})).of(4)
    tables = parse_save(listing(rules))
    assert end in walk(tables, packet).end


def test_the_doctor_warns_of_traps() -> None:
    config = build({}, {})
    tables = parse_save(listing(build_rules(config).of(4)))
    found = Surroundings(
        {4: tables}, legacy_rules=True, nft_rules=True, has_ipv6=True, uids={"1337": ["outrider", "redis"]}
    )
    text = "\n".join(traps(config, found))
    for trap in ("redis runs with it", "are mixed", "bypass"):
        assert trap in text
