"""Runtime guards in a bootstrap, beside Envoy: which are known, and that none is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxy.config.runtime_guards import FIXED
from tests.support.configs import Json, bootstrap
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
