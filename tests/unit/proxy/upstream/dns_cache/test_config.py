"""What a DnsCacheConfig becomes."""

import pytest
from envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2
from google.protobuf import json_format

from proxy.base.address import Address
from proxy.config.context import CompileContext
from proxy.upstream.cluster_config import DnsFamily
from proxy.upstream.dns_cache.config import DnsCacheConfig, compile_dns_cache

RESOLVER = {"socket_address": {"address": "10.0.0.53", "port_value": 53}}


def compiled(**fields):
    ctx = CompileContext()
    message = json_format.ParseDict({"name": "c", **fields}, dns_cache_pb2.DnsCacheConfig())
    config = compile_dns_cache(message, "cache", ctx)
    return config, [(problem.path, problem.reason) for problem in ctx.problems]


def test_defaults_are_envoys():
    config, problems = compiled()
    assert not problems
    assert config == DnsCacheConfig("c", config.dns, 5.0, 300.0, 1024, 5.0, 1024, ())
    assert (config.dns.refresh_rate, config.dns.failure_base, config.dns.family) == (
        60.0,
        0.0,
        DnsFamily.AUTO,
    )


def test_every_number_can_be_set():
    config, _ = compiled(
        dns_refresh_rate="7s",
        dns_min_refresh_rate="2s",
        host_ttl="9s",
        max_hosts=3,
        dns_query_timeout="0s",
        dns_cache_circuit_breaker={"max_pending_requests": 4},
        preresolve_hostnames=[{"address": "a.test", "port_value": 443}],
    )
    assert config == DnsCacheConfig("c", config.dns, 2.0, 9.0, 3, 0.0, 4, (("a.test", 443),))
    assert config.dns.refresh_rate == 7.0


@pytest.mark.parametrize("family", list(DnsFamily))
def test_the_family_is_that_of_clusters(family):
    assert compiled(dns_lookup_family=family.name)[0].dns.family is family


def test_resolvers_and_tcp():
    config, _ = compiled(
        dns_resolution_config={
            "resolvers": [RESOLVER],
            "dns_resolver_options": {"use_tcp_for_dns_lookups": True},
        }
    )
    assert config.dns.resolvers == (Address("10.0.0.53", 53),)
    assert config.dns.use_tcp
    assert compiled(use_tcp_for_dns_lookups=True)[0].dns.use_tcp


def test_failures_back_off():
    config, _ = compiled(dns_failure_refresh_rate={"base_interval": "2s"})
    assert (config.dns.failure_base, config.dns.failure_max) == (2.0, 20.0)
    _, ((path, _reason),) = compiled(dns_failure_refresh_rate={"base_interval": "2s", "max_interval": "1s"})
    assert path == "cache.dns_failure_refresh_rate"


def test_more_names_to_resolve_beforehand_than_fit_are_refused():
    names = [{"address": name, "port_value": 1} for name in "ab"]
    _, problems = compiled(max_hosts=1, preresolve_hostnames=names)
    reason = "DNS Cache [c] configured with preresolve_hostnames=2 larger than max_hosts=1"
    assert problems == [("cache.preresolve_hostnames", reason)]


def test_all_that_name_a_cache_say_the_same_of_it():
    ctx = CompileContext()
    message = dns_cache_pb2.DnsCacheConfig(name="c")
    for path in ("first", "second"):
        compile_dns_cache(message, path, ctx)
    compile_dns_cache(dns_cache_pb2.DnsCacheConfig(name="other", host_ttl={"seconds": 7}), "other", ctx)
    assert not ctx.problems
    compile_dns_cache(dns_cache_pb2.DnsCacheConfig(name="c", host_ttl={"seconds": 7}), "third", ctx)
    (problem,) = ctx.problems
    assert (problem.path, problem.reason) == (
        "third",
        "config specified DNS cache 'c' with different settings",
    )
