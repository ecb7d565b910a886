from __future__ import annotations

import pytest

from proxy.base.errors import UsageError
from proxy.launch.admin_client import AdminPlace, explain, parse_place
from proxy.launch.wait import until_ready
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:15000", AdminPlace("127.0.0.1", 15000)),
        ("0.0.0.0:15000", AdminPlace("127.0.0.1", 15000)),
        ("[::]:9901", AdminPlace("::1", 9901)),
        ("localhost:1", AdminPlace("localhost", 1)),
        ("/run/admin.sock", AdminPlace(path="/run/admin.sock")),
        ("@admin", AdminPlace(path="@admin")),
    ],
)
def test_an_admin_address_is_read(text: str, place: AdminPlace) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "15000", "a:", ":15000", "a:0", "a:70000", "a:x"])
def test_a_bad_admin_address_is_refused_with_the_form_it_should_have(text: str) -> None:
    with pytest.raises(UsageError, match=r"write ADDRESS:PORT such as 127\.0\.0\.1:15000"):
        parse_place(text)


def test_one_line_names_what_is_missing() -> None:
    missing = [
        {"kind": "listener", "name": "in", "waiting_for": ["route/a", "secret/b"], "blocking": True},
        *({"kind": "cluster", "name": str(number)} for number in range(4)),
    ]
    tree = {
        "state": "INITIALIZING",
        "missing": missing,
        "last_nack": {"name": "web", "reason": "lb_policy: not\nsupported"},
        "streams": [{"server": "td:443", "connected": False, "last_error": "refused"}],
    }
    assert explain(tree) == (
        "the state is INITIALIZING; listener in is missing (waits for route/a, secret/b); cluster 0 is missing; "
        "cluster 1 is missing; 2 more are missing; last refused: web: lb_policy: not supported; "
        "no stream to td:443 (refused)"
    )


def test_waiting_ends_at_the_timeout() -> None:
    now = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    reason = until_ready(AdminPlace(port=free_port()), 3.0, lambda: now, sleep)
    assert reason.startswith("nobody answers there (Connection refused)")
    assert now == pytest.approx(103.0)
