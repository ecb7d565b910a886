"""The JSON transcoder as configured: limits, routes, what is refused."""

from __future__ import annotations

import time

import pytest

from tests.support.bookstore import message
from tests.support.configs import ROUTER, Json, typed
from tests.support.differential import Pair, same_verdict
from tests.support.managers import get, logging_apart, managers, post
from tests.support.transcoder import OK, answer, fixture, json, same, transcoder

pair = fixture("plain", "lenient", "small")


def test_limits(pair: Pair) -> None:
    same(
        pair,
        "small",
        [
            (json("/shelves", '{"theme": "' + "x" * 10 + '"}'), answer(message("Shelf", id=1))),
            (json("/shelves", '{"theme": "' + "x" * 30 + '"}'), answer(message("Shelf", id=1))),
            (post("/raw", b"x" * 40), answer(message("Shelf", id=1))),
            (get("/shelves/1"), answer(message("Shelf", theme="x" * 40))),
            (get("/shelves"), answer(message("Shelf", theme="x" * 40))),
        ],
        bodies=False,
    )


def test_nothing_stays_in_the_gauges(pair: Pair) -> None:
    cut = json("/shelves", '{"id": 5, "theme": "x"}')[:-4]
    same(pair, "plain", [(json("/shelves", '{"id": 5}'), OK), (get("/shelves"), OK)])
    with logging_apart(pair, 1):
        pair.run(cut, OK, listener="plain", half_close=True)
    names = [f"http.plain.transcoder_{side}_buffer_bytes" for side in ("request", "response")]
    assert set(names) <= set(pair.envoy.proxy.stats())
    deadline = time.monotonic() + 5
    while any(pair.outrider.proxy.stats()[name] for name in names):
        assert time.monotonic() < deadline, "bytes are still counted"
        time.sleep(0.05)


def verdict(config: Json) -> Json:
    manager = {
        "http_filters": [
            {"name": "filter", "typed_config": config},
            {"name": "router", "typed_config": typed(ROUTER)},
        ]
    }
    return managers({"plain": manager})


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"services": []}, True),
        ({"services": ["no.Such"]}, False),
        ({"proto_descriptor_bin": "/w=="}, False),
        ({"proto_descriptor_bin": ""}, False),
        ({"proto_descriptor_bin": None, "proto_descriptor": "/does/not/exist"}, False),
    ],
)
def test_verdicts(fields: Json, accepted: bool) -> None:
    config = {name: value for name, value in transcoder(**fields).items() if value is not None}
    assert same_verdict(verdict(config))[0] is accepted


@pytest.mark.parametrize("manager", ["plain", "lenient"])
def test_the_route_is_that_of_the_call_unless_told_otherwise(pair: Pair, manager: str) -> None:
    same(pair, manager, [(get("/shelves/5", method="DELETE"), answer(message("Empty")))])
