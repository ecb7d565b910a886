from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.router import route_index
from proxy.router.route_index import RouteIndex
from tests.unit.proxy.router.tables import request, route_of, routes, stream, table, why

_PIECES = ["/", "/a", "/a/", "/a/b", "/b", "/ab", "", "/A"]
_MATCH: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from(_PIECES).map(lambda text: {"prefix": text}),
    st.sampled_from(_PIECES).map(lambda text: {"path": text}),
    st.sampled_from(["/a", "/a/b"]).map(lambda text: {"path_separated_prefix": text}),
    st.sampled_from(_PIECES).map(lambda text: {"prefix": text, "case_sensitive": False}),
    st.sampled_from(["/a.*", ".*b", "/[ab]"]).map(lambda text: {"safe_regex": {"regex": text}}),
    st.sampled_from(_PIECES).map(lambda text: dict[str, Any](prefix=text, headers=[{"name": "x"}])),
    st.just(dict[str, Any](connect_matcher={})),
)


@settings(max_examples=150, deadline=None)
@given(
    matches=st.lists(_MATCH, min_size=1, max_size=12),
    heads=st.lists(
        st.tuples(
            st.sampled_from(["", *_PIECES[:-2], "/a?b", "/a/b#c", "/a/b/c", "/zzz"]),
            st.booleans(),
            st.sampled_from(["GET", "CONNECT"]),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_the_index_finds_what_a_scan_finds(
    matches: list[dict[str, Any]], heads: list[tuple[str, bool, str]]
) -> None:
    compiled = table(routes(*({"match": match, "route": {"cluster": "c"}} for match in matches)))
    virtual_host = compiled.virtual_host("h")
    assert virtual_host is not None
    scan = RouteIndex(virtual_host.routes)
    scan._indexed = False
    indexed = RouteIndex(virtual_host.routes)
    indexed._build()
    indexed._indexed = True
    for path, with_header, method in heads:
        head = request(path, *([("x", "1")] if with_header else []), method=method)
        assert scan.find(head, stream(), lambda: 0) is indexed.find(head, stream(), lambda: 0)


def test_thousands_of_routes_keep_their_order() -> None:
    entries: list[dict[str, Any]] = [
        {"match": {"prefix": f"/s{index}/"}, "route": {"cluster": "c"}} for index in range(3000)
    ]
    entries.insert(1500, {"match": {"safe_regex": {"regex": "/s(10|2000)/x"}}, "route": {"cluster": "c"}})
    compiled = table(routes(*entries, {"match": {"prefix": "/"}, "route": {"cluster": "c"}}))
    assert len(entries) > route_index.SCAN_LIMIT
    assert why(compiled, request("/s10/x")) == "virtual_hosts[0].routes[10]"
    assert why(compiled, request("/s2000/x")) == "virtual_hosts[0].routes[1500]"
    assert why(compiled, request("/s2000/y")) == "virtual_hosts[0].routes[2001]"
    assert why(compiled, request("/zzz")) == "virtual_hosts[0].routes[3001]"


def test_only_a_connect_route_takes_requests_without_a_path() -> None:
    plain = {"match": {"prefix": ""}, "route": {"cluster": "c"}}
    connect = {"match": {"connect_matcher": {}}, "route": {"cluster": "c"}}
    tunnel = request("", method="CONNECT", host="h:443")
    assert route_of(table(routes(plain)), tunnel) is None
    assert why(table(routes(plain, connect)), tunnel) == "virtual_hosts[0].routes[1]"
    assert route_of(table(routes(connect)), request("/")) is None
