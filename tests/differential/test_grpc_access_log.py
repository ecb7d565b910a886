"""gRPC access loggers of real Envoy and ours: what an access log service is sent of the same requests."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from google.protobuf.json_format import MessageToDict

from tests.support.certs import Authority
from tests.support.configs import (
    ROUTER,
    Json,
    bootstrap,
    cluster,
    connection_manager,
    http2_cluster,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side, same_verdict
from tests.support.http2_origin import Http2Answer, Http2Origin, OriginStream
from tests.support.origin import Origin

ALS = "envoy.extensions.access_loggers.grpc.v3."
TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
NETWORK = "envoy.extensions.filters.network."
NODE: Json = {"id": "n", "cluster": "c", "metadata": {"labels": {"x": "y"}}}
TEA: Json = {"inline_string": "tea"}
STATS = "access_logs.grpc_access_log."


def common(name: str, **fields: Any) -> Json:
    return {
        "log_name": name,
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "als"}},
        "buffer_size_bytes": 0,
        **fields,
    }


def grpc_log(kind: str, fields: Json, **more: Any) -> Json:
    name = f"envoy.access_loggers.{kind.lower()}_grpc"
    return {
        "name": name,
        "typed_config": typed(f"{ALS}{kind}GrpcAccessLogConfig", common_config=fields, **more),
    }


HTTP_LOG = grpc_log(
    "Http",
    common(
        "web",
        custom_tags=[
            {"tag": "fixed", "literal": {"value": "one"}},
            {"tag": "home", "environment": {"name": "NOT_SET_ANYWHERE", "default_value": "none"}},
            {"tag": "empty", "environment": {"name": "NOT_SET_ANYWHERE"}},
            {"tag": "asked", "request_header": {"name": "X-Asked", "default_value": "nobody"}},
            {"tag": "unasked", "request_header": {"name": "x-unasked"}},
        ],
    ),
    additional_request_headers_to_log=["X-Asked", "x-twice", ":method", "absent"],
    additional_response_headers_to_log=["X-Told", "content-length", "absent"],
    additional_response_trailers_to_log=["X-End"],
)  # fmt: skip
TCP_LOG = grpc_log("Tcp", common("raw", filter_state_objects_to_log=["said", "absent"]))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def tcp_listener(name: str, to: str, **fields: Any) -> Json:
    state = {
        "object_key": "said",
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": "hello"}},
    }
    filters = [
        {
            "name": "state",
            "typed_config": typed(NETWORK + "set_filter_state.v3.Config", on_new_connection=[state]),
        },
        {
            "name": "tcp",
            "typed_config": typed(
                NETWORK + "tcp_proxy.v3.TcpProxy",
                stat_prefix=name,
                cluster=to,
                access_log=[TCP_LOG],
                **fields,
            ),
        },
    ]
    return listener(filters, name)


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[Pair]:
    issued = authority.issue("spiffe://td/server", "server.test")
    table = {
        "name": "local",
        "virtual_hosts": [
            virtual_host(
                [
                    route("dead", "/dead", timeout="2s"),
                    {
                        "match": {"prefix": "/direct"},
                        "direct_response": {"status": 418, "body": {"inline_string": "tea"}},
                    },
                    {
                        **route(prefix="/re"),
                        "route": {"cluster": "origin", "prefix_rewrite": "/written"},
                        "name": "r",
                    },
                    route(prefix="/ok"),
                ]
            )
        ],
    }
    manager = connection_manager(table, access_log=[HTTP_LOG], use_remote_address=True)
    router = typed(ROUTER, upstream_log=[HTTP_LOG])
    tries = connection_manager(
        table, http_filters=[{"name": "envoy.filters.http.router", "typed_config": router}]
    )
    secured = listener([manager], "secured")
    secured["listener_filters"] = [
        {
            "name": "tls_inspector",
            "typed_config": typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"),
        }
    ]
    secured["filter_chains"][0]["transport_socket"] = {
        "name": "tls",
        "typed_config": typed(
            TLS,
            common_tls_context={
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(issued.certificate)},
                        "private_key": {"filename": str(issued.key)},
                    }
                ],
                "validation_context": {"trusted_ca": {"filename": str(authority.certificate)}},
            },
        ),
    }
    config = bootstrap(
        [
            listener([manager], "web"),
            listener([tries], "tries"),
            secured,
            tcp_listener("raw", "origin"),
            tcp_listener("nowhere", "dead"),
            tcp_listener("told", "origin", access_log_options={"flush_access_log_on_connected": True}),
        ],
        [http2_cluster("als"), cluster("origin"), cluster("dead", 1)],
        node=NODE,
    )
    origins = {"als": Http2Origin, "origin": Origin}
    with Pair(
        config, origins=origins, listeners=("web", "tries", "secured", "raw", "nowhere", "told")
    ) as started:
        for side in (started.envoy, started.outrider):
            side.origins["als"].script(wait)
        yield started


def wait(stream: OriginStream) -> None:
    """Never answer."""
    stream.wait(lambda view: view.reset is not None, 60)


def sent(side: Side) -> list[list[StreamAccessLogsMessage]]:
    """What has come on each stream so far."""
    streams = []
    for stream in side.origins["als"].streams:
        body, messages = bytes(stream.view.body), []
        while len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5]):
            end = 5 + int.from_bytes(body[1:5])
            messages.append(StreamAccessLogsMessage.FromString(body[5:end]))
            body = body[end:]
        streams.append(messages)
    return streams


def entries(side: Side) -> list[Json]:
    logged = []
    for stream in sent(side):
        for message in stream:
            for kind in (message.http_logs, message.tcp_logs):
                logged += [MessageToDict(entry, preserving_proto_field_name=True) for entry in kind.log_entry]
    return logged


def masked(entry: Json) -> Json:
    """Times and the client's ports are not the same twice; whether they are told is."""
    told = entry["common_properties"]
    for name in told:
        if name in {"start_time", "duration", "stream_id"} or name.startswith("time_to_"):
            told[name] = "T"
    for name in ("downstream_remote_address", "downstream_direct_remote_address", "downstream_local_address"):
        told[name]["socket_address"]["port_value"] = 0
    for name in ("upstream_remote_address", "upstream_local_address"):
        if name in told:
            told[name]["socket_address"]["port_value"] = 0
    if "request" in entry and "request_id" in entry["request"]:
        entry["request"]["request_id"] = "I"
    if "tls_properties" in told and "tls_session_id" in told["tls_properties"]:
        told["tls_properties"]["tls_session_id"] = "S"
    return entry


