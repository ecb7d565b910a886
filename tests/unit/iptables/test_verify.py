from __future__ import annotations

import os

from iptables.config import build
from iptables.verify import Probe, Result, covers_text, probes, run


def names(**flags: str) -> list[str]:
    return [probe.name for probe in probes(build(flags, {}), (4, 6))]


def test_probes_are_what_the_rules_promise() -> None:
    assert names() == [
        f"IPv{version} TCP of the proxy to {there} port 15002 comes to port 15006"
        for version, there in ((4, "127.0.0.6"), (6, "::6"))
    ]
    everything = names(service_cidr="*", redirect_dns="true", dns_servers="10.0.0.10")
    assert "IPv4 TCP to 192.0.2.1 port 15002 comes to port 15001" in everything
    assert "IPv6 TCP to 2001:db8::1 port 15002 comes to port 15001" in everything
    assert "IPv4 UDP DNS to 10.0.0.10 comes to port 15053" in everything
    assert not any("IPv6 UDP" in name for name in everything)


def test_nothing_is_promised_of_what_is_left_out() -> None:
    for flags in ({"service_exclude_cidr": "192.0.2.0/24"}, {"service_cidr": "10.0.0.0/8"}):
        assert not any("192.0.2.1" in name for name in names(**{"service_cidr": "*", **flags}))
    assert not any("15001" in name for name in names(service_cidr="*", outbound_ports_exclude="15002"))
    assert names(outbound_only="true", service_cidr="10.0.0.0/8") == []


def test_a_workload_is_never_the_proxy() -> None:
    found = probes(build({"service_cidr": "*", "proxy_uid": "65534", "inbound_ports": "*"}, {}), (4,))
    assert [probe.uid for probe in found] == [65533, 65534]
    assert probes(build({"proxy_uid": "0"}, {}), (4,)) == []


def test_a_probe_of_another_user_needs_root() -> None:
    uid = os.geteuid() + 1
    probe = Probe("x", 4, "tcp", "192.0.2.1", 1, 2, uid)
    result = Result(probe, "skipped", f"needs root, or uid {uid}")
    assert str(result) == f"skipped x: needs root, or uid {uid}"
    if os.geteuid() != 0:
        assert run(probe, 0.1) == result


def test_ranges_with_host_bits_cover() -> None:
    assert covers_text("192.0.2.9/24", "192.0.2.1")
    assert not covers_text("*", "192.0.2.1")
