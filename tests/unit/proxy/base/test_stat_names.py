"""Names of a config in names of stats."""

from __future__ import annotations

import pytest

from proxy.base.stat_names import stat_name


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", "plain"),
        ("outbound|80||a:b", "outbound|80||a_b"),
        ("xdstp://a/t.T/x:y", "xdstp_a/t.T/x_y"),
        ("a:/b", "a_b"),
        ("a\0b", "a_b"),
    ],
)
def test_what_stands_for_a_colon(name: str, written: str) -> None:
    assert stat_name(name) == written