def masked_try(entry: Json) -> Json:
    """Envoy tells of a try when its response is on the way to the client: with our fields, and the bytes sent."""
    entry["common_properties"].pop("downstream_wire_bytes_sent", None)
    for name in ("response_headers_bytes", "downstream_header_bytes_sent"):
        entry["response"].pop(name, None)
    return masked(entry)


def same_entries(pair: Pair, act: Any, count: int = 1, mask: Any = masked) -> list[Json]:
    """The last entries after `act`, which are the same on both sides."""

    def logged(side: Side) -> list[Json]:
        before = len(entries(side))
        act(side)
        deadline = time.monotonic() + 10
        while len(entries(side)) < before + count and time.monotonic() < deadline:
            time.sleep(0.01)
        return [mask(entry) for entry in entries(side)[before:]]

    found: list[Json] = pair.same_value("entries", logged, settle=0)
    assert len(found) == count
    return found


def response_ended(data: bytes) -> bool:
    head, mark, body = data.partition(b"\r\n\r\n")
    if b"transfer-encoding" in head:
        return b"0\r\n" in body and body.endswith(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(mark) and len(body) >= (int(length[1]) if length else 0)


def ask(name: str, path: str, *fields: str, context: Any = None) -> Any:
    """Sends one request, and reads the whole response."""
    lines = [f"GET {path} HTTP/1.1", "host: localhost", *fields]
    text = "".join(f"{line}\r\n" for line in [*lines, ""])

    def act(side: Side) -> None:
        raw: Any = socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 5)
        with raw if context is None else context.wrap_socket(raw, server_hostname="server.test") as client:
            client.sendall(text.encode("latin-1"))
            response = b""
            while not response_ended(response):
                response += client.recv(1 << 16)

    return act


