"""gRPC and Connect requests are counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.stats import StatRegistry
from proxy.codec.grpc import prefix
from proxy.config.context import CompileContext
from proxy.filters.http import grpc_stats
from proxy.filters.http.grpc_charges import charges_of
from tests.support.filters import FilteredStream

MESSAGE = prefix(3) + b"abc"
CLUSTER = SimpleNamespace(stats=SimpleNamespace(prefix="cluster.x."))
ALLOWED = {"individual_method_stats_allowlist": {"services": [{"name": "a.B", "method_names": ["C"]}]}}


class _Stream(FilteredStream):
    def __init__(self, **config: Any) -> None:
        message = json_format.ParseDict(config, config_pb2.FilterConfig())
        compiled = grpc_stats.FACTORY.compile(message, "stats", CompileContext())
        self.registry = StatRegistry()
        super().__init__(
            lambda callbacks: grpc_stats.GrpcStatsFilter(callbacks, compiled, self.registry), cluster=CLUSTER
        )

    def play(self, path: str = "/a.B/C") -> None:
        """A request of two messages, answered with one and status 7."""
        self.begin(path=path, content_type="application/grpc")
        self.filters.decode_data(MESSAGE + MESSAGE[:4], False)
        self.filters.decode_data(MESSAGE[4:], True)
        self.respond(content_type="application/grpc")
        self.filters.encode_data(MESSAGE, False)
        self.filters.encode_trailers(HeaderMap([("grpc-status", "7")]))

    @property
    def counted(self) -> dict[str, int]:
        return charges_of(self.registry, CLUSTER).counters()


def _played(place: str) -> dict[str, int]:
    numbers = {"request_message_count": 2, "response_message_count": 1, "7": 1, "failure": 1, "total": 1}
    return {f"cluster.x.grpc.{place}{name}": number for name, number in numbers.items()}


@pytest.mark.parametrize(
    ("config", "path", "place"),
    [
        ({}, "/a.B/C", ""),
        ({"stats_for_all_methods": True}, "/a.B/C", "a.B.C."),
        ({"stats_for_all_methods": True, "replace_dots_in_grpc_service_name": True}, "/a.B/C", "a_B.C."),
        (ALLOWED, "/a.B/C?q", "a.B.C."),
        (ALLOWED, "/a.B/D", ""),
    ],
)
def test_where_a_request_counts(config: dict[str, Any], path: str, place: str) -> None:
    stream = _Stream(**config)
    stream.play(path)
    assert stream.counted == _played(place)


def test_a_path_that_names_no_method_does_not_count() -> None:
    stream = _Stream(stats_for_all_methods=True)
    stream.play("/a/b/c")
    assert stream.counted == {}


def test_other_requests_do_not_count() -> None:
    stream = _Stream()
    stream.begin(path="/a.B/C", content_type="application/grpc-web")
    stream.filters.decode_data(MESSAGE, True)
    stream.respond(end_stream=True, grpc_status="0")
    assert stream.counted == {}


def test_a_status_in_the_head() -> None:
    stream = _Stream()
    stream.begin(path="/a.B/C", content_type="application/grpc", end_stream=True)
    stream.respond(end_stream=True, grpc_status="0")
    assert stream.counted == {"cluster.x.grpc.0": 1, "cluster.x.grpc.success": 1, "cluster.x.grpc.total": 1}


def test_counts_become_filter_state() -> None:
    stream = _Stream(emit_filter_state=True)
    stream.play()
    assert stream.info.filter_state is not None
    state = stream.info.filter_state["envoy.filters.http.grpc_stats"]
    assert state == {"requestMessageCount": "2", "responseMessageCount": "1"}
    assert str(state) == "2,1"


def test_the_time_of_the_upstream() -> None:
    stream = _Stream(enable_upstream_stats=True)
    stream.info.upstream_last_byte_sent = 1.0
    stream.info.upstream_last_byte_received = 1.0125
    stream.play()
    histograms = charges_of(stream.registry, CLUSTER).histograms()
    assert histograms["cluster.x.grpc.upstream_rq_time"].counts == {12: 1}


@pytest.mark.parametrize(("status", "outcome"), [(200, "success"), (404, "failure")])
def test_unary_connect(status: int, outcome: str) -> None:
    stream = _Stream()
    stream.begin(path="/a.B/C", connect_protocol_version="1")
    stream.filters.decode_data(b"abc", True)
    stream.respond(status)
    stream.filters.encode_data(b"abc", True)
    assert stream.counted == {
        "cluster.x.grpc.request_message_count": 1,
        "cluster.x.grpc.response_message_count": 1,
        f"cluster.x.grpc.{outcome}": 1,
        "cluster.x.grpc.total": 1,
    }


@pytest.mark.parametrize(("end", "outcome"), [(b"{}", "success"), (b'{"error": {}}', "failure")])
def test_streaming_connect(end: bytes, outcome: str) -> None:
    stream = _Stream()
    stream.begin(path="/a.B/C", content_type="application/connect+proto")
    stream.filters.decode_data(MESSAGE * 3, True)
    stream.respond(content_type="application/connect+proto")
    stream.filters.encode_data(MESSAGE + prefix(len(end), 2) + end, True)
    assert stream.counted == {
        "cluster.x.grpc.request_message_count": 3,
        "cluster.x.grpc.response_message_count": 1,
        f"cluster.x.grpc.{outcome}": 1,
        "cluster.x.grpc.total": 1,
    }
