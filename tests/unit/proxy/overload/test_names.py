"""Names are either known or refused."""

from __future__ import annotations

from proxy.overload.names import ACTIONS, OTHERS, POINTS


def test_no_name_is_both_supported_and_refused() -> None:
    assert not OTHERS & (ACTIONS | POINTS)
    assert all(name.startswith("envoy.overload_actions.") for name in ACTIONS)
    assert all(name.startswith("envoy.load_shed_points.") for name in POINTS)
