from __future__ import annotations

import json
import re
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from msgspec.structs import replace

from proxy.admin.discovered import Discovered, DiscoveredType, Missing, Readiness, Refusal, Snapshot
from tests.support.admin_state import FakeAdminState, ask
from xds_client.api import ClientStatus, StreamStatus
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT

SERVING = Discovered(
    CDS,
    "good",
    "ads",
    ClientStatus.ACKED,
    "3",
    1_700_000_000.25,
    cluster_pb2.Cluster(name="good").SerializeToString(),
)
REFUSED = Discovered(
    CDS,
    "bad",
    "ads",
    ClientStatus.NACKED,
    refusal=Refusal("4", "connect_timeout: is wrong", "connect_timeout", 1_700_000_001.0, b""),
)
AWAITED = Discovered(EDS, "late", "ads", ClientStatus.REQUESTED, waiting_since=1_700_000_000.0)
WARMING = Discovered(
    CDS, "warm", "ads", ClientStatus.ACKED, "4", waiting_since=1.0, waiting_for=("secret s",), warming=True
)


def state(**fields: Any) -> FakeAdminState:
    fake = FakeAdminState()
    fake.found = [SERVING, REFUSED, WARMING, AWAITED]
    fake.types = [DiscoveredType(CDS, "ads", "3", "4", "bad: connect_timeout: is wrong")]
    stream = StreamStatus("ads", "10.0.0.1:80", True, "pilot-1", "", 1_700_000_000.0)
    fake.ready = Readiness(streams=[stream], **fields)
    return fake


def test_ready_in_json_names_what_is_missing_and_the_last_refusal() -> None:
    fake = state(missing=[Missing("secret", "s", 1_700_000_000.0)], refused=REFUSED)
    status, _, text = ask(fake, "/ready?format=json")
    tree = json.loads(text)
    assert (status, tree["state"], tree["ready"]) == (503, "LIVE", False)
    (missing,) = tree["missing"]
    assert missing.pop("seconds") > 0
    assert missing == {"kind": "secret", "name": "s", "since": "2023-11-14T22:13:20.000Z", "blocking": True}
    assert tree["last_nack"] == {
        "type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "bad",
        "version": "4",
        "path": "connect_timeout",
        "reason": "connect_timeout: is wrong",
        "at": "2023-11-14T22:13:21.000Z",
    }
    assert ask(fake, "/ready")[::2] == (200, "LIVE\n")


def test_what_was_promised_later_does_not_take_readiness_away() -> None:
    fake = state(missing=[Missing("listener", "l", 1.0, ("route table r",), blocking=False)])
    status, _, text = ask(fake, "/ready?format=json")
    tree = json.loads(text)
    assert (status, tree["ready"]) == (200, True)
    assert tree["missing"][0]["waiting_for"] == ["route table r"]


def test_ready_is_never_true_while_draining() -> None:
    fake = state()
    fake.facts = replace(fake.facts, state="DRAINING")
    assert ask(fake, "/ready?format=json")[0] == 503


def test_ready_tells_of_a_snapshot_in_use() -> None:
    snapshot = Snapshot("/state/x.snapshot", 0.0, 1_700_000_000.0, ((CDS, 2),))
    tree = json.loads(ask(state(snapshot=snapshot), "/ready?format=json")[2])["snapshot"]
    assert tree.pop("age_seconds") > 0
    assert tree == {
        "path": "/state/x.snapshot",
        "in_use": True,
        "confirmed": "2023-11-14T22:13:20.000Z",
        "resources": {"cluster": 2},
    }


def test_xds_has_a_line_for_every_stream_type_and_resource() -> None:
    text = re.sub(r"(age|waiting)_seconds=[\d.]+", r"\1_seconds=N", ask(state(), "/xds")[2])
    assert text.splitlines() == [
        "stream ads server=10.0.0.1:80 connected=true connected_since=2023-11-14T22:13:20.000Z identifier=pilot-1",
        'type cluster source=ads version=3 rejected_version=4 rejected_reason="bad: connect_timeout: is wrong"',
        "cluster good source=ads status=ACKED version=3 updated=2023-11-14T22:13:20.250Z age_seconds=N",
        (
            "cluster bad source=ads status=NACKED rejected_version=4 rejected_path=connect_timeout "
            'rejected_reason="connect_timeout: is wrong" rejected_at=2023-11-14T22:13:21.000Z'
        ),
        'cluster warm source=ads status=WARMING version=4 waiting_seconds=N waiting_for=["secret s"]',
        "endpoint late source=ads status=REQUESTED waiting_seconds=N",
    ]


def test_xds_can_be_narrowed_down() -> None:
    tree = json.loads(ask(state(), "/xds?format=json&type=cluster&filter=^g")[2])
    assert [one["name"] for one in tree["resources"]] == ["good"]
    assert tree["types"][0]["rejected_version"] == "4"
    assert tree["streams"][0]["identifier"] == "pilot-1"
    assert ask(state(), "/xds?type=bogus")[0] == 400
    assert ask(state(), "/xds?filter=(")[0] == 400


def test_csds_has_the_status_of_every_resource_with_static_ones() -> None:
    (config,) = json.loads(ask(state(), "/csds")[2])["config"]
    assert config["node"] == {"id": "n1"}
    found = {one["name"]: one for one in config["generic_xds_configs"]}
    assert found["svc"]["is_static_resource"] is True
    assert "PRIVATE" not in json.dumps(config)
    good = found["good"]
    assert good["xds_config"] == {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "good",
    }
    assert (good["client_status"], good["config_status"], good["version_info"]) == ("ACKED", "SYNCED", "3")
    assert found["bad"]["error_state"]["details"] == "connect_timeout: is wrong"
    assert found["bad"]["config_status"] == "ERROR"
    assert (found["late"]["client_status"], found["late"]["config_status"]) == ("REQUESTED", "NOT_SENT")
