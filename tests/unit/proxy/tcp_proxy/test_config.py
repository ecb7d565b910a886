from __future__ import annotations

from typing import Any

import pytest
import xxhash
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.json_format import ParseDict

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.config.context import CompileContext
from proxy.tcp_proxy.config import CLUSTER_KEY, IDLE_TIMEOUT_KEY, TcpProxyConfig, compile_tcp_proxy


def compiled(**fields: Any) -> TcpProxyConfig:
    context = CompileContext()
    config = compile_tcp_proxy(ParseDict({"stat_prefix": "t", **fields}, TcpProxy()), "tcp", context)
    assert not context.problems
    return config


def connection(**filter_state: Any) -> ConnectionInfo:
    made = ConnectionInfo(1, Address("10.1.2.3", 4000), Address("127.0.0.1", 80), 0.0, DrainState())
    made.filter_state = filter_state
    return made


def test_defaults_are_envoy_s() -> None:
    config = compiled(cluster="a")
    assert (config.idle_timeout, config.max_attempts, config.max_duration) == (3600.0, 1, 0.0)


def test_an_idle_timeout_of_zero_is_none() -> None:
    assert compiled(cluster="a", idle_timeout="0s").idle_timeout == 0.0


def test_a_connection_may_bring_its_own_cluster_and_idle_timeout() -> None:
    config = compiled(cluster="a")
    own = connection(**{CLUSTER_KEY: "b", IDLE_TIMEOUT_KEY: "1500"})
    assert config.cluster_for(own, lambda: 0) == "b"
    assert config.idle_timeout_for(own) == 1.5
    assert config.cluster_for(connection(), lambda: 0) == "a"


def test_weighted_clusters_are_not_overridden() -> None:
    entries = [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]
    config = compiled(weighted_clusters={"clusters": entries})
    own = connection(**{CLUSTER_KEY: "c"})
    assert [config.cluster_for(own, lambda n=n: n) for n in range(5)] == ["a", "b", "b", "b", "a"]


@pytest.mark.parametrize("where", ["top", "options"])
def test_both_places_of_the_log_options_count(where: str) -> None:
    options = {"access_log_flush_interval": "2s", "flush_access_log_on_connected": True}
    config = compiled(cluster="a", **(options if where == "top" else {"access_log_options": options}))
    assert (config.log_interval, config.logs_connected) == (2.0, True)


def test_a_hash_of_the_client_s_ip() -> None:
    config = compiled(cluster="a", hash_policy=[{"source_ip": {}}])
    assert config.hash is not None
    assert config.hash(connection()) == xxhash.xxh64_intdigest(b"10.1.2.3")


def test_a_hash_of_filter_state_is_none_without_it() -> None:
    config = compiled(cluster="a", hash_policy=[{"filter_state": {"key": "k"}}])
    assert config.hash is not None
    assert config.hash(connection()) is None
    assert config.hash(connection(k="v")) == xxhash.xxh64_intdigest(b"v")
