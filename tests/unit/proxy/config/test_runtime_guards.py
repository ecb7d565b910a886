from __future__ import annotations

import pytest

from proxy.config.config_sources import GUARD
from proxy.config.runtime_guards import guard_warnings

FRAGMENT = "envoy.reloadable_features.http_reject_path_with_fragment"
UNIFIED = "envoy.reloadable_features.unified_mux"
STRICT = "envoy.reloadable_features.strict_chunk_parsing"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (FRAGMENT, "true"),
        (FRAGMENT, "TRUE"),
        (UNIFIED, "false"),
        (STRICT, "true"),
        (GUARD, "true"),
        ("envoy.reloadable_features.max_request_headers_count", "50"),
        # What is no bool sets no guard in Envoy either.
        (FRAGMENT, "3"),
        (FRAGMENT, "junk"),
        ("upstream.zone_routing.enabled", "100"),
        ("envoy.other.key", "true"),
        ("envoy.reloadable_features.FLAGS_envoy_quiche_anything", "true"),
    ],
)
def test_what_is_done_as_it_is_said_needs_no_word(name: str, text: str) -> None:
    assert list(guard_warnings({name: text})) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (FRAGMENT, "false", "no effect here; what true stands for"),
        (UNIFIED, "true", "no effect here; what false stands for"),
        (STRICT, "false", "no effect here; what true stands for"),
        ("envoy.restart_features.xds_failover_support", "true", "no effect here"),
        ("envoy.reloadable_features.no_such", "false", "Using a removed guard"),
        ("envoy.restart_features.no_such", "3", "Using a removed guard"),
    ],
)
def test_what_is_set_in_vain_is_named(name: str, text: str, words: str) -> None:
    (warning,) = guard_warnings({name: text})
    assert name in warning
    assert words in warning
