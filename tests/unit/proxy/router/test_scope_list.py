from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3 import scoped_route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.config.context import CompileContext
from proxy.config.resources import DEMANDED
from proxy.router.scope_list import ROUTES, ScopedRoutes, check_scopes, compile_scoped_routes

ADS = {"ads": {}, "resource_api_version": "V3"}


def compiled(*extractors: dict[str, Any], **fields: Any) -> tuple[ScopedRoutes, list[str], CompileContext]:
    fragments = [{"header_value_extractor": one} for one in extractors]
    tree = {
        "name": "s",
        "scope_key_builder": {"fragments": fragments},
        "rds_config_source": ADS,
        **(fields or {"scoped_rds": {"scoped_rds_config_source": ADS}}),
    }
    message = json_format.ParseDict(tree, http_connection_manager_pb2.ScopedRoutes())
    ctx = CompileContext()
    routes = compile_scoped_routes(message, "scoped_routes", "http.in.", ctx)
    return routes, [str(problem) for problem in ctx.problems], ctx


def request(*fields: tuple[str, str], authority: str = "host:80") -> RequestHead:
    return RequestHead("GET", "/", authority, HeaderMap(fields))


ELEMENT = {"name": "X-A", "element_separator": ";", "element": {"separator": "=", "key": "k"}}


@pytest.mark.parametrize(
    ("extractor", "value", "part"),
    [
        ({"name": "x-a", "index": 0}, "a,b", "a,b"),
        ({"name": "x-a", "element_separator": ",", "index": 0}, "a,b", "a"),
        ({"name": "x-a", "element_separator": ",", "index": 1}, "a,b", "b"),
        ({"name": "x-a", "element_separator": ",", "index": 2}, "a,b", None),
        ({"name": "x-a", "element_separator": ",", "index": 1}, "a,", ""),
        (ELEMENT, "j=1;k=2;k=3", "2"),
        (ELEMENT, "k=2=3", "2=3"),
        (ELEMENT, "k", ""),
        (ELEMENT, "j=1", None),
        ({"name": "x-a", "element": {"separator": "=", "key": "k"}}, "k=1;l=2", "1;l=2"),
    ],
)
def test_what_a_header_gives_to_the_key(extractor: dict[str, Any], value: str, part: str | None) -> None:
    routes, problems, _ = compiled(extractor)
    assert problems == []
    expected = None if part is None else (part,)
    assert routes.builder.key(request(("x-a", value), ("x-a", "second"))) == expected
    assert routes.builder.key(request()) is None


def test_a_key_has_every_part_in_order_and_host_is_the_authority() -> None:
    routes, _, _ = compiled({"name": "x-a", "index": 0}, {"name": "Host", "index": 0})
    assert routes.builder.key(request(("x-a", "1"))) == ("1", "host:80")
    assert routes.builder.key(request()) is None


def test_what_an_extractor_lacks_is_named() -> None:
    _, problems, _ = compiled({"name": "x-a"}, {"name": "x-a", "index": 1})
    first, second = (f"scoped_routes.scope_key_builder.fragments[{i}].header_value_extractor" for i in (0, 1))
    assert problems == [
        f"{first}: HeaderValueExtractor extract_type not set",
        f"{second}.index: Index > 0 for empty string element separator.",
    ]


def test_inline_scopes_bring_their_tables() -> None:
    key = {"fragments": [{"string_key": "1"}]}
    scopes = [{"name": "a", "key": key, "route_configuration": {"name": "r"}}]
    inline = {"scoped_route_configurations_list": {"scoped_route_configurations": scopes}}
    routes, problems, _ = compiled({"name": "x-a", "index": 0}, **inline)
    assert problems == []
    assert routes.source is None
    assert routes.tables["1",].name == "r"
    scopes[0] = {"name": "a", "key": key, "route_configuration_name": "r"}
    _, problems, _ = compiled({"name": "x-a", "index": 0}, **inline)
    assert [problem.partition(": ")[0].rpartition(".")[2] for problem in problems] == [
        "route_configuration_name",
        "route_configuration",
    ]


def test_discovered_scopes_are_wanted_on_the_terms_of_their_listener() -> None:
    routes, _, ctx = compiled({"name": "x-a", "index": 0})
    (want,) = ctx.resources.wants.values()
    assert (want.name, want.stat_prefix) == ("*", "http.in.scoped_rds.s.")
    assert want.terms == {(ROUTES, routes.rds_source, "http.in.")}


def scope(name: str, table: str, key: str, **fields: Any) -> Any:
    tree = {"name": name, "route_configuration_name": table, "key": {"fragments": [{"string_key": key}]}}
    return json_format.ParseDict({**tree, **fields}, scoped_route_pb2.ScopedRouteConfiguration())


def checked(*scopes: Any, demanded: str = "") -> tuple[list[str], list[tuple[str, str]]]:
    """Reasons, and the names of wanted tables with their stats."""
    routes, _, _ = compiled({"name": "x-a", "index": 0})
    ctx = CompileContext()
    ctx.terms = frozenset([(ROUTES, routes.rds_source, "http.in."), (DEMANDED, demanded)])
    check_scopes(scopes, ctx)
    wants = [(want.name, want.stat_prefix) for want in ctx.resources.wants.values()]
    return [problem.reason for problem in ctx.problems], wants


def test_scopes_want_their_tables_unless_these_come_on_demand() -> None:
    scopes = scope("a", "r:1", "1"), scope("b", "q", "2", on_demand=True)
    assert checked(*scopes) == ([], [("r:1", "http.in.rds.r_1.")])
    assert [name for name, _ in checked(*scopes, demanded="b")[1]] == ["r:1", "q"]


def test_what_is_wrong_with_scopes_is_told() -> None:
    reasons, _ = checked(scope("a", "r", "1"), scope("b", "r", "1"), scope("c", "", "2"))
    assert "first scope is 'a', second scope is 'b'" in reasons[0]
    assert reasons[1] == "route_configuration_name is empty."
    assert len(checked(scope("a", "r", "1", route_configuration={"name": "x"}))[0]) == 1
