"""The transcoder in a filter chain: heads, bodies, statuses, limits, what it counts."""

from __future__ import annotations

import json
from base64 import b64encode
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.extensions.filters.http.grpc_json_transcoder.v3 import transcoder_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.stats import StatRegistry
from proxy.config.context import CompileContext
from proxy.filters.http import grpc_json_transcoder
from tests.support.bookstore import SERVICE, descriptor_set, frame, frames_of, message, text_of
from tests.support.filters import FilteredStream

_FACTORY = grpc_json_transcoder.FACTORY
_SET = b64encode(descriptor_set()).decode()
SHELF = message("Shelf", id=7)
_GRPC = "application/grpc"


def _config(**fields: Any) -> Any:
    message_class = transcoder_pb2.GrpcJsonTranscoder
    settings = {"proto_descriptor_bin": _SET, "services": [SERVICE], **fields}
    context = CompileContext()
    config = _FACTORY.compile(json_format.ParseDict(settings, message_class()), "t", context)
    assert not context.problems
    return config


class _Stream(FilteredStream):
    def __init__(self, limit: int = 1024, route: Any = None, **fields: Any) -> None:
        self.registry = StatRegistry()
        services: Any = SimpleNamespace(stats=self.registry)
        assert _FACTORY.create is not None
        overrides = {} if route is None else {"filter0": route}
        super().__init__(
            _FACTORY.create(_config(**fields), services, "http.x."), limit=limit, overrides=overrides
        )

    def gauges(self) -> dict[str, int]:
        [group] = self.registry.groups()
        return group.gauges()


def test_a_request_becomes_a_call() -> None:
    stream = _Stream()
    stream.begin(path="/shelves?theme=t", content_length="9", content_type="application/json")
    stream.filters.decode_data(b'{"id": 5}', True)
    head = stream.request[0][1]
    assert (head.method, head.path) == ("POST", "/bookstore.Bookstore/CreateShelf")
    assert dict(head.headers) == {
        "content-type": _GRPC,
        "x-envoy-original-path": "/shelves?theme=t",
        "x-envoy-original-method": "POST",
        "te": "trailers",
    }
    assert stream.rerouted == 1
    [sent] = frames_of(stream.request_body)
    assert json.loads(text_of("Shelf", sent)) == {"id": "5", "theme": "t"}


def test_an_answer_waits_for_its_status() -> None:
    stream = _Stream()
    stream.begin(path="/shelves/7", method="GET", end_stream=True)
    stream.respond(content_type=_GRPC, trailer="x")
    stream.filters.encode_data(frame(SHELF), False)
    assert stream.response == []
    stream.filters.encode_trailers(HeaderMap([("grpc-status", "0"), ("grpc-message", "fine")]))
    head = stream.response_head
    assert head.status == 200
    assert dict(head.headers) == {
        "content-type": "application/json",
        "grpc-status": "0",
        "grpc-message": "fine",
        "content-length": "10",
    }
    assert stream.response_body == b'{"id":"7"}'
    stream.finish()
    assert set(stream.gauges().values()) == {0}


def test_an_error_without_a_body_may_become_json() -> None:
    stream = _Stream(convert_grpc_status=True)
    stream.begin(path="/shelves/7", method="GET", end_stream=True)
    stream.respond(content_type=_GRPC, grpc_status="5", grpc_message="a%20b", end_stream=True)
    assert stream.response_head.status == 404
    assert stream.response_body == b'{"code":5,"message":"a b"}'


def test_messages_of_a_stream_leave_as_they_come() -> None:
    stream = _Stream()
    stream.begin(path="/shelves", method="GET", end_stream=True)
    stream.respond(content_type=_GRPC)
    stream.filters.encode_data(frame(SHELF) + frame(SHELF)[:3], False)
    assert stream.response_body == b'[{"id":"7"}'
    stream.filters.encode_data(frame(SHELF)[3:], False)
    stream.filters.encode_trailers(HeaderMap([("grpc-status", "0")]))
    assert stream.response_body == b'[{"id":"7"},{"id":"7"}]'


def test_a_stream_that_is_cut_off_breaks_off() -> None:
    stream = _Stream()
    stream.begin(path="/shelves", method="GET", end_stream=True)
    stream.respond(content_type=_GRPC)
    stream.filters.encode_data(frame(SHELF) + b"\0\0", False)
    stream.filters.encode_trailers(HeaderMap([("grpc-status", "0")]))
    assert stream.response[-1] == ("reset",)
    assert stream.replies == ["grpc_json_transcode_failure{INTERNAL}"]
    assert set(stream.gauges().values()) == {0}


def test_what_no_rule_matches_passes_unless_told_otherwise() -> None:
    stream = _Stream()
    stream.begin(path="/other", end_stream=True)
    stream.respond(body=b"{}", end_stream=True)
    assert stream.request[0][1].path == "/other"
    assert stream.response_body == b"{}"
    stream = _Stream(request_validation_options={"reject_unknown_method": True})
    stream.begin(path="/other", end_stream=True)
    assert stream.response_head.status == 404
    assert stream.replies == ["early_grpc_json_transcode_failure{NOT_FOUND}"]


def test_a_route_may_switch_it_off() -> None:
    stream = _Stream(route=_config(services=[]))
    stream.begin(path="/shelves/7", method="GET", end_stream=True)
    assert stream.request[0][1].path == "/shelves/7"


@pytest.mark.parametrize("path", ["/shelves", "/raw"])
def test_long_requests_are_refused(path: str) -> None:
    stream = _Stream(max_request_body_size=20)
    stream.begin(path=path)
    stream.filters.decode_data(b'{"theme": "', False)
    assert stream.gauges()["http.x.transcoder_request_buffer_bytes"] == 11
    stream.filters.decode_data(b"x" * 10, False)
    assert stream.response_head.status == 413
    assert stream.replies == ["grpc_json_transcode_failure{request_buffer_size_limit_reached}"]


def test_long_answers_are_refused() -> None:
    stream = _Stream(max_response_body_size=20)
    stream.begin(path="/shelves/7", method="GET", end_stream=True)
    stream.respond(content_type=_GRPC)
    stream.filters.encode_data(frame(message("Shelf", theme="x" * 30)), False)
    assert stream.response_head.status == 500
    assert stream.replies == ["grpc_json_transcode_failure{response_buffer_size_limit_reached}"]


def test_a_streamed_body_goes_in_pieces() -> None:
    stream = _Stream(limit=1 << 24)
    stream.begin(path="/stream/n", content_type="text/plain")
    stream.filters.decode_data(b"x" * (5 << 19), False)
    stream.filters.decode_data(b"", True)
    sent = [json.loads(text_of("Upload", one)) for one in frames_of(stream.request_body)]
    assert [len(one["content"]["data"]) * 3 // 4 >> 19 for one in sent] == [2, 2, 1]
    assert sent[0]["name"] == "n"
    assert [one["content"].get("contentType") for one in sent] == ["text/plain", None, None]
