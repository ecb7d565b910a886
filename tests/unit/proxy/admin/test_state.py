from __future__ import annotations

from proxy.admin.state import AdminState, ClusterStatus, ServerFacts
from tests.support.admin_state import FakeAdminState


def test_the_stand_in_of_the_tests_is_a_whole_admin_state() -> None:
    state: AdminState = FakeAdminState()
    wanted = {name for name in vars(AdminState) if not name.startswith("_")}
    assert wanted <= set(dir(state))


def test_defaults_are_those_of_envoy() -> None:
    status = ClusterStatus("a", [])
    assert (status.default.max_connections, status.high.max_retries) == (1024, 3)
    assert ServerFacts("v", "LIVE", 0, 0).hot_restart_version == "disabled"
