from __future__ import annotations

from typing import Any

import pytest

from proxy.router.internal_redirect import InternalRedirectPolicy
from tests.unit.proxy.router.tables import one, problems_of
from tests.unit.proxy.router.test_cluster_choice import action_of


def predicate(name: str, **fields: Any) -> dict[str, Any]:
    package = "type.googleapis.com/envoy.extensions.internal_redirect"
    return {"name": name, "typed_config": {"@type": f"{package}.{name}", **fields}}


def policy(**config: Any) -> InternalRedirectPolicy:
    found = action_of({"cluster": "c", "internal_redirect_policy": config}).internal_redirect
    assert isinstance(found, InternalRedirectPolicy)
    return found


def test_by_default_one_302_of_the_same_scheme_is_followed() -> None:
    assert policy() == InternalRedirectPolicy()
    assert policy().statuses == {302}
    assert policy().max_redirects == 1


def test_only_redirect_statuses_count() -> None:
    assert policy(redirect_response_codes=[200, 301, 307]).statuses == {301, 307}


def test_predicates_and_headers() -> None:
    found = policy(
        max_internal_redirects=5,
        allow_cross_scheme_redirect=True,
        response_headers_to_copy=["X-A"],
        predicates=[
            predicate("allow_listed_routes.v3.AllowListedRoutesConfig", allowed_route_names=["a", "b"]),
            predicate("previous_routes.v3.PreviousRoutesConfig"),
            predicate("safe_cross_scheme.v3.SafeCrossSchemeConfig"),
        ],
    )
    assert found == InternalRedirectPolicy(
        5, frozenset({302}), True, ("x-a",), frozenset({"a", "b"}), True, True
    )


def test_the_deprecated_fields_still_work() -> None:
    action = action_of(
        {"cluster": "c", "internal_redirect_action": "HANDLE_INTERNAL_REDIRECT", "max_internal_redirects": 3}
    )
    assert action.internal_redirect == InternalRedirectPolicy(3)


@pytest.mark.parametrize("name", [":path", "Host"])
def test_the_target_cannot_be_copied(name: str) -> None:
    config = {"cluster": "c", "internal_redirect_policy": {"response_headers_to_copy": [name]}}
    path = "virtual_hosts[0].routes[0].route.internal_redirect_policy.response_headers_to_copy[0]"
    assert [found for found, _ in problems_of(one({"prefix": "/"}, route=config))] == [path]


def test_other_predicates_are_refused() -> None:
    import google.protobuf.struct_pb2  # noqa: F401  registers the type named below

    other = {
        "name": "x",
        "typed_config": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {}},
    }
    config = {"cluster": "c", "internal_redirect_policy": {"predicates": [other]}}
    path = "virtual_hosts[0].routes[0].route.internal_redirect_policy.predicates[0].typed_config"
    assert [found for found, _ in problems_of(one({"prefix": "/"}, route=config))] == [path]
