"""Load-balancing policies in both spellings."""

import envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2
import envoy.extensions.load_balancing_policies.maglev.v3.maglev_pb2
import envoy.extensions.load_balancing_policies.override_host.v3.override_host_pb2
import envoy.extensions.load_balancing_policies.pick_first.v3.pick_first_pb2
import envoy.extensions.load_balancing_policies.random.v3.random_pb2
import envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2
import envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2
import envoy.extensions.load_balancing_policies.subset.v3.subset_pb2  # noqa: F401
import pytest

from proxy.upstream.lb.api import LbPolicy, SlowStartConfig, SubsetFallback, SubsetSelector, ZoneAwareConfig
from tests.support.cluster_messages import compiled, problems

PREFIX = "type.googleapis.com/envoy.extensions.load_balancing_policies."


def policies(*configs):
    return {
        "policies": [
            {"typed_extension_config": {"name": f"p{index}", "typed_config": config}}
            for index, config in enumerate(configs)
        ]
    }


OUTER = "c.load_balancing_policy.policies[0].typed_extension_config.typed_config"


def override_host(*sources):
    return {
        "@type": PREFIX + "override_host.v3.OverrideHost",
        "override_host_sources": list(sources),
        "fallback_policy": policies({"@type": PREFIX + "random.v3.Random"}),
    }


