from __future__ import annotations

from collections.abc import Callable

import pytest

from iptables import values
from iptables.errors import SettingError


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (values.read_bool, "T", True),
        (values.read_bool, "", False),
        (values.read_list, " a, ,b ", ("a", "b")),
        (values.read_ports, "80,8000:8010", ("80", "8000:8010")),
        (values.read_ports, "*", ("*",)),
        (values.read_networks, "10.0.0.1/8,fd00::/8", ("10.0.0.1/8", "fd00::/8")),
        (values.read_number, "0x539", 1337),
        (values.read_duration, "1m1.5s", 61.5),
        (values.read_mode, "", "REDIRECT"),
        (values.read_ipv6, "auto", None),
        (values.read_groups, "java,202", ("java", "202")),
        (values.read_interfaces, "eth0,veth+", ("eth0", "veth+")),
    ],
)
def test_what_is_read(read: Callable[[str, str], object], text: str, value: object) -> None:
    assert read("--flag", text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (values.read_bool, "yes"),
        (values.read_port, "٣"),
        (values.read_ports, "90:80"),
        (values.read_only_ports, "*"),
        (values.read_networks, "10.0.0.0/33"),
        (values.read_only_networks, "*"),
        (values.read_number, "4294967296"),
        (values.read_ids, "4294967295"),
        (values.read_groups, "a b"),
        (values.read_interfaces, "a-name-that-is-too-long"),
        (values.read_interfaces, "-j"),
        (values.read_duration, "5"),
        (values.read_binary, "bpf"),
        (values.read_loopback, "10.0.0.0/8"),
    ],
)
def test_what_cannot_work_is_named(read: Callable[[str, str], object], text: str) -> None:
    with pytest.raises(SettingError) as caught:
        read("--flag", text)
    assert str(caught.value).startswith("--flag: ")
