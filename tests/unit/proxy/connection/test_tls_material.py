"""Keys and certificates that are given inline."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from envoy.extensions.transport_sockets.tls.v3 import common_pb2

from proxy.config.context import CompileContext
from proxy.connection.tls_material import read_certificate
from tests.support.certs import Authority


def test_an_inline_key_leaves_no_file_behind(tmp_path: Path) -> None:
    leaf = Authority(tmp_path).issue("server.test")
    message = common_pb2.TlsCertificate()
    message.certificate_chain.inline_bytes = leaf.certificate.read_bytes()
    message.private_key.inline_string = leaf.key.read_text()
    before = set(os.listdir("/proc/self/fd"))
    ctx = CompileContext()
    read = read_certificate(message, "c", ctx)
    assert read is not None
    assert ssl.DER_cert_to_PEM_cert(read.der) == leaf.certificate.read_text()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_chain_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    leaf = Authority(tmp_path).issue("server.test")
    message = common_pb2.TlsCertificate()
    message.certificate_chain.inline_bytes = leaf.certificate.read_bytes()[:200]
    message.private_key.inline_string = leaf.key.read_text()
    ctx = CompileContext()
    assert read_certificate(message, "c", ctx) is None
    assert [problem.path for problem in ctx.problems] == ["c"]


def test_files_that_were_mixed_up_are_named(tmp_path: Path) -> None:
    leaf = Authority(tmp_path).issue("server.test")
    message = common_pb2.TlsCertificate()
    message.certificate_chain.filename = str(leaf.key)
    message.private_key.filename = str(leaf.certificate)
    ctx = CompileContext()
    assert read_certificate(message, "c", ctx) is None
    assert [(problem.path, problem.reason) for problem in ctx.problems] == [
        ("c.certificate_chain", "holds no PEM certificate (a line '-----BEGIN ... CERTIFICATE-----')"),
        ("c.private_key", "holds no PEM private key (a line '-----BEGIN ... PRIVATE KEY-----')"),
    ]
