"""The interoperability cases of gRPC through both proxies: a case that passes through Envoy passes here.

Source: doc/interop-test-descriptions.md of the gRPC project; each function is the case of its name.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

import grpc
import pytest

from tests.support.configs import http2_cluster, http_proxy, route
from tests.support.conformance_results import note
from tests.support.envoy import Envoy
from tests.support.grpc_interop import ECHO_INITIAL, ECHO_TRAILING, UNKNOWN_SERVICE, InteropServer, make, stub
from tests.support.grpc_service import CHANNEL_OPTIONS
from tests.support.outrider import subject

_SIZES = (27182, 8, 1828, 45904)
_ANSWERS = (31415, 9, 2653, 58979)
#: What a case may take; none of them should.
_PATIENCE = 20


def _payload(size: int) -> object:
    return make("Payload", body=bytes(size))


def _output(*sizes: int, interval_us: int = 0, payload: int = 0, **fields: object) -> object:
    parameters = [make("ResponseParameters", size=size, interval_us=interval_us) for size in sizes]
    return make(
        "StreamingOutputCallRequest", response_parameters=parameters, payload=_payload(payload), **fields
    )


class _Sent:
    """Requests of a stream, given out as they are put in."""

    def __init__(self) -> None:
        self._queue: queue.Queue[object] = queue.Queue()
        self.put = self._queue.put

    def __iter__(self) -> Iterator[object]:
        return iter(self._queue.get, None)


def _failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def empty_unary(channel: grpc.Channel) -> None:
    assert stub(channel, "EmptyCall")(make("Empty"), timeout=_PATIENCE) == make("Empty")


def large_unary(channel: grpc.Channel) -> None:
    request = make("SimpleRequest", response_size=314159, payload=_payload(271828))
    response = stub(channel, "UnaryCall")(request, timeout=_PATIENCE)
    assert response.payload.body == bytes(314159)


def client_streaming(channel: grpc.Channel) -> None:
    requests = [make("StreamingInputCallRequest", payload=_payload(size)) for size in _SIZES]
    response = stub(channel, "StreamingInputCall")(iter(requests), timeout=_PATIENCE)
    assert response.aggregated_payload_size == sum(_SIZES) == 74922


def server_streaming(channel: grpc.Channel) -> None:
    responses = stub(channel, "StreamingOutputCall")(_output(*_ANSWERS), timeout=_PATIENCE)
    assert [len(response.payload.body) for response in responses] == list(_ANSWERS)


def ping_pong(channel: grpc.Channel) -> None:
    sent = _Sent()
    responses = stub(channel, "FullDuplexCall")(iter(sent), timeout=_PATIENCE)
    for size, answer in zip(_SIZES, _ANSWERS, strict=True):
        sent.put(_output(answer, payload=size))
        assert len(next(responses).payload.body) == answer
    sent.put(None)
    assert list(responses) == []
    assert responses.code() is grpc.StatusCode.OK


def empty_stream(channel: grpc.Channel) -> None:
    responses = stub(channel, "FullDuplexCall")(iter([]), timeout=_PATIENCE)
    assert list(responses) == []
    assert responses.code() is grpc.StatusCode.OK


def cancel_after_begin(channel: grpc.Channel) -> None:
    sent = _Sent()
    call = stub(channel, "StreamingInputCall").future(iter(sent), timeout=_PATIENCE)
    call.cancel()
    sent.put(None)
    assert call.code() is grpc.StatusCode.CANCELLED


def cancel_after_first_response(channel: grpc.Channel) -> None:
    sent = _Sent()
    responses = stub(channel, "FullDuplexCall")(iter(sent), timeout=_PATIENCE)
    sent.put(_output(31415, payload=27182))
    assert len(next(responses).payload.body) == 31415
    responses.cancel()
    sent.put(None)
    assert responses.code() is grpc.StatusCode.CANCELLED


def timeout_on_sleeping_server(channel: grpc.Channel) -> None:
    sent = _Sent()
    responses = stub(channel, "FullDuplexCall")(iter(sent), timeout=0.2)
    sent.put(_output(31415, interval_us=2_000_000, payload=27182))
    code, _ = _failure(lambda: next(responses))
    sent.put(None)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def custom_metadata(channel: grpc.Channel) -> None:
    metadata = [(ECHO_INITIAL, "test_initial_metadata_value"), (ECHO_TRAILING, b"\xab\xab\xab")]
    request = make("SimpleRequest", response_size=314159, payload=_payload(271828))
    _, call = stub(channel, "UnaryCall").with_call(request, metadata=metadata, timeout=_PATIENCE)
    stream = stub(channel, "FullDuplexCall")(iter([_output(314159, payload=271828)]), metadata=metadata)
    assert len(list(stream)) == 1
    for one in (call, stream):
        assert metadata[0] in one.initial_metadata()
        assert metadata[1] in one.trailing_metadata()


def status_code_and_message(channel: grpc.Channel) -> None:
    status = make("EchoStatus", code=2, message="test status message")
    unary = make("SimpleRequest", response_status=status)
    stream = stub(channel, "FullDuplexCall")(iter([_output(response_status=status)]), timeout=_PATIENCE)
    for call in (lambda: stub(channel, "UnaryCall")(unary, timeout=_PATIENCE), lambda: next(stream)):
        assert _failure(call) == (grpc.StatusCode.UNKNOWN, "test status message")


def special_status_message(channel: grpc.Channel) -> None:
    text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    request = make("SimpleRequest", response_status=make("EchoStatus", code=2, message=text))
    assert _failure(lambda: stub(channel, "UnaryCall")(request, timeout=_PATIENCE)) == (
        grpc.StatusCode.UNKNOWN,
        text,
    )


def unimplemented_method(channel: grpc.Channel) -> None:
    call = stub(channel, "UnimplementedCall")
    assert _failure(lambda: call(make("Empty"), timeout=_PATIENCE))[0] is grpc.StatusCode.UNIMPLEMENTED


def unimplemented_service(channel: grpc.Channel) -> None:
    call = stub(channel, "UnimplementedCall", UNKNOWN_SERVICE)
    assert _failure(lambda: call(make("Empty"), timeout=_PATIENCE))[0] is grpc.StatusCode.UNIMPLEMENTED


CASES = (
    empty_unary, large_unary, client_streaming, server_streaming, ping_pong, empty_stream, cancel_after_begin,
    cancel_after_first_response, timeout_on_sleeping_server, custom_metadata, status_code_and_message,
    special_status_message, unimplemented_method, unimplemented_service,
)  # fmt: skip


@pytest.fixture(scope="module")
def channels() -> Iterator[list[grpc.Channel]]:
    """To the same server, through Envoy and through Outrider."""
    config = http_proxy(routes=[route(timeout="0s")], clusters=[http2_cluster()])
    with InteropServer() as server:
        values = {"origin_port": server.port}
        with Envoy(config, values=values) as envoy, subject()(config, values=values) as outrider:
            made = [
                grpc.insecure_channel(f"127.0.0.1:{proxy.port}", CHANNEL_OPTIONS)
                for proxy in (envoy, outrider)
            ]
            yield made
            for channel in made:
                channel.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_case(channels: list[grpc.Channel], case: Callable[[grpc.Channel], None]) -> None:
    for channel in channels:
        case(channel)
    note("gRPC interoperability", f"`{case.__name__}`", cases=1, envoy=1, outrider=1)
