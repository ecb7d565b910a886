"""Of whose TLS connections secrets are written."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf import json_format

from proxy.base.address import from_socket_name
from proxy.config.context import CompileContext
from proxy.connection.tls_key_log import apply_key_log
from proxy.connection.tls_object import TlsContext

RANGE = [{"address_prefix": "10.0.0.0", "prefix_len": 8}]


def apply(message: dict[str, object]) -> tuple[TlsContext, list[str]]:
    context, ctx = TlsContext(ssl.PROTOCOL_TLS_SERVER), CompileContext()
    apply_key_log(context, json_format.ParseDict(message, tls_pb2.TlsKeyLog()), "log", ctx)
    return context, [problem.path for problem in ctx.problems]


@pytest.mark.parametrize(
    ("ranges", "local", "remote", "written"),
    [
        ({"local_address_range": RANGE}, "10.1.1.1", "1.1.1.1", True),
        ({"local_address_range": RANGE}, "1.1.1.1", "10.1.1.1", False),
        ({"remote_address_range": RANGE}, "1.1.1.1", "10.1.1.1", True),
        ({"local_address_range": RANGE, "remote_address_range": RANGE}, "10.1.1.1", "1.1.1.1", False),
    ],
)
def test_both_ends_are_looked_at(
    tmp_path: Path, ranges: dict[str, object], local: str, remote: str, written: bool
) -> None:
    context, problems = apply({"path": str(tmp_path / "keys"), **ranges})
    assert not problems
    assert context.key_log_ranges is not None
    ends = from_socket_name((local, 1)), from_socket_name((remote, 2))
    assert context.key_log_ranges.include(*ends) is written
    assert not context.key_log_ranges.include(None, None)


@pytest.mark.parametrize("ranges", [{}, {"local_address_range": RANGE}])
def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path: Path, ranges: dict[str, object]) -> None:
    assert apply({"path": str(tmp_path / "no" / "keys"), **ranges})[1] == ["log.path"]
