from __future__ import annotations

import json
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from proxy.admin.config_dump import section_class
from proxy.admin.discovered import Refusal
from proxy.admin.state import ConfigResource, ResourceKind
from tests.support.admin_state import FakeAdminState, ask
from xds_client.resource_types import ResourceType

_PREFIX = "type.googleapis.com/envoy.admin.v3."


def _configs(target: str, state: FakeAdminState | None = None) -> list[dict[str, Any]]:
    status, content_type, text = ask(state or FakeAdminState(), target)
    assert (status, content_type) == (200, "application/json"), text
    configs: list[dict[str, Any]] = json.loads(text).get("configs", [])
    return configs


def test_all_sections_come_in_the_order_of_envoy() -> None:
    configs = _configs("/config_dump")
    assert [config["@type"].removeprefix(_PREFIX) for config in configs] == [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "ListenersConfigDump",
        "ScopedRoutesConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    ]
    assert configs[0]["bootstrap"]["node"] == {"id": "n1"}
    assert configs[0]["last_updated"] == "2023-11-14T22:13:20.125Z"
    assert [entry["cluster"]["name"] for entry in configs[1]["static_clusters"]] == ["dead", "svc"]
    assert configs[2]["static_listeners"][0]["listener"]["name"] == "main"


def test_route_tables_inside_listeners_are_static_route_configs() -> None:
    (routes,) = _configs("/config_dump?resource=static_route_configs")
    assert routes["route_config"]["name"] == "local_route"
    assert routes["@type"] == _PREFIX + "RoutesConfigDump.StaticRouteConfig"


def test_no_key_leaves_the_process() -> None:
    _, _, text = ask(FakeAdminState(), "/config_dump")
    assert "PRIVATE" not in text
    assert text.count("[redacted]") == 2
    (secret,) = _configs("/config_dump?resource=static_secrets")
    assert secret["secret"]["tls_certificate"]["private_key"] == {"inline_string": "[redacted]"}


def test_endpoints_come_when_asked_for() -> None:
    configs = _configs("/config_dump?include_eds")
    assert configs[2]["@type"] == _PREFIX + "EndpointsConfigDump"
    names = [one["endpoint_config"]["cluster_name"] for one in configs[2]["static_endpoint_configs"]]
    assert names == ["dead", "svc"]


def test_a_name_regex_must_match_the_whole_name() -> None:
    entries = _configs("/config_dump?resource=static_clusters&name_regex=sv.")
    assert [entry["cluster"]["name"] for entry in entries] == ["svc"]
    assert _configs("/config_dump?resource=static_clusters&name_regex=sv") == []


def test_a_mask_with_a_resource_reaches_into_it() -> None:
    entries = _configs("/config_dump?resource=static_clusters&mask=cluster.name")
    assert [set(entry["cluster"]) for entry in entries] == [{"@type", "name"}] * 2
    assert "last_updated" not in entries[0]


def test_a_mask_alone_picks_sections() -> None:
    (bootstrap,) = _configs("/config_dump?mask=bootstrap.node")
    assert bootstrap == {"@type": _PREFIX + "BootstrapConfigDump", "bootstrap": {"node": {"id": "n1"}}}
    (clusters,) = _configs("/config_dump?mask=static_clusters")
    assert len(clusters["static_clusters"]) == 2


def _discovered(kind: ResourceKind, *resources: ConfigResource) -> FakeAdminState:
    state = FakeAdminState()
    state.dynamic[kind] = list(resources)
    return state


def _listener(name: str) -> bytes:
    serialized: bytes = listener_pb2.Listener(name=name).SerializeToString()
    return serialized


def test_dynamic_resources_are_told_from_static_ones() -> None:
    cluster = cluster_pb2.Cluster(name="c").SerializeToString()
    state = _discovered("clusters", ConfigResource("c", cluster, 1_700_000_000, True, "v1"))
    (found,) = _configs("/config_dump?resource=dynamic_active_clusters", state)
    assert found["cluster"]["name"] == "c"
    assert (found["version_info"], found["client_status"]) == ("v1", "ACKED")
    assert found["last_updated"] == "2023-11-14T22:13:20Z"
    assert len(_configs("/config_dump?resource=static_clusters", state)) == 2
    assert ask(state, "/config_dump?resource=dynamic_warming_clusters")[2] == "{}\n"


def test_a_listener_is_shown_in_all_its_states() -> None:
    refusal = Refusal("v3", "no", "", 1_700_000_001, _listener("worse"))
    pending = ConfigResource("l", _listener("new"), 1_700_000_000, True, "v2")
    gone = ConfigResource("l", _listener("gone"), 1_500_000_000, True, "v0")
    one = ConfigResource("l", _listener("old"), 1_600_000_000, True, "v1", pending, refusal, draining=gone)
    (found,) = _configs("/config_dump?resource=dynamic_listeners", _discovered("listeners", one))
    assert found["active_state"]["listener"]["name"] == "old"
    assert found["warming_state"]["listener"]["name"] == "new"
    assert found["draining_state"]["listener"]["name"] == "gone"
    assert (found["active_state"]["version_info"], found["warming_state"]["version_info"]) == ("v1", "v2")
    assert found["client_status"] == "NACKED"
    assert found["error_state"] == {
        "failed_configuration": {
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
            "name": "worse",
        },
        "last_update_attempt": "2023-11-14T22:13:21Z",
        "details": "no",
        "version_info": "v3",
    }


def test_a_cluster_that_was_only_refused_is_among_those_that_warm() -> None:
    one = ConfigResource("c", b"", 0, True, refusal=Refusal("v3", "no"))
    state = _discovered("clusters", one)
    (found,) = _configs("/config_dump?resource=dynamic_warming_clusters", state)
    assert (found["client_status"], found["error_state"]["details"]) == ("NACKED", "no")
    assert ask(state, "/config_dump?resource=dynamic_active_clusters")[2] == "{}\n"


def test_a_secret_that_is_awaited_is_warming_and_one_that_came_is_hidden() -> None:
    stand_in = secret_pb2.Secret(name="s").SerializeToString()
    pending = ConfigResource("s", stand_in, 1_700_000_000, True, "uninitialized")
    here = secret_pb2.Secret(name="h")
    here.tls_certificate.private_key.inline_string = "PRIVATE"
    state = _discovered(
        "secrets",
        ConfigResource("s", b"", 0, True, pending=pending),
        ConfigResource("h", here.SerializeToString(), 1_700_000_000, True, "1"),
    )
    (found,) = _configs("/config_dump?resource=dynamic_warming_secrets", state)
    assert (found["name"], found["version_info"]) == ("s", "uninitialized")
    assert (found["secret"]["name"], found["client_status"]) == ("s", "REQUESTED")
    (active,) = _configs("/config_dump?resource=dynamic_active_secrets", state)
    assert active["secret"]["tls_certificate"]["private_key"] == {"inline_string": "[redacted]"}


def test_sections_tell_the_version_of_their_list() -> None:
    state = FakeAdminState()
    state.versions = {ResourceType.CLUSTER: "v7"}
    sections = {one["@type"].rpartition(".")[2]: one for one in _configs("/config_dump", state)}
    assert sections["ClustersConfigDump"]["version_info"] == "v7"
    assert "version_info" not in sections["ListenersConfigDump"]
    (masked,) = _configs("/config_dump?mask=dynamic_warming_clusters,version_info", state)
    assert masked["version_info"] == "v7"


def test_discovered_filters_have_a_section_of_their_own() -> None:
    filter_config = extension_pb2.TypedExtensionConfig(name="e").SerializeToString()
    state = _discovered("extensions", ConfigResource("e", filter_config, 1_700_000_000, True, "1"))
    sections = [one["@type"].rpartition(".")[2] for one in _configs("/config_dump", state)]
    assert sections[1:3] == ["ClustersConfigDump", "EcdsConfigDump"]
    (found,) = _configs("/config_dump?resource=ecds_filters", state)
    assert (found["ecds_filter"]["name"], found["version_info"]) == ("e", "1")


def test_discovered_scopes_are_listed_under_the_name_of_their_user() -> None:
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix="h")
    manager.scoped_routes.name = "scopes"
    source = manager.scoped_routes.scoped_rds.scoped_rds_config_source
    source.ads.SetInParent()
    listener = listener_pb2.Listener(name="l")
    listener.filter_chains.add().filters.add(name="hcm").typed_config.Pack(manager)
    scopes = http_connection_manager_pb2.ScopedRouteConfigurationsList()
    scopes.scoped_route_configurations.add(name="one")
    state = _discovered("listeners", ConfigResource("l", listener.SerializeToString(), 0, True))
    state.dynamic["scoped_routes"] = [
        ConfigResource(
            "*", scopes.SerializeToString(), 0, True, "5", source=source.SerializeToString(deterministic=True)
        )
    ]
    (found,) = _configs("/config_dump?resource=dynamic_scoped_route_configs", state)
    assert (found["name"], found["version_info"]) == ("scopes", "5")
    assert [one["name"] for one in found["scoped_route_configs"]] == ["one"]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("resource=bogus", 404, "bogus not found in config dump; there are: dynamic_active_clusters"),
        ("resource=bootstrap", 400, "bootstrap is not a repeated field. Use ?mask=bootstrap"),
        ("resource=static_clusters&mask=cluster.x", 400, "FieldMask cluster.x could not be"),
        ("resource=static_clusters&mask=x", 400, "FieldMask x could not be"),
        ("mask=x", 400, "FieldMask x could not be successfully applied to any configs."),
        ("name_regex=[", 400, "INVALID_ARGUMENT: Error while parsing name_regex from [: missing ]"),
    ],
)
def test_what_cannot_be_dumped_is_answered_with_the_reason(query: str, status: int, text: str) -> None:
    answer = ask(FakeAdminState(), "/config_dump?" + query)
    assert answer[0] == status
    assert answer[2].startswith(text)


def test_sections_are_found_in_both_modules() -> None:
    assert section_class("BootstrapConfigDump").DESCRIPTOR.name == "BootstrapConfigDump"
    assert section_class("ClustersConfigDump").DESCRIPTOR.name == "ClustersConfigDump"
