"""How a DNS cluster is told to resolve."""

import envoy.extensions.clusters.dns.v3.dns_cluster_pb2
import envoy.extensions.network.dns_resolver.cares.v3.cares_dns_resolver_pb2  # noqa: F401
import pytest

from proxy.base.address import Address
from proxy.upstream.cluster_config import DnsFamily
from tests.support.cluster_messages import compiled, endpoint, problems

CARES = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
DNS_CLUSTER = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"
NAME = endpoint("svc.test")
RESOLVER = {"socket_address": {"address": "10.0.0.53", "port_value": 53}}


def dns(**fields):
    return compiled(NAME, type="STRICT_DNS", **fields).dns


def test_defaults_are_envoys():
    config = dns()
    assert (config.refresh_rate, config.respect_ttl, config.jitter) == (5.0, False, 0.0)
    assert config.family is DnsFamily.AUTO
    assert config.resolvers == ()


def test_failures_back_off_to_ten_times_the_base_by_default():
    config = dns(dns_failure_refresh_rate={"base_interval": "2s"})
    assert (config.failure_base, config.failure_max) == (2.0, 20.0)


def test_a_back_off_that_ends_before_it_begins_is_refused():
    ((path, reason),) = problems(
        NAME, type="STRICT_DNS", dns_failure_refresh_rate={"base_interval": "2s", "max_interval": "1s"}
    )
    assert path == "c.dns_failure_refresh_rate"
    assert "max_interval" in reason


@pytest.mark.parametrize("family", list(DnsFamily))
def test_families_in_both_spellings(family):
    assert dns(dns_lookup_family=family.value).family is family
    custom = {"@type": DNS_CLUSTER, "dns_lookup_family": family.value}
    assert compiled(NAME, cluster_type={"name": "d", "typed_config": custom}).dns.family is family


@pytest.mark.parametrize(
    "fields",
    [
        {"dns_resolvers": [RESOLVER], "use_tcp_for_dns_lookups": True},
        {
            "dns_resolution_config": {
                "resolvers": [RESOLVER],
                "dns_resolver_options": {"use_tcp_for_dns_lookups": True},
            }
        },
        {
            "typed_dns_resolver_config": {
                "name": "envoy.network.dns_resolver.cares",
                "typed_config": {
                    "@type": CARES,
                    "resolvers": [RESOLVER],
                    "dns_resolver_options": {"use_tcp_for_dns_lookups": True},
                },
            }
        },
    ],
)
def test_resolvers_in_every_spelling(fields):
    config = dns(**fields)
    assert config.resolvers == (Address("10.0.0.53", 53),)
    assert config.use_tcp


def test_an_unknown_resolver_is_refused():
    resolver = {"name": "x", "typed_config": {"@type": DNS_CLUSTER}}
    ((path, _),) = problems(NAME, type="STRICT_DNS", typed_dns_resolver_config=resolver)
    assert path == "c.typed_dns_resolver_config.typed_config"
