"""A real gRPC server without generated code: methods of `test.Echo` on bytes, and reflection."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from grpc_reflection.v1alpha import reflection

from tests.support.certs import Issued

SERVICE = "test.Echo"
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
CHANNEL_OPTIONS = [
    *_UNLIMITED,
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class GrpcServer:
    """Listens on `port`, with TLS if a certificate is given. Use as a context manager, or call `close`.

    Metadata steers a call: `x-code` and `x-message-bin` end it with that status, `x-sleep` (seconds) delays it.
    Metadata `x-echo-*` comes back as initial metadata, `x-trail-*` as trailing metadata. `cancelled` is set
    when a call ends before its handler has; `deadlines` holds the seconds that each call had left at its start.
    """

    def __init__(self, tls: Issued | None = None) -> None:
        self.cancelled = threading.Event()
        self.deadlines: list[float | None] = []
        self._server = grpc.server(ThreadPoolExecutor(32), options=[*_UNLIMITED, ("grpc.so_reuseport", 0)])
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self._server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self._client_stream),
            "Bidi": grpc.stream_stream_rpc_method_handler(self._bidi),
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        reflection.enable_server_reflection([reflection.SERVICE_NAME], self._server)
        if tls is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
            self.port = self._server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.stop(0).wait()

    def _begin(self, context: Any) -> _Call:
        """The call, after playing what its metadata asks for."""
        metadata = list(context.invocation_metadata())
        call = _Call(context, dict(metadata))
        context.add_callback(lambda: self._on_end(call))
        self.deadlines.append(context.time_remaining())
        echoed = [pair for pair in metadata if pair[0].startswith("x-echo-")]
        if echoed:
            context.send_initial_metadata(echoed)
        context.set_trailing_metadata([pair for pair in metadata if pair[0].startswith("x-trail-")])
        if "x-gzip" in call.wanted:
            context.set_compression(grpc.Compression.Gzip)
        if "x-sleep" in call.wanted:
            call.ended.wait(float(call.wanted["x-sleep"]))
        return call

    def _on_end(self, call: _Call) -> None:
        call.ended.set()
        if not call.finished:
            self.cancelled.set()

    def _unary(self, request: bytes, context: Any) -> bytes:
        self._begin(context).finish()
        return request

    def _server_stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        """`<count>:<size>` messages; without an end if the count is negative."""
        call = self._begin(context)
        count, size = map(int, request.split(b":"))
        number = 0
        while number != count and context.is_active():
            yield b"%08d" % number + b"x" * size
            number += 1
            if count < 0:
                time.sleep(0.005)
        call.finish()

    def _client_stream(self, requests: Iterator[bytes], context: Any) -> bytes:
        call = self._begin(context)
        count = total = 0
        for message in requests:
            count += 1
            total += len(message)
        call.finish()
        return b"%d:%d" % (count, total)

    def _bidi(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answers each message; after `hold` it waits for the call to be given up."""
        call = self._begin(context)
        for message in requests:
            yield b"re:" + message
            if message == b"hold":
                call.ended.wait(10)
        call.finish()


class _Call:
    def __init__(self, context: Any, wanted: dict[str, Any]) -> None:
        self.context = context
        self.wanted = wanted
        self.ended = threading.Event()
        self.finished = False

    def finish(self) -> None:
        """All messages are there: end as the client asked; nothing if the call has been cancelled."""
        if not self.context.is_active():
            return
        self.finished = True
        if "x-code" in self.wanted:
            code = next(code for code in grpc.StatusCode if code.value[0] == int(self.wanted["x-code"]))
            self.context.abort(code, self.wanted.get("x-message-bin", b"").decode())
