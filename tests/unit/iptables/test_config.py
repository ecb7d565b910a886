from __future__ import annotations

import pytest

from iptables.config import build, resolvers, with_groups
from iptables.errors import SettingError


def test_a_flag_wins_over_its_variable() -> None:
    environment = {"ENVOY_PORT": "16001", "INBOUND_CAPTURE_PORT": "16006", "INVALID_DROP": "true"}
    config = build({"envoy_port": "17001"}, environment)
    assert (config.envoy_port, config.inbound_capture_port, config.drop_invalid) == (17001, 16006, True)


def test_an_error_names_the_variable_it_came_from() -> None:
    with pytest.raises(SettingError, match=r"^INBOUND_CAPTURE_PORT: 'x' is not a port"):
        build({}, {"INBOUND_CAPTURE_PORT": "x"})


def test_the_proxys_group_is_as_its_user_unless_told() -> None:
    assert build({"proxy_uid": "5,6"}, {}).proxy_gid == ("5", "6")
    assert build({}, {}, proxy_user="500").proxy_gid == ("500",)
    assert build({"proxy_uid": "5", "proxy_gid": "7"}, {}).proxy_gid == ("7",)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"envoy_port": "15006"}, "must differ"),
        ({"owner_groups": "*,java"}, "stands alone"),
        ({"owner_groups": ",".join(map(str, range(65)))}, "65 groups are more than 64"),
        ({"inbound_ports": "80,81", "inbound_ports_exclude": "81"}, "81 also in --istio-inbound-ports"),
        ({"inbound_interception_mode": "TPROXY", "inbound_tproxy_mark": "1338"}, "1338 is taken"),
        ({"outbound_only": "true", "inbound_ports": "80"}, "captures nothing inbound"),
        ({"outbound_only": "true", "redirect_dns": "true"}, "does not capture DNS"),
        ({"dns_servers": "resolver"}, "is not an address"),
    ],
)
def test_what_cannot_work_together_is_refused(flags: dict[str, str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        build(flags, {})


def test_resolvers_are_the_addresses_of_their_lines() -> None:
    text = "# nameserver 9.9.9.9\nsearch a.b\nnameserver 10.0.0.10\nnameserver fe80::1%eth0\nnameserver x\n"
    assert resolvers(text) == ("10.0.0.10", "fe80::1")


def test_groups_become_numbers() -> None:
    config = build({"owner_groups_exclude": "java,202"}, {})
    assert with_groups(config, {"java": 1001}.get).owner_groups_exclude == ("1001", "202")
    with pytest.raises(SettingError, match="no group 'java'"):
        with_groups(config, {}.get)
