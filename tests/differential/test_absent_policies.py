"""Load balancing policies that Envoy does not have either (`pick_first`), alone and before others."""

from __future__ import annotations

import time
from typing import Any, Final

import envoy.extensions.load_balancing_policies.pick_first.v3.pick_first_pb2
import envoy.extensions.load_balancing_policies.random.v3.random_pb2
import envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2
import envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2  # noqa: F401  # for their types

from tests.support.client import get
from tests.support.configs import Json, typed
from tests.support.configs import cluster as static_cluster
from tests.support.differential import same_verdict
from tests.support.envoy import Envoy
from tests.support.mesh import cluster, endpoints, listener, mesh, route_config
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from xds_client.resource_types import ResourceType

PICK_FIRST: Final = "pick_first.v3.PickFirst"
ROUND_ROBIN: Final = "round_robin.v3.RoundRobin"


def policies(*names: str) -> Json:
    made = []
    for name in names:
        config = typed(f"envoy.extensions.load_balancing_policies.{name}")
        made.append({"typed_extension_config": {"name": name, "typed_config": config}})
    return {"load_balancing_policy": {"policies": made}}


def test_alone_in_a_file() -> None:
    config = {"static_resources": {"clusters": [static_cluster("a", 1, **policies(PICK_FIRST))]}}
    accepted, text = same_verdict(config)
    assert not accepted
    assert "pick_first" in text


def test_before_another_in_a_file() -> None:
    config = {"static_resources": {"clusters": [static_cluster("a", 1, **policies(PICK_FIRST, ROUND_ROBIN))]}}
    accepted, text = same_verdict(config)
    assert accepted
    assert "policies[0]" in text
    assert "the next policy of the list is tried" in text


def discovered(kind: type[ProxyProcess]) -> dict[str, Any]:
    """What becomes of both when a control plane brings them."""
    with Origin() as first, Origin() as second, mesh(kind) as (server, proxy):
        server.set(
            cluster("alone", **policies(PICK_FIRST)),
            cluster("before", **policies(PICK_FIRST, ROUND_ROBIN, "random.v3.Random")),
            endpoints("before", first.port, second.port),
            listener("l", proxy.ports["first"], "r"),
            route_config("r", {"/alone": "alone", "/": "before"}),
        )
        proxy.wait_ready(20)
        deadline = time.monotonic() + 10
        while not server.nacks(ResourceType.CLUSTER) and time.monotonic() < deadline:
            time.sleep(0.02)
        (refusal, *_) = server.nacks(ResourceType.CLUSTER)
        statuses = [get(proxy.port, path).status for path in ("/alone", *["/"] * 6)]
        return {
            "statuses": statuses,
            "alone": "alone" in refusal,
            "before": "before" in refusal,
            "asked": [len(first.requests), len(second.requests)],
        }


def test_from_a_control_plane() -> None:
    envoy_did, outrider_did = discovered(Envoy), discovered(subject())
    assert outrider_did == envoy_did
    assert outrider_did["asked"] == [3, 3]
