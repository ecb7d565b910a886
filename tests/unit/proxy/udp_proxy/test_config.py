from __future__ import annotations

from typing import Any

import pytest
import xxhash
from envoy.extensions.filters.udp.udp_proxy.v3.udp_proxy_pb2 import UdpProxyConfig as Message
from google.protobuf.json_format import ParseDict

from proxy.config.context import CompileContext
from proxy.udp_proxy import config as module
from proxy.udp_proxy.config import DatagramEnds, UdpProxyConfig, compile_udp_proxy
from tests.unit.proxy.matching.test_tree import reads, to, typed


def checked(**fields: Any) -> tuple[UdpProxyConfig, list[str]]:
    context = CompileContext()
    config = compile_udp_proxy(ParseDict({"stat_prefix": "u", **fields}, Message()), "udp", context)
    return config, [str(problem) for problem in context.problems]


def compiled(**fields: Any) -> UdpProxyConfig:
    config, problems = checked(**fields)
    assert not problems
    return config


def test_defaults_are_envoy_s() -> None:
    config = compiled(cluster="a")
    assert (config.idle_timeout, config.log_interval, config.max_answer_size) == (60.0, 0.0, 24000)
    assert config.cluster_names == ("a",)
    assert not config.per_packet
    assert not config.use_original_src_ip


def test_without_gro_answers_are_as_small_as_asked_for() -> None:
    sizes = {"max_rx_datagram_size": 9000}
    assert compiled(cluster="a", upstream_socket_config=sizes).max_answer_size == 65535
    assert (
        compiled(cluster="a", upstream_socket_config={**sizes, "prefer_gro": False}).max_answer_size == 9000
    )


def test_a_matcher_names_its_clusters() -> None:
    tree = {
        "input": reads("SourceIPInput"),
        "exact_match_map": {"map": {"10.0.0.1": to("a"), "10.0.0.2": to("b")}},
    }
    config = compiled(matcher={"matcher_tree": tree, "on_no_match": to("a")})
    assert sorted(config.cluster_names) == ["a", "b"]
    assert config.route is not None
    assert config.route(DatagramEnds("10.0.0.2", 1, "10.0.0.9", 53)) == "b"
    assert config.route(DatagramEnds("10.0.0.3", 1, "10.0.0.9", 53)) == "a"


def test_only_a_route_is_an_action() -> None:
    action = {"action": typed("envoy.extensions.filters.network.echo.v3.Echo")}
    (problem,) = checked(matcher={"on_no_match": action})[1]
    assert problem.endswith("echo.v3.Echo is not the Route of a UDP proxy")


def test_hashes_of_the_client_and_of_a_key() -> None:
    by_source = compiled(cluster="a", hash_policies=[{"source_ip": True}]).hash
    by_key = compiled(cluster="a", hash_policies=[{"key": "k"}]).hash
    assert by_source is not None
    assert by_key is not None
    assert by_source("10.0.0.1") == xxhash.xxh64_intdigest(b"10.0.0.1")
    assert by_key("10.0.0.1") == by_key("10.0.0.2") == xxhash.xxh64_intdigest(b"k")


@pytest.mark.parametrize("allowed", [True, False])
def test_the_client_s_address_is_used_only_where_the_kernel_allows_it(
    monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    def make_transparent(_one: object) -> None:
        if not allowed:
            raise PermissionError

    monkeypatch.setattr(module, "make_transparent", make_transparent)
    problems = checked(cluster="a", use_original_src_ip=True)[1]
    assert problems == (
        []
        if allowed
        else ["udp.use_original_src_ip: the kernel refuses IP_TRANSPARENT: it needs CAP_NET_ADMIN"]
    )
