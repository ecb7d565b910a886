"""TLS messages for unit tests."""

from __future__ import annotations

from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.connection.tls import (
    DownstreamTlsConfig,
    UpstreamTlsConfig,
    compile_downstream_tls,
    compile_upstream_tls,
)
from tests.support.certs import Issued


def certificate(issued: Issued) -> dict[str, Any]:
    """A TlsCertificate message."""
    return {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }


def downstream(message: dict[str, Any]) -> tuple[DownstreamTlsConfig, list[str]]:
    """A compiled DownstreamTlsContext and its problems."""
    ctx = CompileContext()
    parsed = json_format.ParseDict(message, tls_pb2.DownstreamTlsContext())
    config = compile_downstream_tls(parsed, "tls", ctx).current()
    assert config is not None
    return config, [str(problem) for problem in ctx.problems]


def upstream(message: dict[str, Any]) -> tuple[UpstreamTlsConfig, list[str]]:
    """A compiled UpstreamTlsContext and its problems."""
    ctx = CompileContext()
    parsed = json_format.ParseDict(message, tls_pb2.UpstreamTlsContext())
    config = compile_upstream_tls(parsed, "tls", ctx).current()
    assert config is not None
    return config, [str(problem) for problem in ctx.problems]
