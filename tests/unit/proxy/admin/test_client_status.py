"""What `/csds` says of resources; the page as a whole is tested in `test_discovery_handlers.py`."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.status.v3 import csds_pb2

from proxy.admin.client_status import xds_configs
from proxy.admin.discovered import Discovered, Refusal
from proxy.admin.state import ConfigResource
from tests.support.admin_state import FakeAdminState
from xds_client.api import ClientStatus
from xds_client.resource_types import ResourceType

BODY = cluster_pb2.Cluster(name="c").SerializeToString()


def told(one: Discovered) -> Any:
    state = FakeAdminState()
    state.found = [one]
    (entry,) = [entry for entry in xds_configs(state) if not entry.is_static_resource]
    return entry


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (ClientStatus.REQUESTED, csds_pb2.NOT_SENT),
        (ClientStatus.DOES_NOT_EXIST, csds_pb2.NOT_SENT),
        (ClientStatus.TIMEOUT, csds_pb2.NOT_SENT),
        (ClientStatus.ACKED, csds_pb2.SYNCED),
        (ClientStatus.NACKED, csds_pb2.ERROR),
        (ClientStatus.RECEIVED_ERROR, csds_pb2.ERROR),
        (ClientStatus.UNKNOWN, csds_pb2.UNKNOWN),
    ],
)
def test_the_clients_view_becomes_that_of_the_config(status: ClientStatus, expected: int) -> None:
    entry = told(Discovered(ResourceType.CLUSTER, "c", "ads", status))
    assert (entry.client_status, entry.config_status) == (status.value, expected)
    assert not entry.HasField("xds_config")
    assert not entry.HasField("last_updated")


def test_what_is_in_use_is_shown_beside_what_was_refused() -> None:
    refusal = Refusal("2", "connect_timeout: is wrong", "connect_timeout", 1_700_000_000.5, b"")
    entry = told(
        Discovered(ResourceType.CLUSTER, "c", "ads", ClientStatus.NACKED, "1", 5.25, BODY, refusal=refusal)
    )
    assert entry.version_info == "1"
    assert entry.last_updated.ToMilliseconds() == 5250
    assert (entry.xds_config.type_url, entry.xds_config.value) == (ResourceType.CLUSTER.type_url, BODY)
    assert (entry.error_state.version_info, entry.error_state.details) == ("2", "connect_timeout: is wrong")
    assert entry.error_state.last_update_attempt.ToMilliseconds() == 1_700_000_000_500


@pytest.mark.parametrize("kind", [ResourceType.SCOPED_ROUTE, ResourceType.VIRTUAL_HOST])
def test_what_was_put_together_here_is_no_resource_of_the_type(kind: ResourceType) -> None:
    assert not told(Discovered(kind, "r", "ads", ClientStatus.ACKED, serialized=b"x")).HasField("xds_config")


def test_static_resources_come_first_and_discovered_ones_once() -> None:
    state = FakeAdminState()
    state.dynamic = {"clusters": [ConfigResource("c", BODY, 5.0, dynamic=True)]}
    state.found = [Discovered(ResourceType.CLUSTER, "c", "ads", ClientStatus.ACKED, serialized=BODY)]
    entries = list(xds_configs(state))
    static = [entry.name for entry in entries if entry.is_static_resource]
    assert static == ["dead", "svc", "main", "mine"]
    assert [entry.name for entry in entries] == [*static, "c"]
    assert all(entry.config_status == csds_pb2.SYNCED for entry in entries)