TOLD = (
    b"HTTP/1.1 200 OK\r\nx-told: a\r\nx-told: b\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\nx-end: z\r\n\r\n"
)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/ok", ()),
        ("/re?q=1", ("x-asked: me", "user-agent: ua", "referer: r", "x-twice: 1", "x-twice: 2")),
        ("/ok", ("x-asked: caf\xc3\xa9", "x-twice: \xff caf\xc3\xa9")),
        ("/dead", ()),
        ("/direct", ()),
    ],
)
def test_a_request_is_told_alike(pair: Pair, path: str, fields: tuple[str, ...]) -> None:
    for side in (pair.envoy, pair.outrider):
        side.origins["origin"].script(TOLD)
    with pair.same_stats(STATS):
        same_entries(pair, ask("web", path, *fields))


@pytest.mark.parametrize("path", ["/ok", "/dead"])
def test_a_try_is_told_alike(pair: Pair, path: str) -> None:
    for side in (pair.envoy, pair.outrider):
        side.origins["origin"].script(TOLD)
    same_entries(pair, ask("tries", path, "x-asked: me"), mask=masked_try)


def test_tls_is_told_alike(pair: Pair, authority: Authority) -> None:
    client = authority.issue("spiffe://td/client", "client.test")
    (entry,) = same_entries(pair, ask("secured", "/ok", context=authority.client_context(client)))
    told = entry["common_properties"]["tls_properties"]
    assert told["tls_version"] == "TLSv1_3"
    assert told["peer_certificate_properties"]["subject_alt_name"] == [{"uri": "spiffe://td/client"}]


def send_bytes(name: str) -> Any:
    def act(side: Side) -> None:
        with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                client.recv(1 << 16)

    return act


@pytest.mark.parametrize(("name", "count"), [("raw", 1), ("nowhere", 1), ("told", 2)])
def test_a_connection_is_told_alike(pair: Pair, name: str, count: int) -> None:
    same_entries(pair, send_bytes(name), count)


def test_only_the_first_message_of_a_stream_names_the_log_and_the_node(pair: Pair) -> None:
    for _ in range(2):
        same_entries(pair, ask("web", "/ok"))
    for side in (pair.envoy, pair.outrider):
        for first, *others in (messages for messages in sent(side) if messages):
            assert first.identifier.log_name in {"web", "raw"}
            assert first.identifier.node.id == "n"
            assert first.identifier.node.metadata["labels"]["x"] == "y"
            assert not any(message.HasField("identifier") for message in others)


def test_a_stream_that_ended_is_opened_again(pair: Pair) -> None:
    same_entries(pair, ask("web", "/ok"))
    for side in (pair.envoy, pair.outrider):
        for stream in side.origins["als"].streams:
            stream.answer(
                Http2Answer(200, (("content-type", "application/grpc"), ("grpc-status", "14")), None)
            )
    time.sleep(0.2)
    same_entries(pair, ask("web", "/ok"))
    last = [messages for messages in sent(pair.outrider) if messages][-1]
    assert last[0].identifier.log_name == "web"


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({}, True),
        ({"log_name": ""}, False),
        ({"transport_api_version": "V2"}, False),
        ({"buffer_flush_interval": "0s"}, False),
        ({"grpc_service": {"envoy_grpc": {"cluster_name": "elsewhere"}}}, True),
        ({"custom_tags": [{"literal": {"value": "x"}}]}, False),
        ({"custom_tags": [{"tag": "t"}]}, False),
    ],
)
def test_configs_are_accepted_or_refused_alike(fields: Json, accepted: bool) -> None:
    table = {"name": "t", "virtual_hosts": [virtual_host([route()])]}
    logs = [grpc_log("Http", common("web", **fields))]
    config = bootstrap(
        [listener([connection_manager(table, access_log=logs)], "web")],
        [cluster("origin", 1), http2_cluster("als", 1)],
    )
    assert same_verdict(config, {"web_port": 1, "admin_port": 1})[0] is accepted
