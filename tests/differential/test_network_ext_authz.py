"""The network filter ext_authz of real Envoy and ours: what the service is asked, what its answers lead to."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.json_format import MessageToDict

from tests.support.certs import Authority, Issued
from tests.support.configs import Json, address, bootstrap, cluster, file_log, http2_cluster, typed
from tests.support.differential import Pair, Side, same_verdict
from tests.support.http2_frames import Code
from tests.support.http2_origin import Http2Answer, Http2Origin
from tests.support.origin import Origin, OriginConnection

NETWORK = "envoy.extensions.filters.network."
TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
LOG = (
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_LOCAL_CLOSE_REASON% "
    "%DYNAMIC_METADATA(envoy.filters.network.ext_authz)%"
)
GRPC = (("content-type", "application/grpc"),)
OK_STATUS = (("grpc-status", "0"),)
METADATA: Json = {"filter": "envoy.filters.network.rbac", "path": [{"key": "shadow_engine_result"}]}


def network_filter(kind: str, **fields: Any) -> Json:
    return {"name": kind.partition(".")[0], "typed_config": typed(NETWORK + kind, **fields)}


def ext_authz(name: str, service: Json | None = None, **fields: Any) -> Json:
    return network_filter(
        "ext_authz.v3.ExtAuthz",
        **{
            "stat_prefix": name,
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, **(service or {})},
            **fields,
        },
    )


ANYBODY = {"permissions": [{"any": True}], "principals": [{"any": True}]}
#: Notes "denied" in dynamic metadata and lets everything pass.
SHADOW = network_filter(
    "rbac.v3.RBAC",
    stat_prefix="shadow",
    shadow_rules={"action": "DENY", "policies": {"p": ANYBODY}},
)  # fmt: skip
ECHO = network_filter("echo.v3.Echo")


def enabled_for(result: str) -> Json:
    return {"filter_enabled_metadata": {**METADATA, "value": {"string_match": {"exact": result}}}}


#: By the metadata of the authorization service.
OF_ANSWER: Json = {
    "policies": {
        "p": {
            "permissions": [
                {
                    "metadata": {
                        "filter": "envoy.filters.network.ext_authz",
                        "path": [{"key": "k"}],
                        "value": {"string_match": {"exact": "ok"}},
                    }
                }
            ],
            "principals": [{"any": True}],
        }
    }
}
CHAINS: dict[str, list[Json]] = {
    "plain": [ext_authz("plain"), ECHO],
    "open": [ext_authz("open", failure_mode_allow=True), ECHO],
    "told": [
        SHADOW,
        ext_authz(
            "told",
            {
                "envoy_grpc": {"cluster_name": "authz", "authority": "a.b", "skip_envoy_headers": True},
                "timeout": "1.5s",
                "initial_metadata": [
                    {"key": "x-client", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
                    {"key": "x-fixed", "value": "1"},
                ],
            },
            bootstrap_metadata_labels_key="labels",
            metadata_context_namespaces=["envoy.filters.network.rbac", "absent"],
        ),
        ECHO,
    ],
    "enabled": [SHADOW, ext_authz("enabled", **enabled_for("denied")), ECHO],
    "disabled": [SHADOW, ext_authz("disabled", **enabled_for("allowed")), ECHO],
    "gated": [ext_authz("gated"), network_filter("rbac.v3.RBAC", stat_prefix="gated", rules=OF_ANSWER), ECHO],
    "proxied": [
        ext_authz("proxied"),
        network_filter(
            "tcp_proxy.v3.TcpProxy", stat_prefix="proxied", cluster="first", access_log=[file_log(LOG)]
        ),
    ],
    "dead": [ext_authz("dead", {"envoy_grpc": {"cluster_name": "dead"}}), ECHO],
    "nowhere": [ext_authz("nowhere", {"envoy_grpc": {"cluster_name": "nowhere"}}), ECHO],
    "limited": [
        ext_authz(
            "limited", {"envoy_grpc": {"cluster_name": "authz", "max_receive_message_length": 2}}
        ),
        ECHO,
    ],
}  # fmt: skip


def chain(filters: list[Json], certificate: Issued | None, authority: Authority | None) -> Json:
    made: Json = {"filters": filters}
    if certificate is not None and authority is not None:
        context = {
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(certificate.certificate)},
                    "private_key": {"filename": str(certificate.key)},
                }
            ],
            "validation_context": {"trusted_ca": {"filename": str(authority.certificate)}},
        }
        made["transport_socket"] = {"name": "tls", "typed_config": typed(TLS, common_tls_context=context)}
    return made


def listener(name: str, filters: list[Json], *tls: Any) -> Json:
    return {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}"),
        **({} if name == "proxied" else {"access_log": [file_log(LOG)]}),
        "filter_chains": [chain(filters, *(tls or (None, None)))],
    }


def speak_first(connection: OriginConnection) -> None:
    connection.send(b"220 ")
    while data := connection.receive():
        connection.send(data)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def clients(authority: Authority) -> dict[str, Issued]:
    return {
        "uri": authority.issue("client", "spiffe://td/ns/a", "client.test"),
        "dns": authority.issue("by-name", "dns.test"),
    }


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[Pair]:
    secured = ext_authz("secured", include_peer_certificate=True, include_tls_session=True)
    server = authority.issue("server.test")
    config = bootstrap(
        [
            *(listener(name, filters) for name, filters in CHAINS.items()),
            listener("secured", [secured, ECHO], server, authority),
        ],
        [http2_cluster("authz"), http2_cluster("dead", 1), cluster("first")],
        node={"id": "n", "cluster": "c", "metadata": {"labels": {"x": "y", "z": "ü"}}},
    )
    origins = {"authz": Http2Origin, "first": lambda: Origin(take_over=speak_first)}
    with Pair(config, origins=origins, listeners=(*CHAINS, "secured")) as started:
        yield started


def framed(message: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(message)) + message


def answer(code: int, **fields: Any) -> bytes:
    response = external_auth_pb2.CheckResponse()
    response.status.code = code
    response.dynamic_metadata.update(fields)
    return framed(response.SerializeToString())


OK = answer(0, k="ok")
ANSWERS: dict[str, Http2Answer] = {
    "allowed": Http2Answer(200, GRPC, OK, trailers=OK_STATUS),
    "denied": Http2Answer(200, GRPC, answer(7, k="no", n=1.5), trailers=OK_STATUS),
    "twice": Http2Answer(200, GRPC, OK + OK, trailers=OK_STATUS),
    "in pieces": Http2Answer(200, GRPC, [OK[:3], OK[3:9], OK[9:]], trailers=OK_STATUS),
    "another type": Http2Answer(200, (("content-type", "text/plain"),), OK, trailers=OK_STATUS),
    "status in the head": Http2Answer(200, (*GRPC, ("grpc-status", "14")), None),
    "status in trailers": Http2Answer(200, GRPC, OK, trailers=(("grpc-status", "13"),)),
    "bad status": Http2Answer(200, GRPC, OK, trailers=(("grpc-status", "x"),)),
    "no status": Http2Answer(200, GRPC, OK),
    "no message": Http2Answer(200, GRPC, None, trailers=OK_STATUS),
    "nothing": Http2Answer(200, (*GRPC, ("grpc-status", "0")), None),
    "garbage": Http2Answer(200, GRPC, framed(b"\xff\xff"), trailers=OK_STATUS),
    "compressed": Http2Answer(200, GRPC, b"\1" + OK[1:], trailers=OK_STATUS),
    "http error": Http2Answer(503, (), b"oops"),
    "http error with status": Http2Answer(503, (("grpc-status", "0"),), None),
    "reset": Http2Answer(200, GRPC, None, reset=Code.INTERNAL_ERROR),
}  # fmt: skip


def script(pair: Pair, what: Any) -> None:
    for side in (pair.envoy, pair.outrider):
        side.origins["authz"].script(what)


def converse(side: Side, name: str, sent: bytes = b"hi") -> bytes:
    with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 5) as client:
        client.sendall(sent)
        return client.recv(10)


def mask(line: str) -> str:
    """How long the service took is not the same twice."""
    return re.sub(r'"ext_authz_duration":\d+', '"ext_authz_duration":N', line)


STATS = ("upstream_rq_200", "upstream_rq_503", "upstream_rq_504", "upstream_rq_total", "upstream_rq_timeout")


def verdict_of(pair: Pair, name: str) -> bytes:
    """What comes back for two bytes, with the same log and the same numbers on both sides."""
    before = pair.lines_logged()
    with pair.same_stats(f"ext_authz.{name}.", *(f"cluster.authz.{one}" for one in STATS)):
        reply: bytes = pair.same_value(name, lambda side: converse(side, name), settle=0)
    pair.logged_since(before, 1)
    pair.same_log(mask=mask)
    return reply


@pytest.mark.parametrize("name", ["plain", "open"])
@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_lets_a_connection_pass_or_ends_it(pair: Pair, what: str, name: str) -> None:
    script(pair, ANSWERS[what])
    passing = what in {"allowed", "twice", "in pieces", "another type"} or (
        name == "open" and what != "denied"
    )
    assert verdict_of(pair, name) == (b"hi" if passing else b"")


def test_a_service_that_is_slow_is_an_error(pair: Pair) -> None:
    script(pair, lambda stream: stream.wait(lambda view: view.reset is not None))
    assert verdict_of(pair, "plain") == b""


@pytest.mark.parametrize("name", ["dead", "nowhere"])
def test_a_service_that_is_not_there_is_an_error(pair: Pair, name: str) -> None:
    assert verdict_of(pair, name) == b""


def test_a_message_may_be_too_long(pair: Pair) -> None:
    script(pair, ANSWERS["allowed"])
    assert verdict_of(pair, "limited") == b""


@pytest.mark.parametrize("name", ["enabled", "disabled"])
def test_metadata_tells_who_is_asked_about(pair: Pair, name: str) -> None:
    script(pair, ANSWERS["denied"])

    with pair.same_stats(f"ext_authz.{name}.", ignore=[f"ext_authz.{name}.disabled"]):
        reply = pair.same_value(name, lambda side: converse(side, name), settle=0)
    assert reply == (b"" if name == "enabled" else b"hi")


@pytest.mark.parametrize("what", ["allowed", "in pieces"])
def test_a_later_filter_sees_the_metadata_of_the_answer(pair: Pair, what: str) -> None:
    script(pair, ANSWERS[what])
    with pair.same_stats("gated.rbac."):
        assert pair.same_value(what, lambda side: converse(side, "gated"), settle=0) == b"hi"
    script(pair, Http2Answer(200, GRPC, answer(0, k="other"), trailers=OK_STATUS))
    with pair.same_stats("gated.rbac."):
        assert pair.same_value("other", lambda side: converse(side, "gated"), settle=0) == b""


@pytest.mark.parametrize(("what", "reply"), [("allowed", b"220 hi"), ("denied", b"220 ")])
def test_a_server_may_speak_before_the_service_has(pair: Pair, what: str, reply: bytes) -> None:
    script(pair, ANSWERS[what])

    def talk(side: Side) -> bytes:
        with socket.create_connection(("127.0.0.1", side.proxy.ports["proxied"]), 5) as client:
            said = client.recv(4)
            client.sendall(b"hi")
            client.shutdown(socket.SHUT_WR)
            while more := client.recv(100):
                said += more
            return said

    before = pair.lines_logged()
    assert pair.same_value(what, talk, settle=0) == reply
    pair.logged_since(before, 1)
    pair.same_log(mask=mask)


def question(side: Side) -> tuple[list[tuple[str, str]], Json]:
    """The fields and the message of the only request that the service has got, without ports."""
    (stream,) = side.origins["authz"].streams
    fields = sorted((name, value) for name, value in stream.view.heads[0])
    request = external_auth_pb2.CheckRequest.FromString(bytes(stream.view.body[5:]))
    told = MessageToDict(request)
    for end in ("source", "destination"):
        del told["attributes"][end]["address"]["socketAddress"]["portValue"]
    return fields, told


@pytest.mark.parametrize("name", ["plain", "told"])
def test_the_service_is_told_the_same(pair: Pair, name: str) -> None:
    script(pair, ANSWERS["allowed"])
    assert pair.same_value(name, lambda side: converse(side, name), settle=0) == b"hi"
    _, told = pair.same_value("question", question)
    assert ("labels" in told["attributes"]["destination"]) is (name == "told")


@pytest.mark.parametrize("who", ["uri", "dns", "nobody"])
def test_the_service_is_told_of_certificates(
    pair: Pair, authority: Authority, clients: dict[str, Issued], who: str
) -> None:
    script(pair, ANSWERS["allowed"])

    def talk(side: Side) -> bytes:
        context = authority.client_context(clients.get(who))
        with (
            socket.create_connection(("127.0.0.1", side.proxy.ports["secured"]), 5) as raw,
            context.wrap_socket(raw, server_hostname="server.test") as client,
        ):
            client.sendall(b"hi")
            return client.recv(10)

    assert pair.same_value(who, talk, settle=0) == b"hi"
    _, told = pair.same_value("question", question)
    assert ("certificate" in told["attributes"]["source"]) is (who != "nobody")
    assert told["attributes"]["tlsSession"] == {"sni": "server.test"}


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({}, True),
        ({"stat_prefix": ""}, False),
        ({"transport_api_version": "V2"}, False),
        ({"grpc_service": {}}, False),
        ({"grpc_service": {"envoy_grpc": {"cluster_name": ""}}}, False),
        ({"grpc_service": {"envoy_grpc": {"cluster_name": "elsewhere"}}}, True),
    ],
)
def test_configs_are_accepted_or_refused_alike(fields: Json, accepted: bool) -> None:
    config = bootstrap([listener("plain", [ext_authz("plain", **fields), ECHO])])
    assert same_verdict(config, {"plain_port": 1, "admin_port": 1})[0] is accepted
