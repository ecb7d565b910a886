"""`override_host`: requests that name the hosts they are to go to, beside Envoy."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.configs import Json, cluster, http_proxy, route, typed
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.origin import Origin

PREFIX: Final = "envoy.extensions.load_balancing_policies"
#: Nobody listens there.
DEAD: Final = 1
RETRY: Final = {
    "retry_on": "connect-failure,5xx",
    "num_retries": 3,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
        }
    ],
    "host_selection_retry_max_attempts": 5,
    "retry_back_off": {"base_interval": "0.001s"},
}


def policy(kind: str, message: str, **fields: Any) -> Json:
    inner = {"name": kind, "typed_config": typed(f"{PREFIX}.{kind}.v3.{message}", **fields)}
    return {"policies": [{"typed_extension_config": inner}]}


FALLBACK: Final = policy("round_robin", "RoundRobin")
SUBSETS: Final = policy(
    "subset",
    "Subset",
    fallback_policy="NO_FALLBACK",
    subset_selectors=[{"keys": ["none"]}],
    subset_lb_policy=FALLBACK,
)


def override(name: str, *ports: int | str, fallback: Json = FALLBACK, **fields: Any) -> Json:
    sources = [
        {"header": "X-First"},
        {"header": "x-then"},
        {"metadata": {"key": "k", "path": [{"key": "p"}]}},
    ]
    made = policy("override_host", "OverrideHost", override_host_sources=sources, fallback_policy=fallback)
    return cluster(name, *ports, load_balancing_policy=made, **fields)


def drained(made: Json) -> Json:
    for one in made["load_assignment"]["endpoints"][0]["lb_endpoints"][:2]:
        one["health_status"] = "UNHEALTHY"
    made["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    return made


CONFIG: Final = http_proxy(
    routes=[
        route("subsets", "/subsets"),
        route("ill", "/ill"),
        route("all", "/retried", retry_policy=RETRY),
        route("all", "/"),
    ],
    clusters=[
        override("all", "{{first_port}}", "{{second_port}}", "{{third_port}}", DEAD),
        override("subsets", "{{first_port}}", "{{second_port}}", fallback=SUBSETS),
        drained(override("ill", "{{first_port}}", "{{second_port}}", "{{third_port}}")),
    ],
)
pair = pair_fixture(CONFIG, origins={"first": Origin, "second": Origin, "third": Origin})


def ask(side: Side, path: str, *fields: str) -> tuple[int, list[str]]:
    """The status, and which origins were asked."""
    places = {f"<{name}>": f"127.0.0.1:{one.port}" for name, one in side.origins.items()}
    places["<dead>"] = f"127.0.0.1:{DEAD}"
    lines = ""
    for field in fields:
        for mark, address in places.items():
            field = field.replace(mark, address)
        lines += f"{field}\r\n"
    before = {name: len(one.requests) for name, one in side.origins.items()}
    reply = exchange(side.proxy.port, f"GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode()).response
    return reply.status, [
        name for name, one in side.origins.items() for _ in range(len(one.requests) - before[name])
    ]


@pytest.mark.parametrize("path", ["/", "/ill", "/subsets"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["x-first: <second>"], "second"),
        (["x-then: <second>"], "second"),
        (["x-first: <first>", "x-then: <second>"], "first"),
        (["x-first: 10.0.0.9:80, ,,\t<second>\t,<first>"], "second"),
        (["x-first: 10.0.0.9:80", "x-then: junk,<first>"], "first"),
        (["x-first: <second>", "x-first: <first>"], "second"),
    ],
)
def test_the_host_that_is_named_is_asked(pair: Pair, path: str, fields: list[str], expected: str) -> None:
    asked = pair.same_value("asked", lambda side: [ask(side, path, *fields) for _ in range(3)])
    assert asked == [(200, [expected])] * 3


@pytest.mark.parametrize(
    "fields",
    [[], ["x-first:"], ["x-first: ,", "x-first: <first>"], ["x-first: 10.0.0.9:80"], ["x-first: ::1"]],
)
@pytest.mark.parametrize("path", ["/ill", "/subsets"])
def test_without_one_the_balancer_decides(pair: Pair, path: str, fields: list[str]) -> None:
    asked = pair.same_value("asked", lambda side: [ask(side, path, *fields) for _ in range(3)])
    assert asked == [(200, ["third"])] * 3 if path == "/ill" else [(503, [])] * 3


FAILURE: Final = b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        ["x-first: <dead>,<second>,<first>"],
        ["x-first: <dead>", "x-then: <dead>,<second>"],
        ["x-first: <second>,<second>,<second>,<second>,<first>"],
        ["x-first: <first>,10.0.0.9:80,<second>"],
        ["x-first: <dead>,<dead>,<dead>,<dead>,<second>"],
    ],
)
def test_a_retry_goes_to_the_next_that_is_named(pair: Pair, fields: list[str]) -> None:
    def play(side: Side) -> tuple[int, list[str]]:
        for name in ("first", "second"):
            side.origins[name].script(FAILURE)
        return ask(side, "/retried", *fields)

    def mend(side: Side) -> None:
        for name in ("first", "second"):
            side.origins[name].script(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    try:
        pair.same_value("asked", play)
    finally:
        pair.both(mend)
