from __future__ import annotations

import ipaddress

import pytest

from proxy.app.machine import own_address


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_the_machine_has_an_address_of_the_version_asked_for(version: str) -> None:
    assert ipaddress.ip_address(own_address(version)).version == int(version[1])
