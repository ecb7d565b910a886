from __future__ import annotations

import pytest

from proxy.codec.keep_alive import idle_limit


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("timeout=5", 4.0),
        ("timeout=5, max=1000", 4.0),
        ('max=10; Timeout = "60"', 59.0),
        ("timeout=1", 0.75),
        ("timeout=0", 0.0),
        ("max=5", float("inf")),
        ("notimeout=5", float("inf")),
        ("timeout=x", float("inf")),
        ("", float("inf")),
    ],
)
def test_a_connection_is_left_before_its_peer_leaves_it(field: str, seconds: float) -> None:
    assert idle_limit(field) == seconds
