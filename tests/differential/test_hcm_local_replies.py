"""Replies that the proxy makes itself: redirects, direct responses, failures, and what mappers make of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.configs import Json, cluster, route
from tests.support.differential import Pair
from tests.support.managers import Case, get, managers_fixture, post, same_everywhere
from tests.support.origin import HELLO, Answer


def text(template: str, **fields: Any) -> Json:
    return {"text_format_source": {"inline_string": template}, **fields}


def header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}}


def direct(path: str, response: Json, **fields: Any) -> Json:
    return {"match": {"prefix": path}, "direct_response": response, **fields}


def by_header(path: str, code: str) -> Json:
    return {
        "match": {"prefix": path},
        "route": {"cluster_header": "x-cluster", "cluster_not_found_response_code": code},
    }


ROUTES = [
    direct(
        "/direct",
        {"status": 200, "body": {"inline_string": "hi"}},
        response_headers_to_add=[header("x-r", "%PROTOCOL%"), header("content-type", "text/html")],
    ),
    direct(
        "/json",
        {
            "status": 418,
            "body": {"inline_string": "{}"},
            "body_format": {"json_format": {"s": "%RESPONSE_CODE%", "b": "%LOCAL_REPLY_BODY%"}},
        },
    ),
    direct("/text", {"status": 201, "body_format": text("x %REQ(:path)%", content_type="text/foo")}),
    direct("/empty", {"status": 204}),
    direct("/unmodified", {"status": 304, "body": {"inline_string": "hi"}}),
    {
        "match": {"prefix": "/redirect"},
        "redirect": {"host_redirect": "other.com"},
        "response_headers_to_add": [header("x-r", "1")],
    },
    by_header("/unknown_503", "SERVICE_UNAVAILABLE"),
    by_header("/unknown_404", "NOT_FOUND"),
    by_header("/unknown_500", "INTERNAL_SERVER_ERROR"),
    route("empty", "/no_host"),
    route("pending", "/overflow"),
    route("requests", "/too_many"),
    route("dead", "/refused"),
    {"match": {"prefix": "/nowhere"}, "non_forwarding_action": {}},
    route("origin", "/slow", timeout="0.1s"),
    route("origin", "/ok"),
    *(
        {"match": {"path": f"/status/{code}"}, "direct_response": {"status": code}}
        for code in range(200, 600)
    ),
]
PATHS = [
    "/not_found",
    "/direct",
    "/json",
    "/text",
    "/empty",
    "/unmodified",
    "/redirect?x=1",
    "/unknown_503",
    "/unknown_404",
    "/unknown_500",
    "/no_host",
    "/overflow",
    "/too_many",
    "/refused",
    "/nowhere",
    "/slow",
]
CLUSTERS = [
    cluster(),
    {"name": "empty", "type": "STATIC", "load_assignment": {"cluster_name": "empty"}},
    cluster(
        "pending",
        "{{origin_port}}",
        circuit_breakers={"thresholds": [{"max_pending_requests": 0, "max_connections": 0}]},
    ),
    cluster("requests", "{{origin_port}}", circuit_breakers={"thresholds": [{"max_requests": 0}]}),
    cluster("dead", 1),
]
MAPPERS: list[Json] = [
    {
        "filter": {
            "status_code_filter": {
                "comparison": {"op": "EQ", "value": {"default_value": 404, "runtime_key": "k"}}
            }
        },
        "status_code": 406,
        "body": {"inline_string": "mapped"},
        "headers_to_add": [header("x-m", "%RESPONSE_CODE%")],
    },
    {
        "filter": {"response_flag_filter": {"flags": ["UH"]}},
        "body_format_override": {
            "json_format": {"f": "%RESPONSE_FLAGS%", "b": "%LOCAL_REPLY_BODY%", "c": "%RESPONSE_CODE%"}
        },
    },
    {
        "filter": {"header_filter": {"header": {"name": "x-map", "string_match": {"exact": "empty"}}}},
        "status_code": 299,
        "body": {"inline_string": ""},
    },
    {
        "filter": {"header_filter": {"header": {"name": "x-map", "string_match": {"exact": "typed"}}}},
        "body": {"inline_string": "<p>"},
        "headers_to_add": [header("content-type", "text/own")],
    },
    {
        "filter": {"header_filter": {"header": {"name": "x-map", "present_match": True}}},
        "status_code": 299,
        "body": {"inline_string": ""},
        "body_format_override": text(
            "<%LOCAL_REPLY_BODY%> %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%",
            content_type="text/html; charset=UTF-8",
        ),
    },
]
MANAGERS: dict[str, Json] = {
    "plain": {},
    "mapped": {"local_reply_config": {"mappers": MAPPERS}},
    "formatted": {
        "local_reply_config": {
            "body_format": text(
                "%RESPONSE_CODE%:%LOCAL_REPLY_BODY%:%RESPONSE_FLAGS%:path=%REQ(:path)%\n",
                content_type="text/x",
            )
        }
    },
    "absent": {"server_header_transformation": "APPEND_IF_ABSENT", "server_name": "me", "via": "v"},
    "through": {"server_header_transformation": "PASS_THROUGH"},
    "named": {"server_name": "me", "always_set_request_id_in_response": True},
}

pair = managers_fixture(MANAGERS, routes=ROUTES, clusters=CLUSTERS)


def scripted(path: str) -> Any:
    return Answer(delay=0.4) if path == "/slow" else HELLO


def cases(manager: str, *fields: str, method: str = "GET") -> list[Case]:
    return [(manager, get(path, *fields, method=method), scripted(path)) for path in PATHS]


@pytest.mark.parametrize("manager", MANAGERS)
def test_own_replies(pair: Pair, manager: str) -> None:
    breakers = [
        f"cluster.{name}.circuit_breakers.default.{gauge}_open"
        for name in ("pending", "requests")
        for gauge in ("cx", "rq", "rq_pending")
    ]
    names = ("cluster.empty.", "cluster.pending.", "cluster.requests.", "cluster.dead.", f"http.{manager}.")
    with pair.same_stats(*names, ignore=breakers):
        same_everywhere(pair, cases(manager))


@pytest.mark.parametrize("manager", ["plain", "mapped", "formatted"])
@pytest.mark.parametrize(
    "content_type",
    ["application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc;x"],
)
def test_grpc_clients_hear_it_in_grpc(pair: Pair, manager: str, content_type: str) -> None:
    same_everywhere(pair, cases(manager, f"Content-Type: {content_type}"))


@pytest.mark.parametrize("manager", ["plain", "mapped", "formatted"])
def test_head(pair: Pair, manager: str) -> None:
    same_everywhere(pair, cases(manager, method="HEAD"))


@pytest.mark.parametrize("manager", ["plain", "mapped", "formatted"])
def test_requests_with_a_body(pair: Pair, manager: str) -> None:
    same_everywhere(pair, [(manager, post(path, b"abc"), scripted(path)) for path in PATHS])


@pytest.mark.parametrize("wish", ["yes", "empty", "typed"])
def test_mappers_by_header(pair: Pair, wish: str) -> None:
    same_everywhere(pair, cases("mapped", f"X-Map: {wish}"))
    same_everywhere(pair, cases("mapped", f"X-Map: {wish}", "Content-Type: application/grpc"))


@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize(
    "fields",
    ["", "Server: theirs\r\n", "Via: x\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Request-Id: z\r\n"],
)
def test_server_date_and_via_of_forwarded_responses(pair: Pair, manager: str, fields: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n".encode()
    # Twice and thrice: what became of a response is kept and used again.
    same_everywhere(pair, [(manager, get("/ok"), answer)] * 3)


def test_reason_phrases(pair: Pair) -> None:
    same_everywhere(pair, [("plain", get(f"/status/{code}"), HELLO) for code in range(200, 600)])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 418 tea\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_responses_without_a_body(pair: Pair, method: str, answer: bytes) -> None:
    same_everywhere(pair, [("plain", get("/ok", method=method), answer)] * 3)


@pytest.mark.parametrize("fields", [b"", b"transfer-encoding: chunked\r\n", b"content-length: 7\r\n"])
def test_responses_to_head_tell_the_framing(pair: Pair, fields: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n"
    same_everywhere(pair, [("plain", get("/ok", method="HEAD"), answer)] * 3)
