from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from msgspec.structs import replace

from proxy.app.discovery_view import DiscoveryView
from tests.unit.proxy.discovery.tables import Tables, cluster, eds_cluster, endpoints, listener, routes, run
from xds_client.api import ClientStatus, ResourceStatus, Status, StreamStatus, TypeStatus
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT
LDS, RDS = ResourceType.LISTENER, ResourceType.ROUTE
STREAM = StreamStatus("ads", "127.0.0.1:1", False, last_error="refused")


class Client:
    """A client with one broken stream, which knows of one resource that no table holds."""

    def stream_status(self, _kind: ResourceType, _source: Any) -> StreamStatus:
        return STREAM

    def streams(self) -> tuple[StreamStatus, ...]:
        return (STREAM,)

    def __init__(self) -> None:
        self.scope = ResourceStatus("scope", ClientStatus.REQUESTED, waiting_since=990.0)
        self.rejected = ""

    def types(self) -> tuple[TypeStatus, ...]:
        return (TypeStatus(ResourceType.SCOPED_ROUTE, "ads", "4", "", self.rejected, False, ()),)

    def status(self) -> Status:
        return Status((STREAM,), tuple(replace(one, resources=(self.scope,)) for one in self.types()))


def view(
    tables: Tables,
    state: str = "LIVE",
    live_since: float = 2000.0,
    client: Client | None = None,
    **fields: Any,
) -> DiscoveryView:
    discovery = SimpleNamespace(client=client or Client(), awaited={}, versions={CDS: "7"})
    controller = SimpleNamespace(
        clusters=tables.clusters,
        listeners=tables.listeners,
        wanted=tables.wanted,
        control_planes=SimpleNamespace(discovery=discovery, surviving=None),
        bootstrap=bootstrap_pb2.Bootstrap(),
        life=SimpleNamespace(state=state),
        live_since=live_since,
        loaded_at=1.0,
        **fields,
    )
    controller.bootstrap.dynamic_resources.cds_config.ads.SetInParent()
    return DiscoveryView(controller)  # type: ignore[arg-type]


def test_a_cluster_is_shown_as_it_serves_as_it_warms_and_as_it_was_refused() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, cluster("c"))
        changed = eds_cluster("c")
        await tables.bring(CDS, changed, version="2")
        bad = cluster("bad")
        bad.eds_cluster_config.service_name = "x"
        bad.type = bad.EDS
        await tables.bring(CDS, bad, version="3")
        one, refused = view(tables).clusters()
        assert (one.version_info, one.serialized) == ("1", cluster("c").SerializeToString())
        assert one.pending is not None
        assert (one.pending.version_info, one.pending.serialized) == ("2", changed.SerializeToString())
        assert (refused.name, refused.serialized) == ("bad", b"")
        assert refused.refusal is not None
        assert refused.refusal.version == "3"
        assert refused.refusal.path == "eds_cluster_config.eds_config"

    run(test)


def test_what_is_not_here_is_missing_with_what_it_waits_for() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("l", "r"))
        first, second = view(tables).readiness().missing
        assert (first.kind, first.name, first.waiting_for) == ("listener", "l", ("route table r",))
        assert (second.kind, second.name, second.since) == ("route table", "r", 1000.0)
        assert first.blocking
        assert not any(one.blocking for one in view(tables, live_since=500.0).readiness().missing)
        await tables.bring(RDS, routes("r"))
        assert view(tables).readiness().missing == []

    run(test)


def test_a_listener_waits_for_targets_that_envoy_names() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("l", "r"))
        ((manager, targets),) = view(tables).unready_targets().items()
        assert manager.startswith("init manager Listener-local-init-manager l ")
        assert targets == ["shared target RdsRouteConfigSubscription RDS init r"]

    run(test)


def test_every_resource_is_listed_once_with_its_table_and_with_the_client() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, eds_cluster("e"), cluster("s"))
        await tables.bring(EDS, endpoints("e", 80))
        found = {(one.type, one.name): one for one in view(tables).resources()}
        assert set(found) == {(ResourceType.SCOPED_ROUTE, "scope"), (CDS, "s"), (CDS, "e"), (EDS, "e")}
        assert found[CDS, "e"].status is ClientStatus.ACKED
        assert found[EDS, "e"].serialized == endpoints("e", 80).SerializeToString()
        assert found[ResourceType.SCOPED_ROUTE, "scope"].waiting_since == 990.0
        assert {one.source for one in found.values()} == {"ads"}

    run(test)


def test_the_newest_refusal_is_told() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, eds_cluster("e"))
        bad = endpoints("e", 80)
        bad.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "nowhere"
        await tables.bring(EDS, bad, version="9")
        refused = view(tables).readiness().refused
        assert refused is not None
        assert refused.refusal is not None
        assert (refused.name, refused.refusal.version, refused.status) == ("e", "9", ClientStatus.NACKED)
        assert "malformed IP address" in refused.refusal.reason

    run(test)


def test_a_refusal_of_a_whole_response_is_told_though_no_table_knows_of_it() -> None:
    async def test(tables: Tables) -> None:
        client = Client()
        client.rejected = "scope: key.fragments[0]: must be set"
        client.scope = ResourceStatus(
            "scope",
            ClientStatus.NACKED,
            rejected_version="5",
            rejected_reason="key.fragments[0]: must be set",
            rejected_at=1200.0,
        )
        refused = view(tables, client=client).readiness().refused
        assert refused is not None
        assert refused.refusal is not None
        assert (refused.name, refused.refusal.path) == ("scope", "key.fragments[0]")

    run(test)


def test_before_it_is_live_the_proxy_waits_for_lists_and_workers() -> None:
    async def test(tables: Tables) -> None:
        one = view(tables, "INITIALIZING", 0.0)
        assert [missing.kind for missing in one.readiness().missing] == ["workers"]
        assert one.section_version(CDS) == "7"
        assert one.section_version(LDS) == ""
        assert one.types()[0].version == "4"

    run(test)
