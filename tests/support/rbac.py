"""The messages of the HTTP rbac filter, in the forms in which control planes write them."""

from __future__ import annotations

from typing import Any, Final

from tests.support.configs import (
    ROUTER,
    Json,
    bootstrap,
    cluster,
    connection_manager,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.managers import LOG, Case, get
from tests.support.origin import HELLO

RBAC: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
PER_ROUTE: Final = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
NAME: Final = "envoy.filters.http.rbac"
TEMPLATE: Final = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
ROUTER_FILTER: Final = {"name": "router", "typed_config": typed(ROUTER)}
LOGGED: Final = (
    f"{LOG} %RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)% "
    "%DYNAMIC_METADATA(envoy.filters.http.rbac)% %DYNAMIC_METADATA(envoy.common)% "
    "%DYNAMIC_METADATA(envoy.filters.network.rbac)% %FILTER_STATE(mine:PLAIN)%"
)


def rbac(**fields: Any) -> Json:
    return {"name": NAME, "typed_config": typed(RBAC, **fields)}


def of_route(**fields: Any) -> Json:
    return {"typed_per_filter_config": {NAME: typed(PER_ROUTE, **fields)}}


def manager(*filters: Json, **fields: Any) -> Json:
    """The fields of a manager whose last filter is the router."""
    return {"http_filters": [*filters, ROUTER_FILTER], **fields}


def allowing(*permissions: Json, **fields: Any) -> Json:
    return manager(rbac(rules={"policies": {"p": anyone(*permissions)}}, **fields))


def policy(permission: Json | None = None, principal: Json | None = None) -> Json:
    """In the form in which Istio writes them."""
    permission, principal = permission or {"any": True}, principal or {"any": True}
    return {
        "permissions": [{"and_rules": {"rules": [permission]}}],
        "principals": [{"and_ids": {"ids": [principal]}}],
    }


def rules(action: str = "ALLOW", **policies: Json) -> Json:
    return {"action": action, "policies": policies}


def anyone(*permissions: Json) -> Json:
    return {"permissions": list(permissions), "principals": [{"any": True}]}


def either(*permissions: Json) -> Json:
    return {"or_rules": {"rules": list(permissions)}}


def path(**pattern: Any) -> Json:
    return {"url_path": {"path": pattern}}


def header(name: str, **match: Any) -> Json:
    return {"header": {"name": name, **match}}


def template(text: str) -> Json:
    config = typed(TEMPLATE, path_template=text)
    return {"uri_template": {"name": "uri-template", "typed_config": config}}


def mtls(**fields: Any) -> Json:
    config = typed("envoy.extensions.rbac.principals.mtls_authenticated.v3.Config", **fields)
    return {"custom": {"name": "envoy.rbac.principals.mtls_authenticated", "typed_config": config}}


def validated(one: Json) -> Json:
    """A bootstrap that only has its verdict taken, with this HTTP filter."""
    http = connection_manager({"virtual_hosts": [virtual_host([route()])]}, http_filters=[one, ROUTER_FILTER])
    config = bootstrap([listener([http])], [cluster()])
    config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = 1
    return config


def count(name: str) -> str:
    """What the stats of the filters of this manager begin with."""
    return f"http.{name}.rbac."


def cases(name: str, *targets: str) -> list[Case]:
    return [(name, get(target), HELLO) for target in targets]
