"""Which of several certificates a client gets."""

from __future__ import annotations

import contextlib
import ssl

import pytest

from tests.support.certs import Authority
from tests.support.tls_configs import certificate, downstream


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


def shown(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None) -> list[str]:
    """The DNS names of the certificate that a client which asks for `name` gets."""
    client.check_hostname = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    described = ends[0].getpeercert()
    assert described is not None
    return [str(value) for _, value in described["subjectAltName"]]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("b.test", ["b.test"]),
        ("B.TEST", ["b.test"]),
        ("x.wild.test", ["*.wild.test"]),
        ("x.y.wild.test", ["a.test"]),
        ("unknown.test", ["a.test"]),
        (None, ["a.test"]),
    ],
)
def test_the_name_chooses(authority: Authority, name: str | None, names: list[str]) -> None:
    certificates = [certificate(authority.issue(one)) for one in ("a.test", "b.test", "*.wild.test")]
    config, problems = downstream({"common_tls_context": {"tls_certificates": certificates}})
    assert not problems
    assert shown(config.context, authority.client_context(), name) == names


def test_a_client_that_knows_only_rsa_gets_rsa(authority: Authority) -> None:
    certificates = [
        certificate(authority.issue("both.test", "ecdsa.test")),
        certificate(authority.issue("both.test", "rsa.test", rsa_key=True)),
    ]
    config, problems = downstream({"common_tls_context": {"tls_certificates": certificates}})
    assert not problems
    client = authority.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shown(config.context, client, "both.test") == ["both.test", "ecdsa.test"]
    client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    assert shown(config.context, client, "both.test") == ["both.test", "rsa.test"]
