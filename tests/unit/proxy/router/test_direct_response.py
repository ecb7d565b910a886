from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.router.cluster_action import ClusterAction
from proxy.router.direct_response import DirectResponseAction
from tests.unit.proxy.router.tables import one, problems_of, request, route_of, stream, table


def respond(
    action: dict[str, Any], path: str = "/a?b", **table_fields: Any
) -> tuple[int, dict[str, str], bytes]:
    head = request(path, host="h:80")
    info = stream()
    info.request = head
    route = route_of(table({**one({"prefix": "/"}, **action), **table_fields}), head, info)
    assert route is not None
    assert isinstance(route.action, DirectResponseAction)
    response, body = route.action.respond(head, info)
    return response.status, dict(response.headers), body


def test_bodies_come_from_text_bytes_file_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"from file")
    monkeypatch.setenv("BODY_FOR_TEST", "from environment")
    for source, body in (
        ({"inline_string": "text é"}, "text é".encode()),
        ({"inline_bytes": "AAE="}, b"\0\1"),
        ({"filename": str(file)}, b"from file"),
        ({"environment_variable": "BODY_FOR_TEST"}, b"from environment"),
    ):
        assert respond({"direct_response": {"status": 200, "body": source}}) == (200, {}, body)


@pytest.mark.parametrize(
    ("status", "located"), [(200, False), (201, True), (304, True), (399, True), (404, False)]
)
def test_created_and_redirect_statuses_carry_the_own_uri(status: int, located: bool) -> None:
    headers = {"location": "http://h:80/a?b"} if located else {}
    assert respond({"direct_response": {"status": status}}) == (status, headers, b"")


def test_a_format_renders_the_body() -> None:
    body_format = {
        "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%: %REQ(:path)%"},
        "content_type": "text/x",
    }
    action = {"direct_response": {"status": 200, "body": {"inline_string": "b"}, "body_format": body_format}}
    assert respond(action) == (200, {"content-type": "text/x"}, b"b: /a?b")


def test_a_body_over_the_limit_is_refused() -> None:
    def refused(size: int, **fields: Any) -> list[str]:
        action = {"status": 200, "body": {"inline_string": "x" * size}}
        return [path for path, _ in problems_of({**one({"prefix": "/"}, direct_response=action), **fields})]

    assert refused(4096) == []
    assert refused(4097) == ["virtual_hosts[0].routes[0].direct_response.body"]
    assert refused(4097, max_direct_response_body_size_bytes=5000) == []


def test_a_non_forwarding_action_has_no_cluster_and_a_filter_action_is_refused() -> None:
    route = route_of(table(one({"prefix": "/"}, non_forwarding_action={})), request())
    assert route is not None
    assert isinstance(route.action, ClusterAction)
    assert route.action.single is not None
    assert route.action.single.cluster_name == ""
    assert [path for path, _ in problems_of(one({"prefix": "/"}, filter_action={}))] == [
        "virtual_hosts[0].routes[0].filter_action"
    ]
