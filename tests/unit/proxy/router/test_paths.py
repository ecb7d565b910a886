from __future__ import annotations

import pytest

from proxy.router.paths import port_start


@pytest.mark.parametrize(
    ("authority", "start"), [("h", -1), ("h:1", 1), ("[::1]", -1), ("[::1]:1", 5), ("", -1), ("h:", 1)]
)
def test_the_port_of_an_authority(authority: str, start: int) -> None:
    assert port_start(authority) == start
