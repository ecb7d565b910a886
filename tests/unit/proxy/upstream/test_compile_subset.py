"""Subsets, as cluster fields."""

import pytest

from proxy.upstream.lb.api import SubsetFallback
from tests.support.cluster_messages import compiled, problems


def subset(*selectors, **fields):
    return {"lb_subset_config": {"subset_selectors": list(selectors), **fields}}


def test_without_selectors_there_are_no_subsets():
    assert compiled(lb_subset_config={"fallback_policy": "ANY_ENDPOINT"}).lb.subset is None


@pytest.mark.parametrize("name", ["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"])
def test_fallbacks_of_the_cluster_and_of_a_selector(name):
    selector = {"keys": ["a"], "fallback_policy": name}
    config = compiled(**subset(selector, fallback_policy=name)).lb.subset
    assert config.fallback is SubsetFallback[name]
    assert config.selectors[0].fallback is SubsetFallback[name]
    assert compiled(**subset({"keys": ["a"]})).lb.subset.selectors[0].fallback is SubsetFallback.NOT_DEFINED


@pytest.mark.parametrize("fewer", [[], ["b"], ["a"]])
def test_the_keys_to_fall_back_on_are_some_of_the_keys(fewer):
    selector = {"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": fewer}
    ((path, _),) = problems(**subset(selector))
    assert path == "c.lb_subset_config.subset_selectors[0].fallback_keys_subset"
