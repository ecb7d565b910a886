from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import xxhash
from envoy.config.route.v3.route_components_pb2 import RouteAction

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.config.context import CompileContext
from proxy.router.hash_policy import compile_hash_policy
from proxy.tcp_proxy.client_hash import client_hash

CLIENT = ConnectionInfo(1, Address("10.0.0.9", 4000), Address("10.0.0.1", 80), 0.0, DrainState())
OF_FILTER: Any = SimpleNamespace(hash=lambda connection: connection.remote_address.port)


def cluster(*, hashes: bool = True, rule: dict[str, Any] | None = None) -> Any:
    rules = [] if rule is None else [RouteAction.HashPolicy(**rule)]
    policy = compile_hash_policy(rules, "", CompileContext())
    return SimpleNamespace(
        hashes=hashes, config=SimpleNamespace(lb=SimpleNamespace(hashing=SimpleNamespace(policy=policy)))
    )


def test_the_filter_hashes_for_a_balancer_that_wants_it() -> None:
    assert client_hash(OF_FILTER, CLIENT, cluster()) == 4000
    assert client_hash(OF_FILTER, CLIENT, cluster(hashes=False)) is None
    assert client_hash(SimpleNamespace(hash=None), CLIENT, cluster()) is None


def test_a_balancers_own_policy_counts_first() -> None:
    own = cluster(rule={"connection_properties": {"source_ip": True}})
    assert client_hash(OF_FILTER, CLIENT, own) == xxhash.xxh64_intdigest(b"10.0.0.9")


def test_a_connection_has_no_fields_of_a_request() -> None:
    assert client_hash(OF_FILTER, CLIENT, cluster(rule={"header": {"header_name": "x-key"}})) is None
    assert client_hash(OF_FILTER, CLIENT, cluster(rule={"query_parameter": {"name": "k"}})) is None
