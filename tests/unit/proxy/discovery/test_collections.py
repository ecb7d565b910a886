"""Collections that a bootstrap takes listeners and clusters from."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2

from proxy.config.context import CompileContext
from proxy.discovery.collections import check_locators, list_names, node_context
from tests.support.mesh import ADS, parsed
from xds_client.resource_types import ResourceType

CLUSTERS = "xdstp://auth/envoy.config.cluster.v3.Cluster/foo/*"
LISTENERS = "xdstp://auth/envoy.config.listener.v3.Listener/foo/*?b=1"


def bootstrap(**tree: Any) -> Any:
    return parsed(bootstrap_pb2.Bootstrap(), tree)


def problems(**dynamic: Any) -> list[str]:
    context = CompileContext()
    check_locators(bootstrap(dynamic_resources=dynamic), context)
    return [str(problem) for problem in context.problems]


def test_without_locators_everything_is_asked_for() -> None:
    assert list_names(bootstrap()) == {ResourceType.LISTENER: "*", ResourceType.CLUSTER: "*"}


def test_a_locator_gets_the_parameters_of_the_node_and_keeps_its_own() -> None:
    names = list_names(
        bootstrap(
            node={"id": "n", "cluster": "c&d"},
            node_context_params=["id", "cluster"],
            dynamic_resources={
                "lds_resources_locator": LISTENERS + "&xds.node.id=mine",
                "cds_resources_locator": CLUSTERS,
            },
        )
    )
    assert names == {
        ResourceType.LISTENER: LISTENERS + "&xds.node.cluster=c%26d&xds.node.id=mine",
        ResourceType.CLUSTER: CLUSTERS + "?xds.node.cluster=c%26d&xds.node.id=n",
    }


def test_every_parameter_of_a_node() -> None:
    node = bootstrap(
        node={
            "id": "i",
            "cluster": "c",
            "user_agent_name": "u",
            "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
            "metadata": {"a": "<b>", "n": {"y": [1, True, None], "x": "é"}},
        }
    ).node
    node.user_agent_build_version.version.major_number = 1
    node.user_agent_build_version.version.patch = 3
    node.user_agent_build_version.metadata["k"] = 2
    params = ["id", "cluster", "user_agent_name", "user_agent_version", "locality.region", "locality.zone"]
    params += ["locality.sub_zone", "metadata", "user_agent_build_version.version"]
    params += ["user_agent_build_version.metadata", "unheard_of", "locality", "extensions"]
    assert node_context(node, params) == {
        "xds.node.id": "i",
        "xds.node.cluster": "c",
        "xds.node.user_agent_name": "u",
        "xds.node.user_agent_version": "",
        "xds.node.locality.region": "r",
        "xds.node.locality.zone": "z",
        "xds.node.locality.sub_zone": "s",
        "xds.node.metadata.a": '"\\u003cb\\u003e"',
        "xds.node.metadata.n": '{"x":"é","y":[1,true,null]}',
        "xds.node.user_agent_build_version.version": "1.0.3",
        "xds.node.user_agent_build_version.metadata.k": "2",
    }


def test_a_collection_over_the_aggregated_stream_is_fine() -> None:
    assert not problems(cds_config=ADS, cds_resources_locator=CLUSTERS)


def test_a_parameter_that_is_nothing_of_a_node_is_warned_about() -> None:
    context = CompileContext()
    check_locators(bootstrap(node_context_params=["id", "locality", "locality.zone", "odd"]), context)
    assert [warning.path for warning in context.warnings] == [
        "node_context_params[1]",
        "node_context_params[3]",
    ]


@pytest.mark.parametrize(
    ("dynamic", "reason"),
    [
        ({"cds_resources_locator": CLUSTERS}, "cds_config is neither"),
        (
            {"cds_config": {"path": "/dev/null"}, "cds_resources_locator": CLUSTERS},
            "cds_config is neither",
        ),
        ({"cds_config": ADS, "cds_resources_locator": LISTENERS}, "xdstp:// type does not match"),
        ({"cds_config": ADS, "cds_resources_locator": "file:///x"}, "only locators that begin with xdstp://"),
        ({"cds_config": ADS, "cds_resources_locator": f"{CLUSTERS}#entry=a"}, "directives, after '#'"),
        ({"cds_config": ADS, "cds_resources_locator": "xdstp://a"}, "is not xdstp://authority"),
    ],
)
def test_what_is_refused(dynamic: dict[str, Any], reason: str) -> None:
    (problem,) = problems(**dynamic)
    assert reason in problem
    assert problem.startswith("dynamic_resources.cds_resources_locator")
