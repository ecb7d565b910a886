"""Requests that follow an internal redirect pass the filters again, as the route that they come to has them."""

from __future__ import annotations

from typing import Final

import pytest

from tests.differential.test_hcm_routes import redirects
from tests.support.compare import Difference, diff_lists, diff_replies
from tests.support.configs import Json, route, typed
from tests.support.differential import Pair
from tests.support.managers import get, managers_fixture, post
from tests.support.rbac import LOGGED, anyone, count, header, manager, of_route, path, policy, rbac, rules

MUTATION: Final = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
BUFFER: Final = "envoy.extensions.filters.http.buffer.v3.Buffer"
DENY: Final = rbac(rules=rules("DENY", admin=anyone(path(prefix="/admin"))))
FOLLOWED: Final = {
    "internal_redirect_policy": {"max_internal_redirects": 2, "redirect_response_codes": [302, 303, 307]}
}
ROUTES: Final = [
    {
        **route(prefix="/closed", **FOLLOWED),
        **of_route(rbac={"rules": rules(none=policy(path(exact="/none")))}),
    },
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "direct"}}},
    route(prefix="/", **FOLLOWED),
]


def marking(name: str) -> Json:
    added = {"append": {"header": {"key": name, "value": "%REQ(:PATH)%"}}}
    mutations = {"request_mutations": [added], "response_mutations": [added]}
    return {"name": name, "typed_config": typed(MUTATION, mutations=mutations)}


MANAGERS: Final = {
    "first": manager(DENY),
    "second": manager(marking("x-mark"), DENY),
    "told": manager(
        DENY, rbac(rules=rules("LOG", marked=policy(header("x-envoy-original-url", present_match=True))))
    ),
    "buffer": manager({"name": "buffer", "typed_config": typed(BUFFER, max_request_bytes=100)}, DENY),
    "idle": manager(rbac()),
}
pair = managers_fixture(MANAGERS, routes=ROUTES, log=LOGGED)


@pytest.mark.parametrize("name", MANAGERS)
@pytest.mark.parametrize(
    ("location", "rounds", "reached"),
    [("/ok", 2, 2), ("/admin", 2, 1), ("/closed", 2, 1), ("/direct", 2, 1)],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_filters_are_passed_again(
    pair: Pair, name: str, location: str, rounds: int, reached: int, method: str
) -> None:
    before = pair.lines_logged()
    request = get("/start") if method == "GET" else post("/start", b"body")
    if name == "idle" and location == "/admin":
        reached = 2
    with pair.same_stats(count(name), f"http.{name}.downstream_rq_"):
        envoy, outrider = pair.run(request, redirects(f"http://example.com{location}"), listener=name)
        differences = diff_replies(envoy.reply, outrider.reply)
        differences += diff_lists("upstream", envoy.all_requests, outrider.all_requests)
        logs = pair.logged_since(before, rounds)
        if logs[0] != logs[1] and method == "GET":  # a body that is sent again counts as received again
            differences.append(Difference("access_log", *logs))
        pair.check(differences)
    assert len(outrider.all_requests) == reached
