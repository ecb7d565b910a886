from __future__ import annotations

from typing import Any

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from tests.unit.proxy.router.tables import one, request, route_of, stream, table


def level(name: str) -> dict[str, Any]:
    def added(suffix: str) -> list[dict[str, Any]]:
        return [
            {"header": {"key": f"x-{suffix}", "value": name}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ]

    return {"request_headers_to_add": added("q"), "response_headers_to_add": added("r")}


@pytest.mark.parametrize(("most_specific_wins", "winner"), [(False, "table"), (True, "route")])
def test_the_last_level_to_apply_wins(most_specific_wins: bool, winner: str) -> None:
    config = one({"prefix": "/"})
    config["virtual_hosts"][0]["routes"][0] |= level("route")
    config["virtual_hosts"][0] |= level("host")
    config |= level("table")
    config["most_specific_header_mutations_wins"] = most_specific_wins
    head = request()
    route = route_of(table(config), head)
    assert route is not None
    assert (len(route.request_ops), len(route.response_ops)) == (3, 3)
    response = ResponseHead(200, HeaderMap())
    for operation in route.request_ops:
        operation.apply(head, stream())
    for operation in route.response_ops:
        operation.apply(response, stream())
    assert (head.headers["x-q"], response.headers["x-r"]) == (winner, winner)


def test_levels_without_operations_cost_nothing() -> None:
    route = route_of(table(one({"prefix": "/"})), request())
    assert route is not None
    assert (route.request_ops, route.response_ops) == ((), ())
