"""The terms of RING_HASH and MAGLEV."""

import envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2  # noqa: F401
import pytest

from proxy.upstream.lb.api import HashingConfig
from tests.support.cluster_messages import compiled, problems

RING = "type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash"


def extension(**fields):
    return {
        "policies": [{"typed_extension_config": {"name": "p", "typed_config": {"@type": RING, **fields}}}]
    }


def test_the_defaults_are_envoys():
    expected = HashingConfig(False, 1024, 8 * 1024 * 1024, 65537, False, 0)
    assert compiled(lb_policy="RING_HASH").lb.hashing == expected
    assert compiled(lb_policy="MAGLEV").lb.hashing == expected
    assert compiled(load_balancing_policy=extension()).lb.hashing == expected


def test_rings_in_both_spellings():
    sizes = {"minimum_ring_size": 10, "maximum_ring_size": 20, "hash_function": "MURMUR_HASH_2"}
    common = {"use_hostname_for_hashing": True, "hash_balance_factor": 150}
    expected = HashingConfig(True, 10, 20, use_hostname=True, balance_factor=150)
    old = compiled(
        type="STRICT_DNS",
        lb_policy="RING_HASH",
        ring_hash_lb_config=sizes,
        common_lb_config={"consistent_hashing_lb_config": common},
    )
    assert old.lb.hashing == expected
    assert compiled(load_balancing_policy=extension(**sizes, **common)).lb.hashing == expected
    nested = extension(**sizes, consistent_hashing_lb_config=common)
    assert compiled(load_balancing_policy=nested).lb.hashing == expected


def test_the_size_of_a_table_is_a_prime():
    assert compiled(lb_policy="MAGLEV", maglev_lb_config={"table_size": 11}).lb.hashing.table_size == 11


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 12}}, "c.maglev_lb_config.table_size"),
        (
            {
                "lb_policy": "RING_HASH",
                "ring_hash_lb_config": {"minimum_ring_size": 3, "maximum_ring_size": 2},
            },
            "c.ring_hash_lb_config.minimum_ring_size",
        ),
    ],
)
def test_what_cannot_be_built(fields, path):
    assert [found for found, _ in problems(**fields)] == [path]
