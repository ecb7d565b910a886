from __future__ import annotations

from typing import Any

from proxy.filters.api import HttpFilterFactory
from proxy.filters.registry import http_filter
from tests.unit.proxy.router.tables import problems_of, request, route_of, routes, table

_WRAPPER = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
_FILTERS = "type.googleapis.com/envoy.extensions.filters.http."
_CORS = "envoy.filters.http.cors"
_ROUTE: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "c"}}


def _factory(type_name: str) -> HttpFilterFactory:
    factory = http_filter("envoy.extensions.filters.http." + type_name)
    assert factory is not None
    return factory


def _limit(size: int) -> dict[str, Any]:
    return {"@type": _FILTERS + "buffer.v3.BufferPerRoute", "buffer": {"max_request_bytes": size}}


def _policy(age: str) -> dict[str, Any]:
    return {"@type": _FILTERS + "cors.v3.CorsPolicy", "max_age": age}


def _limits(config: dict[str, Any], name: str) -> list[int]:
    route = route_of(table(config), request())
    assert route is not None
    return [
        one.max_request_bytes for one in route.per_filter_config[name].configs(_factory("buffer.v3.Buffer"))
    ]


def _ages(host: dict[str, Any], route: dict[str, Any]) -> list[str]:
    found = route_of(table(routes({"match": {"prefix": "/"}, **route}, **host)), request())
    assert found is not None
    override = found.per_filter_config.get(_CORS)
    return [] if override is None else [one.max_age for one in override.configs(_factory("cors.v3.Cors"))]


def test_levels_are_kept_the_most_specific_first() -> None:
    config = routes(
        {**_ROUTE, "typed_per_filter_config": {"a": _limit(1), "c": {"@type": _WRAPPER, "disabled": True}}},
        typed_per_filter_config={
            "a": _limit(2),
            "b": {"@type": _WRAPPER, "is_optional": True, "config": _limit(3)},
            "c": _limit(4),
        },
    )
    config["typed_per_filter_config"] = {"a": _limit(5), "d": _limit(6)}
    assert [_limits(config, name) for name in "abcd"] == [[1, 2, 5], [3], [4], [6]]
    route = route_of(table(config), request())
    assert route is not None
    assert [name for name, one in route.per_filter_config.items() if one.disabled] == ["c"]


def test_levels_without_entries_share_those_of_the_level_above() -> None:
    config = routes(_ROUTE, typed_per_filter_config={"a": _limit(1)})
    route = route_of(table(config), request())
    assert route is not None
    assert route.per_filter_config is route.virtual_host.per_filter_config


def test_a_config_for_another_kind_of_filter_is_passed_over() -> None:
    assert _limits(routes(_ROUTE, typed_per_filter_config={"a": _policy("1")}), "a") == []


def test_what_no_filter_reads_is_refused_unless_it_is_optional() -> None:
    unknown = {"@type": _FILTERS + "router.v3.Router"}
    found = problems_of(routes(typed_per_filter_config={"e": {"@type": _WRAPPER}, "f": unknown}))
    assert sorted(path for path, _ in found) == [
        "virtual_hosts[0].typed_per_filter_config['e']",
        "virtual_hosts[0].typed_per_filter_config['f']",
    ]
    kept = {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert not problems_of(
        routes(typed_per_filter_config={"f": {"@type": _WRAPPER, "is_optional": True, "config": kept}})
    )


def test_the_older_cors_fields_count_unless_their_level_has_a_typed_policy() -> None:
    assert _ages({"cors": {"max_age": "1"}}, {"route": {"cluster": "c", "cors": {"max_age": "2"}}}) == [
        "2",
        "1",
    ]
    typed = {"typed_per_filter_config": {_CORS: _policy("3")}, "cors": {"max_age": "1"}}
    assert _ages(typed, {"route": {"cluster": "c"}}) == ["3"]
    assert _ages({}, {"route": {"cluster": "c"}}) == []