@pytest.mark.parametrize("name", ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV"])
def test_the_old_field(name):
    assert compiled(lb_policy=name).lb.policy is LbPolicy[name]


@pytest.mark.parametrize(
    ("type_name", "policy"),
    [
        ("round_robin.v3.RoundRobin", LbPolicy.ROUND_ROBIN),
        ("least_request.v3.LeastRequest", LbPolicy.LEAST_REQUEST),
        ("random.v3.Random", LbPolicy.RANDOM),
        ("ring_hash.v3.RingHash", LbPolicy.RING_HASH),
        ("maglev.v3.Maglev", LbPolicy.MAGLEV),
    ],
)
def test_the_first_extension_that_exists_wins_over_the_old_field(type_name, policy):
    config = compiled(
        lb_policy="RANDOM",
        load_balancing_policy=policies(
            {"@type": PREFIX + "pick_first.v3.PickFirst"},
            {"@type": PREFIX + type_name},
            {"@type": PREFIX + "random.v3.Random"},
        ),
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


def test_the_panic_threshold_is_a_whole_percentage():
    assert compiled(common_lb_config={"healthy_panic_threshold": {"value": 33.5}}).lb.panic_threshold == 34


SLOW = {
    "slow_start_window": "10s",
    "aggression": {"default_value": 2.0, "runtime_key": "k"},
    "min_weight_percent": {"value": 20},
}


@pytest.mark.parametrize(
    ("policy", "type_name"), [("ROUND_ROBIN", "RoundRobin"), ("LEAST_REQUEST", "LeastRequest")]
)
def test_slow_start(policy, type_name):
    name = policy.lower()
    expected = SlowStartConfig(10.0, 2.0, "k", 0.2)
    config = compiled(lb_policy=policy, **{f"{name}_lb_config": {"slow_start_config": SLOW}})
    assert config.lb.slow_start == expected
    extension = {"@type": f"{PREFIX}{name}.v3.{type_name}", "slow_start_config": SLOW}
    assert compiled(load_balancing_policy=policies(extension)).lb.slow_start == expected


def test_a_window_of_no_time_is_no_slow_start():
    config = compiled(round_robin_lb_config={"slow_start_config": {"slow_start_window": "0s"}})
    assert config.lb.slow_start is None


def test_localities_in_both_spellings():
    zones = {"routing_enabled": {"value": 80}, "min_cluster_size": 3, "fail_traffic_on_panic": True}
    expected = ZoneAwareConfig(80, 3, True)
    assert compiled(common_lb_config={"zone_aware_lb_config": zones}).lb.zone_aware == expected
    extension = {"@type": PREFIX + "random.v3.Random", "locality_lb_config": {"zone_aware_lb_config": zones}}
    config = compiled(load_balancing_policy=policies(extension))
    assert config.lb.zone_aware == expected
    assert not config.lb.locality_weighted
    assert compiled(common_lb_config={"locality_weighted_lb_config": {}}).lb.locality_weighted
    hashing = {"@type": PREFIX + "maglev.v3.Maglev", "locality_weighted_lb_config": {}}
    assert compiled(load_balancing_policy=policies(hashing)).lb.locality_weighted


def test_subsets_in_both_spellings():
    fields = {
        "fallback_policy": "DEFAULT_SUBSET",
        "default_subset": {"stage": "prod"},
        "subset_selectors": [
            {"keys": ["v", "a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a"]},
            {"keys": ["id"], "single_host_per_subset": True},
        ],
        "panic_mode_any": True,
        "list_as_any": True,
    }
    old = compiled(lb_policy="RANDOM", lb_subset_config=fields).lb
    assert old.policy is LbPolicy.RANDOM
    assert old.subset.fallback is SubsetFallback.DEFAULT_SUBSET
    assert old.subset.default_subset == {"stage": "prod"}
    assert old.subset.selectors == (
        SubsetSelector(("a", "v"), False, SubsetFallback.KEYS_SUBSET, frozenset({"a"})),
        SubsetSelector(("id",), True),
    )
    extension = {
        "@type": PREFIX + "subset.v3.Subset",
        "subset_lb_policy": policies({"@type": PREFIX + "random.v3.Random"}),
        **fields,
    }
    assert compiled(load_balancing_policy=policies(extension)).lb == old


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"lb_policy": "CLUSTER_PROVIDED"}, "c.lb_policy"),
        ({"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}, "c.lb_policy"),
        (
            {"load_balancing_policy": policies({"@type": PREFIX + "pick_first.v3.PickFirst"})},
            "c.load_balancing_policy",
        ),
        (
            {
                "load_balancing_policy": policies(
                    override_host({"header": "a", "metadata": {"key": "k", "path": [{"key": "p"}]}})
                )
            },
            f"{OUTER}.override_host_sources[0]",
        ),
        (
            {"load_balancing_policy": policies(override_host({}))},
            f"{OUTER}.override_host_sources[0]",
        ),
        (
            {
                "load_balancing_policy": policies(
                    {
                        **override_host({"header": "a"}),
                        "fallback_policy": policies(override_host({"header": "a"})),
                    }
                )
            },
            f"{OUTER}.fallback_policy",
        ),
        (
            {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}},
            "c.least_request_lb_config.choice_count",
        ),
        (
            {
                "lb_subset_config": {
                    "subset_selectors": [
                        {"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["b"]}
                    ]
                }
            },
            "c.lb_subset_config.subset_selectors[0].fallback_keys_subset",
        ),
        (
            {"lb_subset_config": {"subset_selectors": [{"keys": ["a"]}], "locality_weight_aware": True}},
            "c.lb_subset_config.locality_weight_aware",
        ),
        (
            {"common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}},
            "c.common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing",
        ),
    ],
)
def test_what_does_not_exist_here_is_refused_by_name(fields, path):
    assert [found for found, _ in problems(**fields)] == [path]


@pytest.mark.parametrize(
    ("fields", "period"),
    [
        ({}, 0.0),
        ({"oob_reporting_period": "3s"}, 0.0),
        ({"enable_oob_load_report": True}, 10.0),
        ({"enable_oob_load_report": True, "oob_reporting_period": "0.5s"}, 0.5),
        ({"enable_oob_load_report": True, "oob_reporting_period": "-1s"}, 10.0),
    ],
)
def test_how_often_hosts_report(fields, period):
    policy = {
        "@type": PREFIX + "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
        **fields,
    }
    assert compiled(load_balancing_policy=policies(policy)).lb.client_weights.oob_period == period
