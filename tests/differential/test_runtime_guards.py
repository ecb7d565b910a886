"""Runtime guards in a bootstrap, beside Envoy: which are known, and that none is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxy.config.runtime_guards import FIXED
from tests.support.configs import Json, bootstrap, http_proxy, route
from tests.support.differential import Pair, pair_fixture
from tests.support.envoy import Envoy
from tests.support.outrider import Outrider

REMOVED = "Using a removed guard"
FRAGMENT = "envoy.reloadable_features.http_reject_path_with_fragment"


def tree(values: Json) -> Json:
    return bootstrap([], layered_runtime={"layers": [{"name": "static", "static_layer": values}]})


def both(values: Json) -> list[tuple[bool, str]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda kind: kind.validate(tree(values)), (Envoy, Outrider)))


def test_envoy_knows_the_same_guards() -> None:
    (taken, envoy), (also_taken, outrider) = both(dict(FIXED))
    assert (taken, also_taken) == (True, True)
    assert REMOVED not in envoy
    assert REMOVED not in outrider
    assert "no effect here" not in outrider


def test_defaults_are_told_when_they_are_left() -> None:
    (taken, _), (also_taken, outrider) = both({name: not value for name, value in FIXED.items()})
    assert (taken, also_taken) == (True, True)
    for name in FIXED:
        assert outrider.count(f"{name}: ") == 1, name


@pytest.mark.parametrize(
    "values",
    [
        {"envoy.reloadable_features.no_such": True},
        {"envoy.reloadable_features.no_such": False},
        {"envoy": {"restart_features": {"no_such": True}}},
        {"envoy.restart_features.no_such": 3},
        {FRAGMENT: 3},
        {FRAGMENT: "junk"},
        {FRAGMENT: "false"},
        {"envoy.features.enable_all_deprecated_features": True},
        {"envoy.reloadable_features.max_request_headers_count": 50},
        {"envoy.reloadable_features.FLAGS_envoy_quiche_no_such": True},
        {FRAGMENT: None},
        {FRAGMENT: [True]},
    ],
    ids=str,
)
def test_what_is_taken_and_what_is_removed(values: dict[str, Any]) -> None:
    (envoy, its_log), (outrider, our_log) = both(values)
    assert outrider == envoy
    assert (REMOVED in our_log) == (REMOVED in its_log)


def limited(what: str, value: int) -> Json:
    values = {
        f"envoy.reloadable_features.max_{side}_headers_{what}": value for side in ("request", "response")
    }
    layers = {"layers": [{"name": "static", "static_layer": values}]}
    return http_proxy(routes=[route()], layered_runtime=layers)


few = pair_fixture(limited("count", 6))
small = pair_fixture(limited("size_kb", 1))


def fields(number: int, length: int = 1) -> bytes:
    return b"".join(b"x-%d: %s\r\n" % (index, b"v" * length) for index in range(number))


def statuses(pair: Pair, more: bytes) -> tuple[int, int]:
    """Of a request with more fields, and of a response."""
    request = pair.same(b"GET / HTTP/1.1\r\nHost: a\r\n" + more + b"\r\n")
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + more + b"\r\n"
    response = pair.same(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer)
    return request.status, response.status


@pytest.mark.parametrize(("number", "fits"), [(5, True), (6, False), (20, False)])
def test_how_many_fields_a_message_may_have(few: Pair, number: int, fits: bool) -> None:
    assert statuses(few, fields(number)) == ((200, 200) if fits else (431, 502))


@pytest.mark.parametrize(("number", "fits"), [(9, True), (10, False), (60, False)])
def test_how_long_the_fields_may_be(small: Pair, number: int, fits: bool) -> None:
    assert statuses(small, fields(number, 100)) == ((200, 200) if fits else (431, 502))
