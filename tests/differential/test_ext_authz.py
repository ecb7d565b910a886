"""The HTTP filter ext_authz: what the service is asked, what its answers do to requests, stats, flags and logs."""

from __future__ import annotations

import struct
from typing import Any, Final

import pytest
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.json_format import MessageToDict, ParseDict

from tests.support.configs import ROUTER, Json, cluster, http2_cluster, route, typed
from tests.support.differential import Pair, Side
from tests.support.http2_frames import Code
from tests.support.http2_origin import Http2Answer, Http2Origin
from tests.support.http_text import Message
from tests.support.managers import get, managers_fixture, same_everywhere
from tests.support.origin import HELLO, Origin

FILTER: Final = "envoy.extensions.filters.http.ext_authz.v3."
NAME: Final = "envoy.filters.http.ext_authz"
ROUTER_FILTER: Final = {"name": "router", "typed_config": typed(ROUTER)}
SERVICE: Final = {"grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "1s"}}
GRPC: Final = (("content-type", "application/grpc"),)
OK_STATUS: Final = (("grpc-status", "0"),)
STATS: Final = ("ok", "denied", "error", "failure_mode_allowed")
ASK_GRPC: Final = get("/a.B/C", "content-type: application/grpc", "te: trailers", method="POST")


def manager(**fields: Any) -> Json:
    config = typed(f"{FILTER}ExtAuthz", **{"transport_api_version": "V3", **SERVICE, **fields})
    return {"http_filters": [{"name": NAME, "typed_config": config}, ROUTER_FILTER]}


def with_route(one: Json, **fields: Any) -> Json:
    return {**one, "typed_per_filter_config": {NAME: typed(f"{FILTER}ExtAuthzPerRoute", **fields)}}


def exact(*names: str) -> Json:
    return {"patterns": [{"exact": name, "ignore_case": True} for name in names]}


ROUTES: Final = [
    with_route(route(prefix="/off"), disabled=True),
    with_route(route(prefix="/told"), check_settings={"context_extensions": {"a": "route", "b": "2"}}),
    with_route(route(prefix="/empty"), check_settings={}),
    {**route(prefix="/redirected"), "metadata": {"filter_metadata": {"ns": {"k": "v"}}}},
    route(),
]
MANAGERS: Final[dict[str, Json]] = {
    "plain": manager(),
    "open": manager(failure_mode_allow=True, failure_mode_allow_header_add=True, stat_prefix="o"),
    "some": manager(
        allowed_headers=exact("X-A", "x-b", ":path"),
        disallowed_headers=exact("x-b"),
        metadata_context_namespaces=["absent"],
        route_metadata_context_namespaces=["ns", "absent"],
        bootstrap_metadata_labels_key="labels",
        status_on_error={"code": "InternalServerError"},
        clear_route_cache=True,
    ),
    "never": manager(filter_enabled={"default_value": {"numerator": 0}}),
    "closed": manager(
        filter_enabled={"default_value": {"numerator": 0}},
        deny_at_disable={"runtime_key": "deny", "default_value": True},
    ),
    "dead": manager(grpc_service={"envoy_grpc": {"cluster_name": "dead"}}),
    "nowhere": manager(
        grpc_service={"envoy_grpc": {"cluster_name": "nowhere"}}, charge_cluster_response_stats=False
    ),
    "slow": manager(grpc_service={"envoy_grpc": {"cluster_name": "authz"}}),
}


class Authz(Http2Origin):
    """The service: it keeps to its own script, and what it is asked is looked at apart."""

    def script(self, script: Any) -> None:
        if script is not HELLO:
            super().script(script)

    @property
    def requests(self) -> list[Message]:
        return []


pair = managers_fixture(
    MANAGERS,
    routes=ROUTES,
    clusters=[cluster(), http2_cluster("authz"), http2_cluster("dead", 1)],
    origins={"origin": Origin, "authz": Authz},
    node={"id": "n", "cluster": "c", "metadata": {"labels": {"x": "y"}}},
)


def framed(message: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(message)) + message


def answer(code: int, **fields: Any) -> Http2Answer:
    response = ParseDict({"status": {"code": code}, **fields}, external_auth_pb2.CheckResponse())
    return Http2Answer(200, GRPC, framed(response.SerializeToString()), trailers=OK_STATUS)


def option(name: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> Json:
    return {"header": {"key": name, "value": value}, "append_action": action}


def old(name: str, value: str, append: bool) -> Json:
    return {"header": {"key": name, "value": value}, "append": append}


ACTIONS: Final = [
    option("x-a", "added"),
    option("x-new", "1"),
    option("x-new", "2"),
    option("x-b", "set", "OVERWRITE_IF_EXISTS_OR_ADD"),
    option("x-c", "absent", "ADD_IF_ABSENT"),
    option("x-a", "absent", "ADD_IF_ABSENT"),
    option("x-d", "exists", "OVERWRITE_IF_EXISTS"),
    old("x-e", "old", append=False),
    old("x-a", "joined", append=True),
    old("x-f", "joined", append=True),
]
ANSWERS: Final[dict[str, Http2Answer]] = {
    "allowed": answer(0, dynamicMetadata={"k": "v"}),
    "denied": answer(7),
    "denied with a status": answer(7, deniedResponse={"status": {"code": 401}, "body": "go away"}),
    "denied with fields": answer(
        16,
        deniedResponse={
            "status": {"code": 302},
            "headers": [
                option("location", "/login"),
                option("set-cookie", "a=1"),
                option("set-cookie", "b=2"),
            ],
        },
    ),
    "denied with a type": answer(
        7, deniedResponse={"body": "{}", "headers": [option("content-type", "application/json")]}
    ),
    "denied with actions": answer(7, deniedResponse={"headers": ACTIONS}),
    "fields": answer(0, okResponse={"headers": ACTIONS, "headersToRemove": ["x-gone", "host", ":path"]}),
    "response fields": answer(0, okResponse={"responseHeadersToAdd": ACTIONS}),
    "path": answer(0, okResponse={"headers": [option(":path", "/off/x", "OVERWRITE_IF_EXISTS_OR_ADD")]}),
    "queries": answer(
        0,
        okResponse={
            "queryParametersToSet": [{"key": "a", "value": "9"}, {"key": "z", "value": "1"}],
            "queryParametersToRemove": ["c"],
        },
    ),
    "garbage": Http2Answer(200, GRPC, framed(b"\xff\xff"), trailers=OK_STATUS),
    "failed": Http2Answer(200, GRPC, None, trailers=(("grpc-status", "13"),)),
    "http error": Http2Answer(503, (), b"oops"),
    "reset": Http2Answer(200, GRPC, None, reset=Code.INTERNAL_ERROR),
}


def script(pair: Pair, what: Any) -> None:
    for side in (pair.envoy, pair.outrider):
        side.origins["authz"].script(what)


def stats_of(*names: str) -> list[str]:
    return [
        *(f"http.{name}.ext_authz." for name in names),
        *(f"cluster.origin.ext_authz.{one}" for one in STATS),
        "cluster.origin.upstream_rq_403",
        "cluster.origin.internal.upstream_rq_403",
    ]


@pytest.mark.parametrize("name", ["plain", "open", "some"])
@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_decides_about_a_request(pair: Pair, what: str, name: str) -> None:
    script(pair, ANSWERS[what])
    request = get("/x?c=1&a=2&b", "x-a: 1", "x-b: 1", "x-d: 1", "x-gone: 1")
    with pair.same_stats(*stats_of(name)):
        same_everywhere(pair, [(name, request, HELLO)])


@pytest.mark.parametrize("what", ["allowed", "denied", "failed"])
def test_a_grpc_client_is_told_by_grpc(pair: Pair, what: str) -> None:
    script(pair, ANSWERS[what])
    same_everywhere(pair, [("plain", ASK_GRPC, HELLO)])


@pytest.mark.parametrize("name", ["dead", "nowhere", "never", "closed"])
def test_a_service_may_not_be_asked(pair: Pair, name: str) -> None:
    script(pair, ANSWERS["denied"])
    with pair.same_stats(*stats_of(name)):
        same_everywhere(pair, [(name, get("/x"), HELLO)])


def question(side: Side) -> Json:
    (stream,) = side.origins["authz"].streams
    request = external_auth_pb2.CheckRequest.FromString(bytes(stream.view.body[5:]))
    told: Json = MessageToDict(request)["attributes"]
    for end in ("source", "destination"):
        del told[end]["address"]["socketAddress"]["portValue"]
    http = told["request"]["http"]
    assert int(http.pop("id")) >= 0
    assert told["request"].pop("time")
    http.get("headers", {}).pop("x-request-id", None)
    return told


@pytest.mark.parametrize("path", ["/x?a=b", "/told", "/empty", "/redirected"])
@pytest.mark.parametrize("name", ["plain", "some"])
def test_the_service_is_told_the_same(pair: Pair, name: str, path: str) -> None:
    script(pair, ANSWERS["allowed"])
    fields = ("x-a: 1", "x-a: 2", "X-B: ü", "x-envoy-auth-partial-body: true", "cookie: a", "cookie: b")
    same_everywhere(pair, [(name, get(path, *fields), HELLO)])
    told = pair.same_value("question", question)
    assert ("contextExtensions" in told) is (path == "/told")


def test_a_route_switches_the_filter_off(pair: Pair) -> None:
    script(pair, ANSWERS["denied"])
    with pair.same_stats(*stats_of("plain")):
        same_everywhere(pair, [("plain", get("/off"), HELLO)])
