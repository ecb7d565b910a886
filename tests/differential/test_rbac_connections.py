"""The rbac filter beside what the filters before it and the route table say of the connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair
from tests.support.managers import post, same_everywhere
from tests.support.origin import HELLO
from tests.support.rbac import (
    LOGGED,
    ROUTER_FILTER,
    anyone,
    cases,
    count,
    header,
    path,
    policy,
    rbac,
    rules,
    template,
)

STATE: Final = "envoy.extensions.filters.network.set_filter_state.v3.Config"
NETWORK_RBAC: Final = "envoy.extensions.filters.network.rbac.v3.RBAC"


def behind(name: str, before: Json, *filters: Json, routes: list[Json] | None = None, **table: Any) -> Json:
    config = {"name": "local", "virtual_hosts": [virtual_host(routes or [route()])], **table}
    http = connection_manager(
        config, stat_prefix=name, access_log=[file_log(LOGGED)], http_filters=[*filters, ROUTER_FILTER]
    )
    return listener([before, http], name)


def network(type_name: str, **fields: Any) -> Json:
    return {"name": "before", "typed_config": typed(type_name, **fields)}


SHADOWED: Final = network(
    NETWORK_RBAC,
    stat_prefix="n",
    shadow_rules={
        "policies": {"of connections": {"permissions": [{"any": True}], "principals": [{"any": True}]}}
    },
)
STATED: Final = network(
    STATE,
    on_new_connection=[
        {
            "object_key": "mine",
            "factory_key": "envoy.string",
            "format_string": {
                "text_format_source": {"inline_string": "<%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%>"}
            },
        }
    ],
)
OF_CONNECTION: Final = {
    "metadata": {
        "filter": "envoy.filters.network.rbac",
        "path": [{"key": "shadow_effective_policy_id"}],
        "value": {"string_match": {"exact": "of connections"}},
    }
}
PARAMETERS: Final = rules(
    "DENY",
    p=anyone(
        path(exact="/admin/do"), template("/template/*/x"), header(":path", string_match={"exact": "/raw;a"})
    ),
)


def of_state(value: str) -> Json:
    return rules(p=policy(None, {"filter_state": {"key": "mine", "string_match": {"exact": value}}}))


GRPC_STATS: Final = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
BESIDE: Final = {
    "told_nothing": behind("told_nothing", SHADOWED),
    "both_states": behind(
        "both_states", STATED, {"name": "stats", "typed_config": typed(GRPC_STATS, emit_filter_state=True)}
    ),
    "metadata": behind("metadata", SHADOWED, rbac(rules=rules(p=policy(OF_CONNECTION)))),
    "metadata_told": behind(
        "metadata_told",
        SHADOWED,
        rbac(rules=rules("LOG", p=policy()), shadow_rules=rules(s=policy())),
        rbac(rules=rules(p=policy(OF_CONNECTION))),
    ),
    "state": behind("state", STATED, rbac(rules=of_state("<127.0.0.1>"))),
    "other_state": behind("other_state", STATED, rbac(rules=of_state("no"))),
    "parameters": behind(
        "parameters", SHADOWED, rbac(rules=PARAMETERS), ignore_path_parameters_in_path_matching=True
    ),
    "kept_parameters": behind("kept_parameters", SHADOWED, rbac(rules=PARAMETERS)),
}  # fmt: skip


@pytest.fixture(scope="module")
def beside() -> Iterator[Pair]:
    with Pair(bootstrap(list(BESIDE.values()), [cluster()]), listeners=list(BESIDE)) as started:
        yield started


@pytest.mark.parametrize("name", ["told_nothing", "metadata", "metadata_told", "state", "other_state"])
def test_what_network_filters_said_counts(beside: Pair, name: str) -> None:
    with beside.same_stats(count(name)):
        same_everywhere(beside, cases(name, "/"))


def test_objects_of_the_connection_are_seen_beside_those_of_the_request(beside: Pair) -> None:
    message = post("/", b"\0\0\0\0\0", "content-type: application/grpc", "te: trailers")
    same_everywhere(beside, [("both_states", message, HELLO)])


@pytest.mark.parametrize("name", ["parameters", "kept_parameters"])
def test_parameters_of_paths_are_ignored_where_routes_ignore_them(beside: Pair, name: str) -> None:
    targets = (
        *(
            "/admin/do",
            "/admin;x=y/do",
            "/admin/do;x",
            "/admin/do;x?y=z/w",
            "/admin/do?;",
            "/;/admin/do",
            "/admin;/do;;",
        ),
        *("/template/a/x", "/template/a;b/x", "/template/;b/x", "/template/a/x;y?z", "/raw;a", "/raw;a?b"),
    )
    with beside.same_stats(count(name)):
        same_everywhere(beside, cases(name, *targets))
