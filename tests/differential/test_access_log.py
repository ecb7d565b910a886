"""Access logs, local reply bodies and header operations: the same texts from both for the same requests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.support.compare import Difference
from tests.support.configs import FILE_LOG, Json, cluster, http_proxy, route, typed
from tests.support.differential import Pair, Side, pair_fixture, same_verdict

#: Compared as they are.
EXACT = (
    "REQ(:METHOD)",
    "REQ(X-A)",
    "REQ(X-NONE?X-B)",
    "REQ(X-NONE)",
    "REQ(X-A):1",
    "REQ(X-A):0",
    "REQ(X-E)",
    "REQ(HOST)",
    "REQ(:AUTHORITY)",
    "REQ(:SCHEME)",
    "REQ(:PATH)",
    "REQ(COOKIE)",
    "REQ(USER-AGENT)",
    "REQ(X-ODD)",
    "RESP(:STATUS)",
    "RESP(X-UP)",
    "RESP(VIA)",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "PROTOCOL",
    "UPSTREAM_PROTOCOL",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "CONNECTION_TERMINATION_DETAILS",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "COMMON_DURATION(DS_RX_BEG:NOPE)",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(0)",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(33)",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(x)",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(-1)",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "REQUESTED_SERVER_NAME",
    "REQUESTED_SERVER_NAME(SNI_FIRST)",
    "ROUTE_NAME",
    "VIRTUAL_CLUSTER_NAME",
    "HOSTNAME",
    "ENVIRONMENT(OUTRIDER_NO_SUCH)",
    "QUERY_PARAM(a)",
    "QUERY_PARAM(b)",
    "QUERY_PARAM(c)",
    "QUERY_PARAMS",
    "QUERY_PARAMS(DECODED)",
    "PATH",
    "PATH(NQ)",
    "PATH(WQ:PATH):3",
    "PATH(NQ:ORIG)",
    "LOCAL_REPLY_BODY",
    "GRPC_STATUS",
    "FILTER_CHAIN_NAME",
    "LISTENER_NAME",
    "DYNAMIC_METADATA(a:b)",
    "METADATA(ROUTE:ns)",
    "METADATA(ROUTE:ns:s):2",
    "METADATA(ROUTE:ns:o)",
    "METADATA(VIRTUAL_HOST:ns:i)",
    "METADATA(CLUSTER:ns:l)",
    "METADATA(UPSTREAM_HOST:ns:b)",
    "METADATA(LISTENER:ns:s)",
    "FILTER_STATE(a)",
    "ACCESS_LOG_TYPE",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_TLS_VERSION",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    'COALESCE({"operators":["REQUESTED_SERVER_NAME",{"command":"REQ","param":":path"}]}):4',
)
#: Compared with every number replaced: whether there is a value, and of which form.
VARYING = (
    "START_TIME",
    "START_TIME(%s.%6f)",
    "EMIT_TIME",
    "DURATION",
    "REQUEST_DURATION",
    "REQUEST_TX_DURATION",
    "RESPONSE_DURATION",
    "RESPONSE_TX_DURATION",
    "COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)",
    "COMMON_DURATION(US_TX_BEG:US_RX_END:us)",
    "COMMON_DURATION(US_CX_BEG:US_CX_END:us)",
    "COMMON_DURATION(US_CX_BEG:US_HS_END:us)",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_REMOTE_PORT",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "CONNECTION_ID",
    "UPSTREAM_CONNECTION_ID",
    "UNIQUE_ID",
    "STREAM_ID",
    "UPSTREAM_WIRE_BYTES_SENT",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
)
OPERATORS = (*EXACT, *VARYING)
METADATA: Json = {
    "filter_metadata": {
        "ns": {
            "s": 'str"q\n',
            "i": 3,
            "b": True,
            "n": None,
            "o": {"k": "v", "a": [1, "x"]},
            "l": [1, {"a": None}],
        }
    }
}
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-up: u1\r\nx-up: u2\r\nvia: a\r\nvia: b\r\n\r\nhello"


def log(name: str, log_format: Json | None = None, **fields: Any) -> Json:
    config = {} if log_format is None else {"log_format": log_format}
    return {"name": name, "typed_config": typed(FILE_LOG, path=f"{{{{dir}}}}/{name}.log", **config), **fields}


def text(line: str, **options: Any) -> Json:
    return {"text_format_source": {"inline_string": line}, **options}


def compare(op: str, value: int, default: str = "status_code_filter") -> Json:
    return {default: {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "k"}}}}


PLAIN = "".join(f"{index}\t%{name}%\n" for index, name in enumerate(OPERATORS)) + "===\n"
MEMBERS = {f"{index:03d}": f"%{name}%" for index, name in enumerate(OPERATORS)}
TREE: Json = {
    **MEMBERS,
    "zz": 'lit é "q" 100%%',
    "aa": {"n": "%PROTOCOL%", "m": ["%RESPONSE_CODE%", "x%RESPONSE_CODE%", 3, True, None]},
    "mm": "%PROTOCOL% %REQ(nope)%",
    "nest": {"a": "%REQ(nope)%"},
    "list": ["%REQ(nope)%", "x"],
    "empty": {},
    "null": None,
}
LINE = text("%REQ(:PATH)% %RESPONSE_CODE%\n")
FILTERS: dict[str, Json] = {
    "status": compare("GE", 400),
    "status_ne": compare("NE", 200),
    "duration": compare("GE", 100_000, "duration_filter"),
    "not_health_check": {"not_health_check_filter": {}},
    "runtime": {"runtime_filter": {"runtime_key": "r"}},
    "both": {"and_filter": {"filters": [compare("GE", 200), compare("LE", 200)]}},
    "either": {"or_filter": {"filters": [compare("EQ", 404), compare("EQ", 200)]}},
    "header": {"header_filter": {"header": {"name": "x-a", "string_match": {"exact": "one,two"}}}},
    "flag": {"response_flag_filter": {"flags": ["NR"]}},
    "any_flag": {"response_flag_filter": {}},
    "grpc": {"grpc_status_filter": {"statuses": ["OK"]}},
    "grpc_excluded": {"grpc_status_filter": {"statuses": ["UNIMPLEMENTED"], "exclude": True}},
    "metadata": {
        "metadata_filter": {
            "matcher": {"filter": "a", "path": [{"key": "b"}], "value": {"bool_match": True}},
            "match_if_key_not_found": False,
        }
    },
    "log_type": {"log_type_filter": {"types": ["DownstreamEnd"]}},
    "log_type_excluded": {"log_type_filter": {"types": ["DownstreamEnd"], "exclude": True}},
    "runtime_all": {"runtime_filter": {"runtime_key": "r", "percent_sampled": {"numerator": 100}}},
}


def add(key: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD", **more: Any) -> Json:
    return {"header": {"key": key, "value": value}, "append_action": action, **more}


REQUEST_OPS = [
    add("x-1", "a%REQ(none)%b"),
    add("x-2", "%REQ(none)%"),
    add("x-3", "%REQ(none)%", keep_empty_value=True),
    add("x-4", "100%%"),
    add("x-7", "1", "ADD_IF_ABSENT"),
    add("x-7", "2", "ADD_IF_ABSENT"),
    add("x-a", "over", "OVERWRITE_IF_EXISTS_OR_ADD"),
    add("x-a", "%REQ(x-a)%+app"),
    add("x-8", "n", "OVERWRITE_IF_EXISTS"),
    add("user-agent", "n", "OVERWRITE_IF_EXISTS"),
    add("x-forwarded-for", "9.9.9.9"),
    add("x-rm", "back"),
    add("x-12", "%REQ(x-rm)%|"),
    add("x-13", ""),
    add("x-14", "", keep_empty_value=True),
    add("cookie", "c=3"),
    add("accept", "z"),
    add("x-15", "%UPSTREAM_CLUSTER%|%UPSTREAM_HOST%|%ROUTE_NAME%|%RESPONSE_FLAGS%|%ACCESS_LOG_TYPE%"),
    add("x-16", "é"),
    add("x-17", '%CLUSTER_METADATA( ["ns", "s"] )%|%DYNAMIC_METADATA(["a"])%|%PER_REQUEST_STATE(k)%|'),
    add("x-19", "%REQ(x-a)%", "OVERWRITE_IF_EXISTS_OR_ADD"),
    add("x-20", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
]
RESPONSE_OPS = [
    add("y-1", "%RESP(x-up)%|%REQ(x-a)%|%RESPONSE_CODE%|%RESPONSE_CODE_DETAILS%|%UPSTREAM_METADATA(ns:i)%"),
    add("via", "added"),
    add("set-cookie", "added"),
    add("y-2", "%RESP(:status)%", "OVERWRITE_IF_EXISTS_OR_ADD"),
    add("content-type", "x/y"),
]
OPS = {
    "request_headers_to_add": REQUEST_OPS,
    "request_headers_to_remove": ["X-Rm", "nope"],
    "response_headers_to_add": RESPONSE_OPS,
    "response_headers_to_remove": ["x-gone"],
}
MAPPERS = [
    {
        "filter": compare("EQ", 404),
        "body_format_override": {"json_format": {"b": "%RESPONSE_CODE%", "a": "%PATH%"}},
    },
    {
        "filter": compare("EQ", 403),
        "body_format_override": text("T %LOCAL_REPLY_BODY%", content_type="text/html; charset=UTF-8"),
    },
]


def answer(prefix: str, status: int, body: str) -> Json:
    return {
        "name": f"direct{status}",
        "match": {"prefix": prefix},
        "direct_response": {"status": status, "body": {"inline_string": body}},
    }


CONFIG = http_proxy(
    virtual_hosts=[
        {
            "name": "all",
            "domains": ["*"],
            "metadata": METADATA,
            "routes": [
                answer("/403", 403, "dr"),
                answer("/500", 500, "dr5"),
                {"name": "ops", **route(prefix="/ops"), **OPS},
                {"name": "up", "metadata": METADATA, **route(prefix="/p", prefix_rewrite="/rw")},
            ],
        }
    ],
    hcm={
        "access_log": [
            log("text", text(PLAIN)),
            log("text_omitting", text(PLAIN, omit_empty_values=True)),
            log("json", {"json_format": TREE}),
            log("json_omitting", {"json_format": TREE, "omit_empty_values": True}),
            log("default"),
            *(log(f"filter_{name}", LINE, filter=one) for name, one in FILTERS.items()),
        ],
        "local_reply_config": {"mappers": MAPPERS, "body_format": text("D %LOCAL_REPLY_BODY% %REQ(nope)%")},
    },
    listener_fields={"metadata": METADATA},
    clusters=[
        cluster(
            alt_stat_name="alt",
            metadata=METADATA,
            load_assignment={
                "cluster_name": "origin",
                "endpoints": [
                    {
                        "lb_endpoints": [
                            {
                                "endpoint": {
                                    "address": {
                                        "socket_address": {
                                            "address": "127.0.0.1",
                                            "port_value": "{{origin_port}}",
                                        }
                                    }
                                },
                                "metadata": METADATA,
                            }
                        ]
                    }
                ],
            },
        )
    ],
)
pair = pair_fixture(CONFIG)

FIELDS = (
    b'host: ex.com\r\nx-a: one\r\nx-a: two\r\nx-b: bee\r\nx-e: \r\nx-odd: a"b\\c\xe9\t!\r\n'
    b"cookie: a=1\r\ncookie: b=2\r\nx-rm: gone\r\nuser-agent: test\r\naccept: y\r\n"
    b"x-forwarded-for: 1.2.3.4\r\nconnection: close\r\n\r\n"
)
REQUESTS = {
    "upstream": b"GET /p?a=1%20b&b=&c=%e9%22&d=%2b%zz HTTP/1.1\r\n" + FIELDS,
    "direct": b"GET /403? HTTP/1.1\r\n" + FIELDS,
    "no_route": b"GET /nowhere HTTP/1.1\r\nhost: ex.com\r\nconnection: close\r\n\r\n",
    "grpc": b"POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 2\r\n"
    b"connection: close\r\n\r\nhi",
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read(side: Side, name: str, entries: int = 0) -> list[str]:
    """The entries of a log of the config, once there are at least so many."""
    path = side.proxy.directory / f"{name}.log"
    separator = "===\n" if name.startswith("text") else "\n"
    deadline = time.monotonic() + 5
    while True:
        found = path.read_text(encoding="latin-1").split(separator)[:-1]
        if len(found) >= entries or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


def masked(value: object) -> object:
    if isinstance(value, int):
        return "<number>"
    return re.sub(r"\d+", "N", _UUID.sub("<uuid>", value)) if isinstance(value, str) else value


def by_operator(found: Mapping[str, object]) -> dict[str, object]:
    """Operator → value, with the values that vary masked; members that are no operators stay as they are."""
    result: dict[str, object] = {}
    for key, value in found.items():
        name = OPERATORS[int(key)] if key.isdigit() else key
        result[name] = masked(value) if name in VARYING else value
    return result


def differences(where: str, envoy: Mapping[str, object], outrider: Mapping[str, object]) -> list[Difference]:
    return [
        Difference(f"{where}.{name}", envoy.get(name, "(absent)"), outrider.get(name, "(absent)"))
        for name in [*envoy, *(name for name in outrider if name not in envoy)]
        if envoy.get(name, "(absent)") != outrider.get(name, "(absent)")
    ]


def parsed_text(entry: str) -> dict[str, object]:
    parts = re.split(r"^(\d+)\t", entry, flags=re.MULTILINE)[1:]
    return by_operator(
        dict(
            zip(
                parts[::2],
                (value.removesuffix("\n") for value in parts[1::2]),
                strict=True,
            )
        )
    )


def parsed_json(entry: str) -> dict[str, object]:
    members = json.loads(entry)
    assert list(members) == sorted(members)
    return by_operator(members)


PARSERS: dict[str, Callable[[str], dict[str, object]]] = {
    "text": parsed_text,
    "text_omitting": parsed_text,
    "json": parsed_json,
    "json_omitting": parsed_json,
    "default": lambda entry: {"line": masked(entry)},
}


def same_entries(pair: Pair, request: bytes, answer: bytes = ANSWER) -> None:
    """The last entry of every log must agree after `request`."""

    def action(side: Side) -> dict[str, dict[str, object]]:
        before = {name: len(read(side, name)) for name in PARSERS}
        side.run(request, answer, None, {})
        return {name: parse(read(side, name, before[name] + 1)[-1]) for name, parse in PARSERS.items()}

    envoy, outrider = pair.both(action)
    found = [one for kind in envoy for one in differences(kind, envoy[kind], outrider[kind])]
    pair.check(found, context=f"after {request!r}")


@pytest.mark.parametrize("request_name", REQUESTS)
def test_every_operator_in_every_kind_of_format(pair: Pair, request_name: str) -> None:
    same_entries(pair, REQUESTS[request_name])


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_every_operator_for_requests_that_come_again_and_again(pair: Pair, method: bytes) -> None:
    request = method + b" /p?a=1%20b&b=100%s HTTP/1.1\r\n" + FIELDS
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    dated = b"HTTP/1.1 404 No\r\ndate: x\r\nx-request-id: y\r\ncontent-length: 3\r\n\r\nyou"
    for size in range(5):
        same_entries(pair, request)
        if method == b"GET":
            same_entries(pair, request, chunked % (size + 1, b"x" * (size + 1)))
            same_entries(pair, request, dated)


def test_filters_let_the_same_streams_through(pair: Pair) -> None:
    def action(side: Side) -> dict[str, list[str]]:
        before = {name: len(read(side, f"filter_{name}")) for name in FILTERS}
        for request in REQUESTS.values():
            side.run(request, ANSWER, None, {})
        # This one lets everything through and stands last, so the others have been flushed when it has.
        read(side, "filter_runtime_all", before["runtime_all"] + len(REQUESTS))
        return {name: read(side, f"filter_{name}")[before[name] :] for name in FILTERS}

    envoy, outrider = pair.both(action)
    pair.check(differences("filter", envoy, outrider))


@pytest.mark.parametrize("target", ["/ops", "/403", "/500", "/nowhere"])
def test_header_operations_and_local_replies(pair: Pair, target: str) -> None:
    pair.same(f"GET {target} HTTP/1.1\r\n".encode() + FIELDS, ANSWER)


@pytest.mark.parametrize(
    "line",
    [
        "%REQ%",
        "%REQ(A?B?C)%",
        "%REQ(a b)%",
        "%NOPE%",
        "%VIRTUAL_HOST_NAME%",
        "100%",
        "100%%",
        "%REQ(A):3%",
        "%RESPONSE_CODE(X)%",
        "%START_TIME(%n)%",
        "%PATH(XX)%",
        "%REQ_WITHOUT_QUERY(a)%",
        "%DYNAMIC_METADATA(a):3%",
        "%CLUSTER_METADATA(a):3%",
    ],
)
def test_formats_are_judged_alike(line: str) -> None:
    same_verdict(http_proxy(hcm={"access_log": [log("x", text(line))]}))


@pytest.mark.parametrize(
    "operations",
    [
        {"request_headers_to_add": [add(":path", "/x")]},
        {"request_headers_to_add": [add("Host", "x")]},
        {"response_headers_to_remove": [":status"]},
        {"request_headers_to_remove": ["host"]},
        {"request_headers_to_add": [add("a", "%NOPE%")]},
        {"request_headers_to_add": [add("a", "b", "ADD_IF_ABSENT", append=True)]},
        {"request_headers_to_add": [add("a", "b", append=False)]},
        {"request_headers_to_add": [add("connection", "x")]},
    ],
)
def test_header_operations_are_judged_alike(operations: Json) -> None:
    same_verdict(http_proxy(routes=[{**route(), **operations}]))
