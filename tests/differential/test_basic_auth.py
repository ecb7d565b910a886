"""The basic_auth filter: who passes, what the others are told, and which lists of users are refused."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, Final

import pytest

from tests.support.configs import ROUTER, TYPE, Json, route, typed
from tests.support.differential import Pair
from tests.support.envoy import Envoy
from tests.support.managers import Case, get, managers, managers_fixture, same_everywhere
from tests.support.origin import HELLO
from tests.support.outrider import subject

AUTH: Final = "envoy.extensions.filters.http.basic_auth.v3.BasicAuth"
PER_ROUTE: Final = f"{AUTH}PerRoute"
NAME: Final = "envoy.filters.http.basic_auth"
ROUTER_FILTER: Final = {"name": "router", "typed_config": typed(ROUTER)}


def line(user: str, password: str) -> str:
    return f"{user}:{{SHA}}{base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()}"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


USERS: Final = "\n".join(["# people", line("ann", "secret"), "", line("bob", "with:colon"), line("none", "")])


def manager(users: str = USERS, **fields: Any) -> Json:
    config = typed(AUTH, users={"inline_string": users}, **fields)
    return {"http_filters": [{"name": NAME, "typed_config": config}, ROUTER_FILTER]}


def of_route(users: str) -> Json:
    return {"typed_per_filter_config": {NAME: typed(PER_ROUTE, users={"inline_string": users})}}


OFF: Final = {NAME: {"@type": f"{TYPE}envoy.config.route.v3.FilterConfig", "disabled": True}}
ROUTES: Final = [
    {**route(prefix="/others"), **of_route(line("carl", "other"))},
    {**route(prefix="/off"), "typed_per_filter_config": OFF},
    route(prefix="/rewritten", prefix_rewrite="/new"),
    route(prefix="/pass"),
]
MANAGERS: Final = {
    "plain": manager(),
    "forward": manager(forward_username_header="X-User"),
    "field": manager(authentication_header="X-Auth", forward_username_header="x-auth-user"),
    "empty": manager("# nobody"),
}
pair = managers_fixture(MANAGERS, routes=ROUTES)

PASSES: Final = ("ann:secret", "bob:with:colon", "none:")
REFUSED: Final = (
    "Basic",
    "Basic x",
    "Basic  " + basic("ann:secret")[6:],
    "basic " + basic("ann:secret")[6:],
    "Bearer " + basic("ann:secret")[6:],
    basic("ann"),
    basic("ann:Secret"),
    basic("Ann:secret"),
    basic("ann:"),
    basic(":secret"),
    basic(":"),
    basic("carl:other"),
    basic("ann:secret") + "=",
    basic("ann:secret") + "===",
    basic("ann:secret") + " x",
    basic("ann:secret") + ",",
    "Basic !!!!",
    "Basic ====",
    "Basic YW5uOnNlY3JldB",
    "Basic YW5uOnNlY3J_-",
)


def test_who_knows_a_password_passes(pair: Pair) -> None:
    values = [basic(text) for text in PASSES] + [basic(text).rstrip("=") for text in PASSES]
    cases: list[Case] = [
        (name, get("/pass", f"{field}: {value}", "x-user: me", "x-last: 1"), HELLO)
        for name, field in (("plain", "authorization"), ("forward", "Authorization"), ("field", "x-auth"))
        for value in values
    ]
    with pair.same_stats("http.plain.basic_auth.", "http.forward.basic_auth.", "http.field.basic_auth."):
        outcomes = same_everywhere(pair, cases)
    assert {outcome.status for outcome in outcomes} == {200}


def test_everybody_else_is_refused(pair: Pair) -> None:
    cases: list[Case] = [("plain", get("/pass", f"authorization: {value}"), HELLO) for value in REFUSED]
    cases += [
        ("plain", get("/pass"), HELLO),
        ("plain", get("/pass", "authorization:"), HELLO),
        ("plain", get("/pass", method="HEAD"), HELLO),
        ("empty", get("/pass", f"authorization: {basic('ann:secret')}"), HELLO),
        ("field", get("/pass", f"authorization: {basic('ann:secret')}"), HELLO),
        ("plain", get("/pass", "content-type: application/grpc", method="POST"), HELLO),
    ]
    with pair.same_stats("http.plain.basic_auth.", "http.plain.downstream_rq_"):
        outcomes = same_everywhere(pair, cases)
    assert {outcome.status for outcome in outcomes} == {200, 401}
    assert not any(outcome.all_requests for outcome in outcomes)


def test_a_field_that_comes_twice(pair: Pair) -> None:
    good, bad = basic("ann:secret"), basic("ann:wrong")
    cases: list[Case] = [
        (name, get("/pass", f"{field}: {first}", f"{field}: {second}"), HELLO)
        for name, field in (("plain", "authorization"), ("field", "x-auth"))
        for first, second in ((good, bad), (bad, good), (good, good))
    ]
    same_everywhere(pair, cases)


def test_the_realm_is_what_was_asked_for(pair: Pair) -> None:
    cases: list[Case] = [
        ("plain", get(path), HELLO)
        for path in ("/pass?a=b", '/pass"q\\', "/pass/" + "x" * 300, "/rewritten/a", "/pass/" + '"' * 255)
    ]
    cases.append(("plain", get("/pass", "x-envoy-original-path: /told", "x-forwarded-proto: https"), HELLO))
    cases.append(("plain", get("/pass", host='a"b:80'), HELLO))
    same_everywhere(pair, cases)


def test_users_of_routes(pair: Pair) -> None:
    cases: list[Case] = [
        ("forward", get(path, *fields), HELLO)
        for path in ("/others", "/off", "/pass", "/nowhere")
        for fields in (
            (),
            (f"authorization: {basic('ann:secret')}",),
            (f"authorization: {basic('carl:other')}", "x-user: me"),
        )
    ]
    with pair.same_stats("http.forward.basic_auth."):
        same_everywhere(pair, cases)


@pytest.mark.parametrize(
    "users",
    [
        "ann",
        ":" + line("", "x"),
        "ann:",
        line("ann", "a") + "\n" + line("ann", "b"),
        "ann:$apr1$abc",
        "ann:{SHA}short",
        line("ann", "a") + "\r\n",
        " # no comment",
    ],
)
@pytest.mark.parametrize("routed", [False, True])
def test_users_that_are_refused(users: str, routed: bool) -> None:
    routes = [{**route(), **of_route(users)}] if routed else [route()]
    config = managers({"one": manager() if routed else manager(users)}, routes=routes)
    told = set()
    for kind in (Envoy, subject()):
        accepted, said = kind.validate(config, {"one_port": 0, "origin_port": 1})
        assert not accepted
        found = re.search(r"basic auth: [^\n`(]*[^\n`( ]", said)
        assert found is not None, said
        told.add(found[0])
    assert len(told) == 1
