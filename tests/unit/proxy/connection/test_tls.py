"""What a TLS context may say, and what it turns into."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.support.certs import Authority
from tests.support.tls_configs import certificate, downstream, upstream


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "server.test"
) -> ssl.SSLObject:
    """Both sides in memory; the client's end of a finished handshake."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return ends[0]


def test_servers_and_clients_have_envoys_versions(authority: Authority) -> None:
    server, problems = downstream(
        {"common_tls_context": {"tls_certificates": [certificate(authority.issue("a"))]}}
    )
    assert not problems
    assert server.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert server.context.maximum_version == ssl.TLSVersion.TLSv1_3
    client, problems = upstream({})
    assert not problems
    assert client.context.minimum_version == client.context.maximum_version == ssl.TLSVersion.TLSv1_2


def test_versions_and_ciphers_can_be_set(authority: Authority) -> None:
    server, problems = downstream(
        {
            "common_tls_context": {
                "tls_certificates": [certificate(authority.issue("server.test"))],
                "tls_params": {
                    "tls_maximum_protocol_version": "TLSv1_2",
                    "cipher_suites": ["[ECDHE-ECDSA-AES256-GCM-SHA384|ECDHE-ECDSA-CHACHA20-POLY1305]"],
                    "ecdh_curves": ["P-384"],
                },
            }
        }
    )
    assert not problems
    finished = handshake(server.context, authority.client_context())
    cipher = finished.cipher()
    assert finished.version() == "TLSv1.2"
    assert cipher is not None
    assert cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_a_client_without_a_validation_context_accepts_any_server(authority: Authority) -> None:
    server = authority.issue("server.test").server_context()
    config, problems = upstream({"sni": "other.test"})
    assert not problems
    assert config.context.verify_mode is ssl.CERT_NONE
    assert config.sni == "other.test"
    handshake(server, config.context, config.sni)


def trusting(authority: Authority, *names: dict[str, Any]) -> dict[str, Any]:
    return {
        "common_tls_context": {
            "validation_context": {
                "trusted_ca": {"inline_string": authority.certificate.read_text()},
                "match_typed_subject_alt_names": list(names),
            }
        }
    }


def test_a_client_with_a_trusted_ca_verifies_the_server(authority: Authority, tmp_path: Path) -> None:
    config, problems = upstream(trusting(authority))
    assert not problems
    handshake(authority.issue("any.test").server_context(), config.context)
    stranger = Authority(tmp_path, "stranger").issue("server.test").server_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(stranger, config.context)


def test_a_client_checks_the_server_s_names(authority: Authority) -> None:
    config, problems = upstream(trusting(authority, {"san_type": "DNS", "matcher": {"exact": "a.good.test"}}))
    assert not problems
    handshake(authority.issue("*.good.test").server_context(), config.context)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"certificate SANs are \[b.bad.test\]"):
        handshake(authority.issue("b.bad.test").server_context(), config.context)


def test_a_client_shows_its_certificate(authority: Authority) -> None:
    server = authority.issue("server.test").server_context(client_ca=authority.certificate)
    config, problems = upstream(
        {"common_tls_context": {"tls_certificates": [certificate(authority.issue("me"))]}}
    )
    assert not problems
    handshake(server, config.context)


def test_an_intermediate_authority_may_be_the_anchor(authority: Authority) -> None:
    leaf = authority.issue("server.test")
    message = trusting(authority)
    message["common_tls_context"]["validation_context"]["trusted_ca"] = {"filename": str(leaf.certificate)}
    config, problems = upstream(message)
    assert not problems
    handshake(leaf.server_context(), config.context)


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    mixed = certificate(one) | {"private_key": {"filename": str(other.key)}}
    _, problems = downstream({"common_tls_context": {"tls_certificates": [mixed]}})
    assert problems == [
        (
            "tls.common_tls_context.tls_certificates[0]: cannot use this certificate and key: "
            "the private key does not match the certificate"
        )
    ]


def test_an_encrypted_key_needs_its_password(authority: Authority) -> None:
    from cryptography.hazmat.primitives import serialization

    leaf = authority.issue("server.test")
    key = serialization.load_pem_private_key(leaf.key.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    ).decode()
    message = certificate(leaf) | {"private_key": {"inline_string": encrypted}}
    _, problems = downstream(
        {"common_tls_context": {"tls_certificates": [message | {"password": {"inline_string": "secret"}}]}}
    )
    assert not problems
    _, problems = downstream({"common_tls_context": {"tls_certificates": [message]}})
    assert len(problems) == 1
    assert problems[0].startswith(
        "tls.common_tls_context.tls_certificates[0]: cannot use this certificate and key"
    )


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({}, "common_tls_context.tls_certificates: no TLS certificates found for server context"),
        (
            {"common_tls_context": {"tls_certificates": [{"certificate_chain": {"filename": "/nowhere"}}]}},
            (
                "common_tls_context.tls_certificates[0].certificate_chain.filename: cannot read '/nowhere': "
                "No such file or directory"
            ),
        ),
        (
            {
                "common_tls_context": {
                    "tls_params": {"cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256", "NO-SUCH"]}
                }
            },
            (
                "common_tls_context.tls_params.cipher_suites: failed to initialize cipher suites "
                "ECDHE-RSA-AES128-GCM-SHA256:NO-SUCH. The following ciphers were rejected when tried individually: "
                "NO-SUCH"
            ),
        ),
        (
            {
                "common_tls_context": {
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3",
                        "tls_maximum_protocol_version": "TLSv1_2",
                    }
                }
            },
            "common_tls_context.tls_params: minimum version TLSv1_3 is above the maximum version TLSv1_2",
        ),
        (
            {"common_tls_context": {"validation_context": {"verify_certificate_hash": ["x"]}}},
            "common_tls_context.validation_context.verify_certificate_hash[0]: Invalid hex-encoded SHA-256 x",
        ),
        (
            {
                "common_tls_context": {
                    "validation_context": {
                        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a"}}]
                    }
                }
            },
            (
                "common_tls_context.validation_context: verifying names of certificates without a trusted CA is "
                "insecure and not allowed"
            ),
        ),
        (
            {
                "common_tls_context": {
                    "validation_context": {"trusted_ca": {"inline_string": "no certificate"}}
                }
            },
            "common_tls_context.validation_context.trusted_ca: failed to load trusted CA certificates",
        ),
    ],
)
def test_what_cannot_be_is_refused(message: dict[str, Any], problem: str) -> None:
    _, problems = downstream(message)
    assert any(one.startswith(f"tls.{problem}") for one in problems), problems
