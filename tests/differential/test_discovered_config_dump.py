"""What the admin server tells of discovered resources, while they come, warm and are refused, beside Envoy."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from envoy.config.core.v3 import extension_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import scoped_route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from tests.support.configs import address, typed
from tests.support.configs import listener as listener_tree
from tests.support.envoy import Envoy
from tests.support.mesh import ADS, cluster, endpoints, listener, mesh, parsed, route_config
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, EDS, LDS, RDS = ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.LISTENER, ResourceType.ROUTE
SDS, ECDS, SCOPES = ResourceType.SECRET, ResourceType.EXTENSION_CONFIG, ResourceType.SCOPED_ROUTE
TLS = "envoy.extensions.transport_sockets.tls.v3"
BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"

WARMING = ("warming_clusters", "warming_secrets", "listeners")

#: Field 15375, of which no proto knows.
UNKNOWN = b"\xf8\xc0\x07\x01"


@dataclass
class Side:
    server: XdsServer
    proxy: ProxyProcess
    origin: Origin

    def tree(self, path: str) -> Any:
        return json.loads(self.proxy.admin(path)[1])

    def section(self, name: str, path: str = "/config_dump") -> Any:
        """One section; {} if it has nothing or is not there."""
        sections = {one["@type"].rpartition(".")[2]: one for one in self.tree(path)["configs"]}
        found = sections.get(name, {})
        found.pop("@type", None)
        return self._comparable(found)

    def _comparable(self, value: Any) -> Any:
        """Without what differs from run to run, and without what Envoy has fields for but never fills.

        Those are the client status of every resource, the version and time of a refusal, and what is known of
        endpoints. Reasons are in words of our own.
        """
        ours = {"last_updated", "last_update_attempt", "client_status", "details"}
        if isinstance(value, list):
            return [self._comparable(one) for one in value]
        if not isinstance(value, dict):
            names = {port: name for name, port in self.proxy.ports.items()}
            names |= {self.server.port: "xds", self.origin.port: "origin"}
            return names.get(value, value) if isinstance(value, int) else value
        result = {key: self._comparable(one) for key, one in value.items() if key not in ours}
        if "failed_configuration" in result or "endpoint_config" in result:
            result.pop("version_info", None)
            result.pop("error_state", None)
        return result

    def eventually(self, check: Callable[[], object], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.02)


@dataclass
class Both:
    sides: tuple[Side, Side]

    def do(self, work: Callable[[Side], Any]) -> None:
        """Do it on both sides, and compare what it returns."""
        with ThreadPoolExecutor(2) as pool:
            envoy, outrider = pool.map(work, self.sides)
        assert outrider == envoy


@pytest.fixture
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    options = getattr(request, "param", {})
    with ExitStack() as stack:
        sides = []
        for kind in (Envoy, subject()):
            origin = stack.enter_context(Origin())
            server, proxy = stack.enter_context(mesh(kind, **options))
            sides.append(Side(server, proxy, origin))
        yield Both((sides[0], sides[1]))


def fill(side: Side) -> None:
    """One listener, one route, one cluster."""
    side.server.set(
        cluster("c"),
        endpoints("c", side.origin.port),
        route_config("r", "c"),
        listener("l", side.proxy.ports["first"], "r"),
    )


def waiting(side: Side) -> list[tuple[str, list[str]]]:
    """`/init_dump`, without the number of the manager."""
    dumps = side.tree("/init_dump").get("unready_targets_dumps", [])
    return [(re.sub(r" \d+$", "", one["name"]), one["target_names"]) for one in dumps]


@pytest.mark.parametrize("both", [{}, {"delta": True}], ids=["sotw", "delta"], indirect=True)
def test_from_the_first_answer_to_live(both: Both) -> None:
    def early(side: Side) -> Any:
        side.server.hold(RDS)
        fill(side)
        side.server.wait_for(lambda: "r" in side.server.subscribed(RDS))
        return side.proxy.admin("/ready"), waiting(side), side.section("ListenersConfigDump")

    def late(side: Side) -> Any:
        side.server.release(RDS)
        side.proxy.wait_ready(20)
        names = ("ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump", "SecretsConfigDump")
        return (
            waiting(side),
            [side.section(name) for name in names],
            side.section("EndpointsConfigDump", "/config_dump?include_eds"),
        )

    both.do(early)
    both.do(late)


def test_a_cluster_and_a_listener_that_warm_are_shown_apart(both: Both) -> None:
    def warm(side: Side) -> Any:
        fill(side)
        side.proxy.wait_ready(20)
        secret = {"name": "cert", "sds_config": ADS}
        context = {"common_tls_context": {"tls_certificate_sds_secret_configs": [secret]}}
        socket = {"name": "tls", "typed_config": typed(f"{TLS}.DownstreamTlsContext", **context)}
        changed = parsed(listener_pb2.Listener(), {"filter_chains": [{"transport_socket": socket}]})
        message = listener("tls", side.proxy.ports["second"], "r")
        message.filter_chains[0].transport_socket.CopyFrom(changed.filter_chains[0].transport_socket)
        side.server.set(cluster("late"), message)
        side.server.wait_for(lambda: {"late"} <= side.server.subscribed(EDS))
        side.server.wait_for(lambda: {"cert"} <= side.server.subscribed(SDS))
        return (
            side.proxy.admin("/ready"),
            waiting(side),
            side.section("ClustersConfigDump"),
            side.section("ListenersConfigDump"),
            side.section("SecretsConfigDump"),
            [len(side.tree(f"/config_dump?resource=dynamic_{name}")["configs"]) for name in WARMING],
        )

    both.do(warm)


def test_a_secret_that_has_come_is_active(both: Both) -> None:
    def come(side: Side) -> Any:
        ca = {"name": "ca", "sds_config": ADS}
        context = {"common_tls_context": {"validation_context_sds_secret_config": ca}}
        socket = {"name": "tls", "typed_config": typed(f"{TLS}.UpstreamTlsContext", **context)}
        fill(side)
        side.server.set(
            cluster("t", type="STATIC", transport_socket=socket),
            parsed(secret_pb2.Secret(), {"name": "ca", "validation_context": {}}),
        )
        side.proxy.wait_ready(20)
        side.eventually(lambda: "dynamic_active_secrets" in side.section("SecretsConfigDump"))
        return side.section("SecretsConfigDump")

    both.do(come)


def test_a_refused_listener_is_shown_with_what_was_refused(both: Both) -> None:
    def refuse(side: Side) -> Any:
        fill(side)
        side.proxy.wait_ready(20)
        bad = listener("bad", 0, "r")
        bad.ClearField("address")
        side.server.set(bad)
        side.server.wait_for(lambda: side.server.nacks(LDS))
        found = side.section("ListenersConfigDump")
        states = [one.get("error_state") for one in found["dynamic_listeners"]]
        active = [one["active_state"] for one in found["dynamic_listeners"] if "active_state" in one]
        return found["version_info"], active, states

    both.do(refuse)


def test_scopes_and_filters_have_their_sections(both: Both) -> None:
    def scoped(side: Side) -> Any:
        router = {"name": "router", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router")}
        discovered = {"config_source": ADS, "type_urls": [f"type.googleapis.com/{BUFFER}"]}
        builder = {"header_value_extractor": {"name": "a", "index": 0, "element_separator": ","}}
        manager = {
            "stat_prefix": "s",
            "scoped_routes": {
                "name": "scopes",
                "scope_key_builder": {"fragments": [builder]},
                "rds_config_source": ADS,
                "scoped_rds": {"scoped_rds_config_source": ADS},
            },
            "http_filters": [{"name": "e", "config_discovery": discovered}, router],
        }
        kind = http_connection_manager_pb2.HttpConnectionManager.DESCRIPTOR.full_name
        tree = listener_tree([{"name": "hcm", "typed_config": typed(kind, **manager)}], "l")
        tree["address"] = address(side.proxy.ports["first"])
        key = {"fragments": [{"string_key": "v"}]}
        scope = {"name": "scope", "route_configuration_name": "r", "key": key}
        side.server.hold(ECDS, SCOPES)
        side.server.set(
            cluster("c", type="STATIC"),
            parsed(listener_pb2.Listener(), tree),
            parsed(scoped_route_pb2.ScopedRouteConfiguration(), scope),
            parsed(
                extension_pb2.TypedExtensionConfig(),
                {"name": "e", "typed_config": typed(BUFFER, max_request_bytes=9)},
            ),
            route_config("r", "c"),
        )
        side.server.wait_for(lambda: "e" in side.server.subscribed(ECDS))
        targets = [(name, sorted(found)) for name, found in waiting(side)]
        side.server.release(ECDS, SCOPES)
        side.proxy.wait_ready(20)
        return targets, side.section("EcdsConfigDump"), side.section("ScopedRoutesConfigDump")

    both.do(scoped)


@pytest.mark.parametrize(
    "both",
    [{"arguments": [flag] if flag else []} for flag in ("", "--reject-unknown-dynamic-fields")],
    ids=["allowed", "rejected"],
    indirect=True,
)
def test_unknown_fields_are_counted_or_refused(both: Both) -> None:
    def strange(side: Side) -> Any:
        fill(side)
        side.proxy.wait_ready(20)
        odd = cluster("odd", type="STATIC")
        odd.upstream_connection_options.MergeFromString(UNKNOWN)
        side.server.set(odd, cluster("other", type="STATIC"))
        before = side.server.version(CDS)
        side.server.wait_for(lambda: side.server.acked(CDS, before) or side.server.nacks(CDS))
        side.eventually(lambda: side.proxy.stats("cluster_manager.cds.")["cluster_manager.cds.update_time"])
        reasons = re.findall(r"Protobuf message \(.*?\) has unknown fields", "".join(side.server.nacks(CDS)))
        return (
            reasons,
            side.proxy.stats("server.dynamic_unknown_fields"),
            side.proxy.stats("cluster_manager.active_clusters"),
        )

    both.do(strange)
