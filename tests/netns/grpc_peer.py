"""A gRPC server and client as processes: grpcio makes its sockets in threads that belong to no host.

`python -m tests.netns.grpc_peer serve PORT CERTIFICATE KEY` echoes.
`python -m tests.netns.grpc_peer call TARGET AUTHORITY NAME TEXT` prints the answer.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

METHOD = "/test.Echo/Unary"
PATIENCE = 15.0


def _echo(request: bytes, context: grpc.ServicerContext) -> bytes:
    del context
    return request


def serve(port: str, certificate: str, key: str) -> None:
    """Answer calls on every address until killed."""
    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {"Unary": grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", handlers)])
    pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
    server.add_secure_port(f"[::]:{port}", grpc.ssl_server_credentials([pair]))
    server.start()
    server.wait_for_termination()


def call(target: str, authority: str, name: str, text: str) -> None:
    """Call the server at `target`, which has to show a certificate for `name`."""
    credentials = grpc.ssl_channel_credentials(Path(authority).read_bytes())
    options = [("grpc.ssl_target_name_override", name), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(target, credentials, options) as channel:
        sys.stdout.write(channel.unary_unary(METHOD)(text.encode(), timeout=PATIENCE).decode())


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
