from __future__ import annotations

import json

import pytest
from envoy.admin.v3 import memory_pb2
from msgspec.structs import replace

from proxy.admin.state import ServerStateName
from proxy.admin.status_handlers import json_response
from tests.support.admin_state import FakeAdminState, ask


@pytest.mark.parametrize(
    ("state_name", "status"),
    [("LIVE", 200), ("DRAINING", 503), ("INITIALIZING", 503), ("PRE_INITIALIZING", 503)],
)
def test_ready_only_when_live(state_name: ServerStateName, status: int) -> None:
    state = FakeAdminState()
    state.facts = replace(state.facts, state=state_name)
    assert ask(state, "/ready")[::2] == (status, state_name + "\n")


def test_server_info_has_every_field_of_envoys() -> None:
    info = json.loads(ask(FakeAdminState(), "/server_info")[2])
    assert info["state"] == "LIVE"
    assert info["uptime_current_epoch"] == "12s"
    assert info["hot_restart_version"] == "disabled"
    assert info["node"]["id"] == "n1"


def test_clusters_as_text() -> None:
    lines = ask(FakeAdminState(), "/clusters")[2].splitlines()
    assert lines[:10] == [
        "dead::observability_name::dead",
        "dead::default_priority::max_connections::7",
        "dead::default_priority::max_pending_requests::1024",
        "dead::default_priority::max_requests::1024",
        "dead::default_priority::max_retries::3",
        "dead::high_priority::max_connections::1024",
        "dead::high_priority::max_pending_requests::1024",
        "dead::high_priority::max_requests::1024",
        "dead::high_priority::max_retries::3",
        "dead::added_via_api::false",
    ]
    assert lines[11:15] == [
        "svc::outlier::success_rate_average::99",
        "svc::outlier::success_rate_ejection_threshold::90",
        "svc::outlier::local_origin_success_rate_average::-1",
        "svc::outlier::local_origin_success_rate_ejection_threshold::-1",
    ]
    start = lines.index("svc::127.0.0.1:81::cx_active::0")
    assert lines[start : start + 19] == [
        f"svc::127.0.0.1:81::{rest}"
        for rest in (
            "cx_active::0", "cx_connect_fail::0", "cx_total::2", "rq_active::1", "rq_error::0",
            "rq_pending_active::0", "rq_success::0", "rq_timeout::0", "rq_total::0", "hostname::one",
            "health_flags::/failed_active_hc/failed_eds_health", "weight::3", "region::r", "zone::z",
            "sub_zone::", "canary::true", "priority::0", "success_rate::98.5",
            "local_origin_success_rate::-1",
        )
    ]  # fmt: skip
    assert "svc::/run/x.sock::health_flags::healthy" in lines


def test_clusters_as_json() -> None:
    statuses = json.loads(ask(FakeAdminState(), "/clusters?format=json")[2])["cluster_statuses"]
    assert statuses[0]["circuit_breakers"]["thresholds"][1] == {
        "priority": "HIGH",
        "max_connections": 1024,
        "max_pending_requests": 1024,
        "max_requests": 1024,
        "max_retries": 3,
    }
    host = statuses[1]["host_statuses"][0]
    assert host["health_status"] == {"failed_active_health_check": True, "eds_health_status": "UNHEALTHY"}
    assert {"name": "cx_total", "value": "2"} in host["stats"]
    assert {"name": "rq_active", "value": "1", "type": "GAUGE"} in host["stats"]
    assert host["success_rate"] == {"value": 98.5}
    assert "local_origin_success_rate" not in host
    assert statuses[1]["host_statuses"][1]["address"] == {"pipe": {"path": "/run/x.sock"}}
    assert statuses[1]["success_rate_ejection_threshold"] == {"value": 90.0}


def test_clusters_can_be_filtered() -> None:
    text = ask(FakeAdminState(), "/clusters?filter=^d")[2]
    assert {line.split("::")[0] for line in text.splitlines()} == {"dead"}
    assert json.loads(ask(FakeAdminState(), "/clusters?format=json&filter=none")[2]) == {}
    assert ask(FakeAdminState(), "/clusters?filter=[")[0] == 400


def test_listeners_show_every_address() -> None:
    assert ask(FakeAdminState(), "/listeners")[2] == "main::0.0.0.0:80\nmain::[::1]:80\n"
    (status,) = json.loads(ask(FakeAdminState(), "/listeners?format=json")[2])["listener_statuses"]
    assert status["local_address"]["socket_address"]["address"] == "0.0.0.0"
    assert status["additional_local_addresses"][0]["socket_address"]["address"] == "::1"


def test_init_dump_names_what_is_waited_for() -> None:
    state = FakeAdminState()
    assert ask(state, "/init_dump")[2] == "{}\n"
    state.unready = {"Listener-local-init-manager x": ["RdsRouteConfigSubscription r"], "done": []}
    (entry,) = json.loads(ask(state, "/init_dump?mask=listener")[2])["unready_targets_dumps"]
    assert entry["target_names"] == ["RdsRouteConfigSubscription r"]
    assert ask(state, "/init_dump?mask=other")[2] == "{}\n"


def test_small_ones() -> None:
    assert ask(FakeAdminState(), "/hot_restart_version")[2] == "disabled"
    assert json.loads(ask(FakeAdminState(), "/memory")[2])["allocated"] == "0"
    assert json.loads(ask(FakeAdminState(), "/certs")[2]) == {"certificates": []}
    assert json_response(memory_pb2.Memory()).body == "{}\n"
