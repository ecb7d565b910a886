from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.admin.config_dump import section_class
from proxy.admin.state import ConfigResource, ResourceKind
from tests.support.admin_state import FakeAdminState, ask

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


def test_dynamic_resources_are_told_from_static_ones() -> None:
    class State(FakeAdminState):
        def resources(self, kind: ResourceKind) -> list[ConfigResource]:
            return [
                ConfigResource(one.name, one.serialized, one.updated, dynamic=True, version_info="v1")
                for one in super().resources(kind)
            ]

    (listener,) = _configs("/config_dump?resource=dynamic_listeners", State())
    assert listener["name"] == "main"
    assert listener["active_state"]["version_info"] == "v1"
    assert _configs("/config_dump?resource=dynamic_active_clusters", State())[1]["version_info"] == "v1"
    assert _configs("/config_dump?resource=static_clusters", State()) == []


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
