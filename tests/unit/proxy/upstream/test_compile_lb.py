"""Load-balancing policies in both spellings."""

import envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2
import envoy.extensions.load_balancing_policies.maglev.v3.maglev_pb2
import envoy.extensions.load_balancing_policies.random.v3.random_pb2
import envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2  # noqa: F401
import pytest

from proxy.upstream.lb.api import LbPolicy
from tests.support.cluster_messages import compiled, problems

PREFIX = "type.googleapis.com/envoy.extensions.load_balancing_policies."


def policies(*configs):
    return {
        "policies": [
            {"typed_extension_config": {"name": f"p{index}", "typed_config": config}}
            for index, config in enumerate(configs)
        ]
    }


@pytest.mark.parametrize("name", ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"])
def test_the_old_field(name):
    assert compiled(lb_policy=name).lb.policy is LbPolicy[name]


@pytest.mark.parametrize(
    ("type_name", "policy"),
    [
        ("round_robin.v3.RoundRobin", LbPolicy.ROUND_ROBIN),
        ("least_request.v3.LeastRequest", LbPolicy.LEAST_REQUEST),
        ("random.v3.Random", LbPolicy.RANDOM),
    ],
)
def test_the_first_extension_that_exists_wins_over_the_old_field(type_name, policy):
    config = compiled(
        lb_policy="RANDOM",
        load_balancing_policy=policies({"@type": PREFIX + "maglev.v3.Maglev"}, {"@type": PREFIX + type_name}),
    )
    assert config.lb.policy is policy


def test_numbers_of_least_request():
    fields = {"choice_count": 3, "active_request_bias": {"default_value": 0.5, "runtime_key": "k"}}
    for config in (
        compiled(lb_policy="LEAST_REQUEST", least_request_lb_config=fields),
        compiled(
            load_balancing_policy=policies({"@type": PREFIX + "least_request.v3.LeastRequest", **fields})
        ),
    ):
        assert config.lb.choice_count == 3
        assert (config.lb.active_request_bias, config.lb.active_request_bias_key) == (0.5, "k")


def test_panic_threshold():
    assert compiled().lb.panic_threshold == 50.0
    config = compiled(common_lb_config={"healthy_panic_threshold": {"value": 0.0}})
    assert config.lb.panic_threshold == 0.0


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"lb_policy": "MAGLEV"}, "c.lb_policy"),
        ({"lb_policy": "CLUSTER_PROVIDED"}, "c.lb_policy"),
        ({"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}, "c.lb_policy"),
        (
            {"load_balancing_policy": policies({"@type": PREFIX + "maglev.v3.Maglev"})},
            "c.load_balancing_policy",
        ),
        (
            {"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "1s"}}},
            "c.round_robin_lb_config.slow_start_config",
        ),
        (
            {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}},
            "c.least_request_lb_config.choice_count",
        ),
        (
            {"common_lb_config": {"locality_weighted_lb_config": {}}},
            "c.common_lb_config.locality_weighted_lb_config",
        ),
    ],
)
def test_what_does_not_exist_here_is_refused_by_name(fields, path):
    assert [found for found, _ in problems(**fields)] == [path]
