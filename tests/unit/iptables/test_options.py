from __future__ import annotations

from iptables.config import Config
from iptables.options import OPTIONS


def test_every_setting_has_one_flag() -> None:
    assert sorted(option.field for option in OPTIONS) == sorted(Config.__struct_fields__)
    names = [name for option in OPTIONS for name in (option.flag, option.short) if name]
    assert len(set(names)) == len(names)


def test_a_variable_is_named_after_its_flag() -> None:
    by_field = {option.field: option for option in OPTIONS}
    assert by_field["redirect_dns"].names == ("REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE")
    assert by_field["owner_groups"].names == ("ISTIO_OUTBOUND_OWNER_GROUPS",)
    assert by_field["inbound_tproxy_mark"].names == ("ISTIO_INBOUND_TPROXY_MARK", "INBOUND_TPROXY_MARK")
