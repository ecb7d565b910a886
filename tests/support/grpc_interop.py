"""The interoperability service of gRPC, `grpc.testing.TestService`, without generated code.

Source: grpc/testing/messages.proto and doc/interop-test-descriptions.md of the gRPC project.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "grpc.testing.TestService"
UNKNOWN_SERVICE = "grpc.testing.UnimplementedService"
ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"

_FIELD = descriptor_pb2.FieldDescriptorProto
#: Message → field → (number, type or message, repeated).
_MESSAGES: dict[str, dict[str, tuple[int, int | str, bool]]] = {
    "Empty": {},
    "Payload": {"body": (2, _FIELD.TYPE_BYTES, False)},
    "EchoStatus": {"code": (1, _FIELD.TYPE_INT32, False), "message": (2, _FIELD.TYPE_STRING, False)},
    "SimpleRequest": {
        "response_size": (2, _FIELD.TYPE_INT32, False),
        "payload": (3, "Payload", False),
        "response_status": (7, "EchoStatus", False),
    },
    "SimpleResponse": {"payload": (1, "Payload", False)},
    "StreamingInputCallRequest": {"payload": (1, "Payload", False)},
    "StreamingInputCallResponse": {"aggregated_payload_size": (1, _FIELD.TYPE_INT32, False)},
    "ResponseParameters": {
        "size": (1, _FIELD.TYPE_INT32, False),
        "interval_us": (2, _FIELD.TYPE_INT32, False),
    },
    "StreamingOutputCallRequest": {
        "response_parameters": (2, "ResponseParameters", True),
        "payload": (3, "Payload", False),
        "response_status": (7, "EchoStatus", False),
    },
    "StreamingOutputCallResponse": {"payload": (1, "Payload", False)},
}


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="interop.proto", package="grpc.testing", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                made.type, made.type_name = _FIELD.TYPE_MESSAGE, f".grpc.testing.{kind}"
            else:
                made.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"grpc.testing.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _build()


def make(name: str, **fields: Any) -> Any:
    """A message by its name."""
    return _CLASSES[name](**fields)


#: Method → (kind of handler, request, response).
METHODS = {
    "EmptyCall": ("unary_unary", "Empty", "Empty"),
    "UnaryCall": ("unary_unary", "SimpleRequest", "SimpleResponse"),
    "StreamingOutputCall": ("unary_stream", "StreamingOutputCallRequest", "StreamingOutputCallResponse"),
    "StreamingInputCall": ("stream_unary", "StreamingInputCallRequest", "StreamingInputCallResponse"),
    "FullDuplexCall": ("stream_stream", "StreamingOutputCallRequest", "StreamingOutputCallResponse"),
    "UnimplementedCall": ("unary_unary", "Empty", "Empty"),
}


def stub(channel: grpc.Channel, method: str, service: str = SERVICE) -> Any:
    """A method to call, with messages."""
    kind, request, response = METHODS[method]
    return getattr(channel, kind)(
        f"/{service}/{method}",
        request_serializer=_CLASSES[request].SerializeToString,
        response_deserializer=_CLASSES[response].FromString,
    )


class InteropServer:
    """The service on `port`; it lacks `UnimplementedCall`. Use as a context manager."""

    def __init__(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        handlers = {}
        for method, (kind, request, response) in METHODS.items():
            handle = getattr(self, f"_{method}", None)
            if handle is not None:
                handlers[method] = getattr(grpc, f"{kind}_rpc_method_handler")(
                    handle,
                    request_deserializer=_CLASSES[request].FromString,
                    response_serializer=_CLASSES[response].SerializeToString,
                )
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()

    @staticmethod
    def _echo(context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        if ECHO_INITIAL in metadata:
            context.send_initial_metadata([(ECHO_INITIAL, metadata[ECHO_INITIAL])])
        if ECHO_TRAILING in metadata:
            context.set_trailing_metadata([(ECHO_TRAILING, metadata[ECHO_TRAILING])])

    @staticmethod
    def _end(request: Any, context: Any) -> None:
        if request.HasField("response_status"):
            wanted = request.response_status
            context.set_code(next(code for code in grpc.StatusCode if code.value[0] == wanted.code))
            context.set_details(wanted.message)

    def _EmptyCall(self, _request: Any, context: Any) -> Any:  # noqa: N802
        self._echo(context)
        return make("Empty")

    def _UnaryCall(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._echo(context)
        self._end(request, context)
        return make("SimpleResponse", payload=make("Payload", body=bytes(request.response_size)))

    def _StreamingInputCall(self, requests: Iterator[Any], context: Any) -> Any:  # noqa: N802
        self._echo(context)
        total = sum(len(request.payload.body) for request in requests)
        return make("StreamingInputCallResponse", aggregated_payload_size=total)

    def _StreamingOutputCall(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self._echo(context)
        yield from self._outputs(request, context)

    def _outputs(self, request: Any, context: Any) -> Iterator[Any]:
        for parameters in request.response_parameters:
            time.sleep(parameters.interval_us / 1e6)
            yield make("StreamingOutputCallResponse", payload=make("Payload", body=bytes(parameters.size)))
        self._end(request, context)

    def _FullDuplexCall(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        self._echo(context)
        for request in requests:
            yield from self._outputs(request, context)
