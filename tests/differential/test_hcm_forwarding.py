"""Who sent a request, and what we say of it upstream: x-forwarded-*, x-envoy-*, via, request ids, hop-by-hop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.configs import TYPE, Json
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client
from tests.support.managers import get, logging_apart, managers_fixture, same_everywhere
from tests.support.origin import HELLO

XFF_DETECTION = f"{TYPE}envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"


def cidrs(*texts: str) -> list[Json]:
    return [
        {"address_prefix": text.partition("/")[0], "prefix_len": int(text.partition("/")[2])}
        for text in texts
    ]


INTERNAL: Json = {"internal_address_config": {"cidr_ranges": cidrs("10.0.0.0/8", "127.0.0.1/32")}}


def detection(**fields: Any) -> Json:
    config = {"@type": XFF_DETECTION, **fields}
    return {"original_ip_detection_extensions": [{"name": "xff", "typed_config": config}]}


MANAGERS: dict[str, Json] = {
    "plain": {},
    "plain_internal": INTERNAL,
    "hops1": {"xff_num_trusted_hops": 1, **INTERNAL},
    "edge": {"use_remote_address": True},
    "edge_internal": {"use_remote_address": True, **INTERNAL},
    "edge_hops1": {"use_remote_address": True, "xff_num_trusted_hops": 1, **INTERNAL},
    "edge_hops2": {"use_remote_address": True, "xff_num_trusted_hops": 2, **INTERNAL},
    "edge_skip": {"use_remote_address": True, "skip_xff_append": True},
    "detect": detection(),
    "detect_hops": {**detection(xff_num_trusted_hops=1), **INTERNAL},
    "detect_append": detection(skip_xff_append=False),
    "detect_cidrs": {
        **detection(xff_trusted_cidrs={"cidrs": cidrs("127.0.0.0/8", "1.0.0.0/8")}),
        **INTERNAL,
    },
    "detect_other": detection(xff_trusted_cidrs={"cidrs": cidrs("9.0.0.0/8")}, skip_xff_append=False),
    "agent": {"use_remote_address": True, "add_user_agent": True, "via": "1.1 me"},
    "agent_plain": {"add_user_agent": True, "generate_request_id": False},
    "keep_id": {
        "use_remote_address": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
    },
    "tell_id": {"always_set_request_id_in_response": True},
}
CHAINS = [
    [],
    ["10.0.0.1"],
    ["127.0.0.1"],
    ["1.2.3.4"],
    ["10.0.0.1, 1.2.3.4"],
    ["1.2.3.4,10.0.0.9"],
    ["1.1.1.1, 1.2.2.2"],
    ["4.4.4.4 , 1.1.1.1"],
    ["1.2.3.4, 5.6.7.8, 10.0.0.9"],
    ["garbage"],
    ["1.2.3.4, junk"],
    ["1.2.3.4", "10.1.1.1"],
    [""],
    ["10.0.0.1:80"],
    ["::1"],
    ["[::1]"],
    ["[::1]:80, 10.0.0.5:99"],
    ["1.2.3.4,"],
    ["01.2.3.4"],
    ["::ffff:10.0.0.1"],
    ["10.0.0.1%lo"],
    ["fe80::1%lo"],
]
ENVOY_FIELDS = [
    "X-Envoy-Internal: true",
    "X-Envoy-External-Address: 9.9.9.9",
    "X-Envoy-Retry-On: 5xx",
    "X-Envoy-Retry-Grpc-On: internal",
    "X-Envoy-Max-Retries: 3",
    "X-Envoy-Upstream-Rq-Timeout-Ms: 5000",
    "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms: 4000",
    "X-Envoy-Upstream-Rq-Timeout-Alt-Response: 1",
    "X-Envoy-Upstream-Stream-Duration-Ms: 9000",
    "X-Envoy-Upstream-Alt-Stat-Name: alt",
    "X-Envoy-Hedge-On-Per-Try-Timeout: true",
    "X-Envoy-Retriable-Status-Codes: 500",
    "X-Envoy-Retriable-Header-Names: a",
    "X-Envoy-Expected-Rq-Timeout-Ms: 7000",
    "X-Envoy-Force-Trace: 1",
    "X-Envoy-Decorator-Operation: x",
    "X-Envoy-Downstream-Service-Cluster: a",
    "X-Envoy-Downstream-Service-Node: b",
    "X-Envoy-Ip-Tags: q",
    "X-Envoy-Original-Url: u",
    "X-Envoy-Original-Path: /o",
    "X-Envoy-Original-Host: oh",
    "X-Envoy-Attempt-Count: 7",
    "X-Envoy-Is-Timeout-Retry: 1",
    "X-Envoy-Degraded: 1",
    "X-Envoy-Fault-Delay-Request: 1",
    "X-Envoy-Peer-Metadata: z",
    "X-Int-Only: yes",
    "X-Client-Trace-Id: ct",
]
FIELDS = [
    ["X-Forwarded-Proto: https"],
    ["X-Forwarded-Proto: ftp"],
    ["X-Forwarded-Proto: HTTPS"],
    ENVOY_FIELDS,
    ["X-Forwarded-For: 10.0.0.1", *ENVOY_FIELDS],
    ["User-Agent: ua", "Via: 1.0 x"],
    ["User-Agent:", "Via:"],
    ["X-Request-Id: abc"],
    ["X-Request-Id: 11111111-1111-4111-8111-111111111111"],
    ["X-Request-Id:"],
    ["X-Request-Id: a", "X-Request-Id: b"],
    ["Via: a", "Via: b"],
    ["X-Forwarded-Client-Cert: Hash=1"],
]
HOP_BY_HOP = [
    ["Keep-Alive: 5", "Proxy-Connection: keep-alive", "TE: trailers", "Connection: keep-alive"],
    ["TE: gzip, trailers"],
    ["TE: gzip"],
    ["TE: trailers;q=0.5"],
    ["Connection: x-foo", "X-Foo: 1"],
    ["Connection: te", "TE: trailers"],
    ["Connection: keep-alive, X-Foo", "X-Foo: 1"],
    ["Connection: x-forwarded-for", "X-Forwarded-For: 1.1.1.1"],
    ["Connection: keep-alive, cookie, transfer-encoding", "Cookie: a=b"],
    ["Connection: upgrade", "Upgrade: h2c"],
    ["Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: AAA"],
    ["Upgrade: foo"],
    ["Cookie: a=1", "Cookie: b=2"],
    ["X-A: 1", "X-B: 2", "X-A: 3"],
    ["X-A:"],
    ["Trailer: x"],
    ["Expect: something"],
    ["x_under: 1"],
]
REPEATED_TEXT = r"""
accept accept-encoding accept-language access-control-request-headers access-control-request-method
authorization cache-control content-encoding content-type content-language cookie date etag forwarded
from grpc-accept-encoding grpc-encoding grpc-message grpc-status grpc-timeout if-match if-modified-since
if-none-match if-range if-unmodified-since last-modified link location origin pragma proxy-authorization
proxy-status range referer server trailer user-agent vary via www-authenticate x-client-trace-id x-custom
x-envoy-decorator-operation x-envoy-degraded x-envoy-ratelimited x-envoy-original-host x-envoy-overloaded
x-envoy-original-path x-envoy-upstream-canary x-forwarded-for x-forwarded-host x-forwarded-port
x-request-id x-forwarded-proto traceparent set-cookie access-control-allow-origin
access-control-expose-headers age expires retry-after keep-alive strict-transport-security
"""
REPEATED = REPEATED_TEXT.split()
OWN_ID = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-request-id: own\r\n\r\n"

pair = managers_fixture(
    {
        **MANAGERS,
        "port": {"append_x_forwarded_port": True},
        "edge_port": {"append_x_forwarded_port": True, "use_remote_address": True},
        "edge_port_hops": {
            "append_x_forwarded_port": True,
            "use_remote_address": True,
            "xff_num_trusted_hops": 1,
        },
        "tell_given_id": {"generate_request_id": False, "always_set_request_id_in_response": True},
    },
    route_config={"internal_only_headers": ["x-int-only"]},
    node={"id": "node-1", "cluster": "cluster-1"},
)


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_client_is_told_from_x_forwarded_for(pair: Pair, manager: str) -> None:
    cases = [
        (manager, get("/", *(f"X-Forwarded-For: {value}" for value in values)), HELLO) for values in CHAINS
    ]
    same_everywhere(pair, cases)


@pytest.mark.parametrize("manager", MANAGERS)
def test_fields_that_only_some_clients_may_set(pair: Pair, manager: str) -> None:
    same_everywhere(pair, [(manager, get("/", *fields), HELLO) for fields in FIELDS])


def test_a_peer_on_another_loopback_address_is_remote(pair: Pair) -> None:
    same_everywhere(pair, [(manager, get(), HELLO) for manager in MANAGERS], source="127.0.0.2")


def test_hop_by_hop_fields_end_here(pair: Pair) -> None:
    same_everywhere(pair, [("plain", get("/", *fields), HELLO) for fields in HOP_BY_HOP])


def test_only_some_repeated_fields_are_joined(pair: Pair) -> None:
    lines = [f"{name}: {value}" for name in REPEATED for value in "ab"]
    cases = []
    for start in range(0, len(lines), 60):
        some = lines[start : start + 60]
        head = "\r\n".join(["HTTP/1.1 200 OK", "content-length: 0", *some])
        cases.append(("plain", get("/", *some), f"{head}\r\n\r\n".encode()))
    same_everywhere(pair, cases)


@pytest.mark.parametrize("manager", ["port", "edge_port", "edge_port_hops"])
@pytest.mark.parametrize("sent", [[], ["X-Forwarded-Port: 99"]])
def test_x_forwarded_port_is_that_of_the_listener(pair: Pair, manager: str, sent: list[str]) -> None:
    envoy, outrider = pair.run(get("/", *sent), listener=manager)
    for side, outcome in ((pair.envoy, envoy), (pair.outrider, outrider)):
        kept = bool(sent) and manager != "edge_port"
        wanted = "99" if kept else str(side.proxy.ports[manager])
        assert outcome.request.get("x-forwarded-port") == wanted, side.proxy.name


def same_ids(pair: Pair, manager: str, sent: Sequence[Sequence[str]], answer: bytes) -> None:
    """Clients of both versions send requests of these ids, and are told the same ones with the responses."""
    cases = [(manager, get("/", *(f"X-Request-Id: {one}" for one in ids)), answer) for ids in sent]
    same_everywhere(pair, cases)

    def told(side: Side) -> list[list[str]]:
        side.origin.script(answer)
        with Http2Client(side.proxy.ports[manager]) as client:
            views = [
                client.request(2 * number + 1, fields=[("x-request-id", one) for one in ids])
                for number, ids in enumerate(sent)
            ]
        return [[value for name, value in view.fields if name == "x-request-id"] for view in views]

    with logging_apart(pair, len(sent)):
        pair.same_value("x-request-id", told, settle=0)


@pytest.mark.parametrize("answer", [HELLO, OWN_ID], ids=["without id", "with its own"])
def test_without_an_id_there_is_none_to_tell(pair: Pair, answer: bytes) -> None:
    # What becomes of a response is kept once it has come before.
    same_ids(pair, "tell_given_id", [(), ("abc",), ("",)] * 4, answer)


def test_long_ids_are_told(pair: Pair) -> None:
    same_ids(pair, "tell_id", [("a" * length,) for length in (126, 127, 128, 300) for _ in range(3)], HELLO)
