"""x-forwarded-client-cert in each mode."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.stream_info import ConnectionInfo, TlsInfo
from proxy.hcm.client_certificate import (
    ALWAYS_FORWARD_ONLY,
    APPEND_FORWARD,
    FORWARD_ONLY,
    SANITIZE,
    SANITIZE_SET,
    apply_xfcc,
)
from tests.support.certs import Authority
from tests.support.streams import connection

NAME = "x-forwarded-client-cert"


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> ConnectionInfo:
    issued = Authority(tmp_path_factory.mktemp("certs")).issue("spiffe://a/b", "a.test", common_name="a")
    tls = TlsInfo()
    tls.peer_certificate_der = ssl.PEM_cert_to_DER_cert(Path(issued.certificate).read_text())
    return connection(tls=tls)


def applied(connection_: ConnectionInfo, mode: int, *details: str) -> str | None:
    headers = HeaderMap([(NAME, "Hash=old")])
    apply_xfcc(headers, connection_, mode, details)
    return headers.get(NAME)


def test_without_a_client_certificate_nothing_is_believed() -> None:
    for mode in (SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET):
        assert applied(connection(), mode) is None
    assert applied(connection(), ALWAYS_FORWARD_ONLY) == "Hash=old"


def test_modes(mutual: ConnectionInfo) -> None:
    assert applied(mutual, SANITIZE) is None
    assert applied(mutual, FORWARD_ONLY) == "Hash=old"
    fresh = applied(mutual, SANITIZE_SET)
    assert fresh is not None
    assert len(fresh) == len("Hash=") + 64
    assert applied(mutual, APPEND_FORWARD) == f"Hash=old,{fresh}"


def test_details(mutual: ConnectionInfo) -> None:
    told = applied(mutual, SANITIZE_SET, "subject", "uri", "dns")
    assert told is not None
    assert told.endswith(';Subject="CN=a";URI=spiffe://a/b;DNS=a.test')
