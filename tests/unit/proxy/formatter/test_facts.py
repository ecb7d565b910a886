"""What operators say of what they read, held against what they do read."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from proxy.base.address import Address
from proxy.base.stream_info import StreamInfo, TlsInfo
from proxy.codec.head_template import REQUEST_ID_HOLE, SERVICE_TIME_HOLE
from proxy.formatter.compile import compile_format
from proxy.formatter.json_format import compile_json_format
from proxy.formatter.parse import Command
from proxy.formatter.registry import OPERATORS, compile_command
from proxy.formatter.spec import Argument, Facts, Operator
from tests.support.streams import cluster, context, host, stream

NOTED = {
    Facts.REQUEST: {
        "remote_address",
        "route_name",
        "route_metadata",
        "virtual_host_name",
        "virtual_host_metadata",
    },
    Facts.UPSTREAM: {
        "upstream_connection_id",
        "upstream_local_address",
        "upstream_remote_address",
        "upstream_tls",
        "upstream_protocol",
        "upstream_connect_start",
        "upstream_connect_complete",
        "upstream_handshake_complete",
    },
    Facts.BYTES: {
        f"{side}_{kind}_bytes_{way}"
        for side in ("upstream", "downstream")
        for kind in ("header", "wire")
        for way in ("sent", "received")
    },
}
#: Equal for all streams with one `kept_key`.
SHARED = {
    "request",
    "upstream_request_head",
    "protocol",
    "response",
    "response_trailers",
    "response_code",
    "response_code_details",
    "flags",
    "bytes_received",
    "bytes_sent",
    "upstream_host",
    "upstream_cluster",
    "virtual_cluster_name",
    "route_name",
    "downstream_address",
    "remote_address",
    "connection",
}
#: Of the operators that need one; the others are compiled without.
ARGUMENTS = {
    "REQ": ["x-a", ":path", "x-request-id", "date"],
    "RESP": ["x-a", ":status", "x-request-id", "date", "x-a?date", "x-envoy-upstream-service-time"],
    "METADATA": ["ROUTE:a", "VIRTUAL_HOST:a", "CLUSTER:a", "DYNAMIC:a", "UPSTREAM_HOST:a"],
    "COMMON_DURATION": [
        "DS_RX_BEG:US_CX_END",
        "US_CX_BEG:DS_TX_END",
        "US_HS_END:US_RX_END",
        "DS_RX_BEG:US_TX_BEG",
    ],
    "COALESCE": ['{"operators":["ROUTE_NAME","UPSTREAM_LOCAL_ADDRESS"]}', '{"operators":["PROTOCOL"]}'],
    "FILTER_STATE": ["a"],
    "UPSTREAM_FILTER_STATE": ["a"],
    "REQUESTED_SERVER_NAME": ["", "HOST_FIRST"],
}


def operators() -> list[Any]:
    found = []
    for name, spec in OPERATORS.items():
        default = [""] if spec.argument is not Argument.REQUIRED else ["a"]
        found += [Command(name, argument, None) for argument in ARGUMENTS.get(name, default)]
    return [pytest.param(one, id=f"{one.name}({one.argument})") for one in found]


class Watched(StreamInfo):
    """Remembers which of its attributes were read."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            object.__getattribute__(self, "__dict__").setdefault("_read", set()).add(name)
        return object.__getattribute__(self, name)


def read_by(made: Operator) -> set[str]:
    read: set[str] = set()
    plain = stream([("content-type", "application/grpc")], protocol="HTTP/2")
    full = stream(
        [("content-type", "application/grpc")],
        upstream_host=host("1.2.3.4", 5),
        upstream_cluster=cluster("c"),
        upstream_tls=TlsInfo(),
        upstream_connection_id=1,
        upstream_local_address=Address("127.0.0.1", 1),
        remote_address=Address("127.0.0.1", 1),
    )
    for info in (plain, full):
        watched = Watched(info.connection, info.start_time)
        vars(watched).update(vars(info))
        vars(watched)["_read"] = set()
        made.value(watched)
        made.text(watched)
        read |= vars(watched)["_read"]
    return read


@pytest.mark.parametrize("command", operators())
def test_operators_read_only_the_facts_that_they_declare(command: Command) -> None:
    made = compile_command(command, context())
    read = read_by(made)
    for facts, names in NOTED.items():
        assert facts in made.facts or not read & names
    if made.kept:
        assert read <= SHARED
    assert made.kept or not made.static


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("plain %REQ(a)% %RESP(a)% %START_TIME% %UPSTREAM_HOST%", Facts.NONE),
        ("%ROUTE_NAME%", Facts.REQUEST),
        ("%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_WIRE_BYTES_SENT%", Facts.UPSTREAM | Facts.BYTES),
        ("%RESP(a?date)%", Facts.RESPONSE),
        ("%RESPONSE_HEADERS_BYTES%", Facts.RESPONSE),
    ],
)
def test_formats_read_what_their_operators_read(text: str, facts: Facts) -> None:
    assert compile_format(text, "p", context()).facts == facts
    message = Struct()
    message.update({"a": {"b": [f"x{text}"]}})
    for omit_empty in (False, True):
        assert compile_json_format(message, "p", context(), omit_empty=omit_empty).facts == facts


@pytest.mark.parametrize(
    ("operator", "shown"),
    [
        ("RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "21"),
        ("RESP(X-REQUEST-ID)", "the-id"),
        ("RESP(X-NONE?X-REQUEST-ID):3", "the"),
    ],
)
def test_holes_of_a_kept_head_show_what_stood_there(operator: str, shown: str) -> None:
    info = stream(
        [],
        [("x-envoy-upstream-service-time", SERVICE_TIME_HOLE), ("x-request-id", REQUEST_ID_HOLE)],
        request_id="the-id",
        request_complete=100.0,
        upstream_first_byte_received=100.0215,
    )
    assert compile_format(f"%{operator}%", "p", context()).render(info) == shown


def test_the_request_id_counts_in_the_size_of_a_kept_head() -> None:
    sizes = [
        compile_format("%REQUEST_HEADERS_BYTES%", "p", context()).render(
            stream([("x-request-id", value)], request_id="0123456789")
        )
        for value in (REQUEST_ID_HOLE, "0123456789")
    ]
    assert sizes[0] == sizes[1]
