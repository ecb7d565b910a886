from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.base.stream_info import TlsInfo
from tests.unit.proxy.router.tables import one, problems_of, request, route_of, stream, table


def template(text: str) -> dict[str, Any]:
    return {
        "path_match_policy": {
            "name": "t",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                "path_template": text,
            },
        }
    }


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"prefix": "/a"}, ["/a", "/ab", "/a/b", "/a?x"], ["/A", "/b"]),
        ({"prefix": "/a?x"}, [], ["/a?x"]),
        ({"prefix": "/a", "case_sensitive": False}, ["/A", "/aB"], ["/b"]),
        ({"path": "/a"}, ["/a", "/a?x", "/a#x"], ["/a/", "/A"]),
        ({"path": "/a", "case_sensitive": False}, ["/A"], ["/a/"]),
        ({"path_separated_prefix": "/a"}, ["/a", "/a/b", "/a?x"], ["/ab", "/a;x", "/A"]),
        ({"path_separated_prefix": "/a", "case_sensitive": False}, ["/A", "/A/b"], ["/Ab"]),
        ({"safe_regex": {"regex": "/a[0-9]+"}}, ["/a1", "/a1?x"], ["/a", "/a1/"]),
        (template("/a/{id}/c"), ["/a/b/c", "/a/b/c?x"], ["/a//c", "/a/b/c/"]),
        ({"prefix": "/", "query_parameters": [{"name": "k"}]}, ["/?k", "/x?a&k=1"], ["/", "/?K"]),
    ],
)
def test_paths(match: dict[str, Any], yes: list[str], no: list[str]) -> None:
    compiled = table(one(match))
    assert [path for path in yes + no if route_of(compiled, request(path)) is not None] == yes


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"prefix": "/a;x"}, [], ["/a;x"]),
        ({"path": "/a"}, ["/a", "/a;x=1", "/a;x?q"], ["/ab;x"]),
        ({"path_separated_prefix": "/a"}, ["/a;x", "/a/b;x"], ["/ab;x"]),
        ({"safe_regex": {"regex": "/[a-z]"}}, ["/a;x"], ["/aa;x"]),
        ({"prefix": "/A", "case_sensitive": False}, ["/a;x"], ["/b;x"]),
        ({"path": "/a/b"}, ["/a;x/b;y", "/a;x;y/b?c;/d", "/a/b;;"], ["/a;x", "/a/b;/c"]),
        ({"prefix": "/a/b"}, ["/a;x=/b;y/c"], ["/a;x/c"]),
    ],
)
def test_path_parameters_can_be_ignored(match: dict[str, Any], yes: list[str], no: list[str]) -> None:
    compiled = table({**one(match), "ignore_path_parameters_in_path_matching": True})
    assert [path for path in yes + no if route_of(compiled, request(path)) is not None] == yes


@pytest.mark.parametrize(
    ("content_type", "matched"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc-web", False),
        ("application/grpcx", False),
        ("application/grpc;charset=x", False),
        ("APPLICATION/GRPC", False),
    ],
)
def test_grpc_requests_are_known_by_their_content_type(content_type: str, matched: bool) -> None:
    compiled = table(one({"prefix": "/", "grpc": {}}))
    assert (route_of(compiled, request("/", ("content-type", content_type))) is not None) is matched
    assert route_of(compiled, request("/")) is None


@pytest.mark.parametrize(
    ("criteria", "certificate", "validated", "matched"),
    [
        ({"presented": True}, b"der", True, True),
        ({"presented": True}, b"", False, False),
        ({"presented": False}, b"", False, True),
        ({"presented": True, "validated": True}, b"der", True, True),
        ({"presented": True, "validated": True}, b"der", False, False),
        ({"validated": False}, b"der", True, False),
        ({"validated": False}, b"der", False, True),
        ({}, b"", False, True),
    ],
)
def test_tls_facts(criteria: dict[str, bool], certificate: bytes, validated: bool, matched: bool) -> None:
    compiled = table(one({"prefix": "/", "tls_context": criteria}))
    info = stream()
    info.connection.tls = TlsInfo()
    info.connection.tls.peer_certificate_der = certificate
    info.connection.tls.peer_certificate_validated = validated
    assert (route_of(compiled, request(), info) is not None) is matched


def test_a_plain_connection_presents_no_certificate() -> None:
    assert route_of(table(one({"prefix": "/", "tls_context": {"presented": True}})), request()) is None
    assert route_of(table(one({"prefix": "/", "tls_context": {"presented": False}})), request()) is not None


def test_metadata_and_filter_state() -> None:
    by_metadata = table(
        one(
            {
                "prefix": "/",
                "dynamic_metadata": [
                    {"filter": "f", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}
                ],
            }
        )
    )
    by_state = table(one({"prefix": "/", "filter_state": [{"key": "k", "string_match": {"exact": "v"}}]}))
    by_address = table(
        one(
            {
                "prefix": "/",
                "filter_state": [
                    {
                        "key": "k",
                        "address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]},
                    }
                ],
            }
        )
    )
    info = stream()
    for compiled in (by_metadata, by_state, by_address):
        assert route_of(compiled, request(), info) is None
    info.dynamic_metadata = {"f": {"k": "v"}}
    info.filter_state = {"k": SimpleNamespace(__str__=None)}
    assert route_of(by_metadata, request(), info) is not None
    info.filter_state = {"k": "v"}
    assert route_of(by_state, request(), info) is not None
    info.filter_state = None
    info.connection.filter_state = {"k": "10.1.2.3"}
    assert route_of(by_address, request(), info) is not None


@pytest.mark.parametrize(
    ("match", "path"),
    [
        ({}, "match"),
        ({"safe_regex": {"regex": "*"}}, "match.safe_regex.regex"),
        (
            {"prefix": "/", "headers": [{"name": "a", "string_match": {"safe_regex": {"regex": "("}}}]},
            "match.headers[0].string_match.safe_regex.regex",
        ),
        (template("/{a}/{a}"), "match.path_match_policy.typed_config.path_template"),
        (
            {
                "path_match_policy": {
                    "name": "x",
                    "typed_config": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {}},
                }
            },
            "match.path_match_policy.typed_config",
        ),
    ],
)
def test_a_bad_match_is_refused_by_path(match: dict[str, Any], path: str) -> None:
    import google.protobuf.struct_pb2  # noqa: F401  registers the type named above

    assert [found for found, _ in problems_of(one(match))] == [f"virtual_hosts[0].routes[0].{path}"]
