from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from proxy.base.stream_info import TlsInfo
from proxy.formatter.certificate_facts import certificate_facts
from proxy.formatter.compile import compile_format
from proxy.formatter.fingerprints import sha1_of, sha256_of
from tests.support.certs import Authority
from tests.support.streams import connection, context, stream


def render(text: str, **facts: object) -> str:
    return compile_format(text, "p", context()).render(stream(**facts))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsInfo:
    directory: Path = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory)
    issued = authority.issue("spiffe://mesh/client", "client.example", "10.0.0.9", common_name="client")
    info = TlsInfo()
    info.version, info.cipher, info.group = "TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519"
    info.sni, info.session_id = "svc.example", "ab"
    info.peer_certificate_der = info.local_certificate_der = _der(issued.certificate)
    info.peer_chain_der = (info.peer_certificate_der, _der(authority.certificate))
    return info


def _der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(
        path.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )


def test_both_sides_show_their_session(tls: TlsInfo) -> None:
    for side, facts in (
        ("DOWNSTREAM", {"connection": connection(tls=tls)}),
        ("UPSTREAM", {"upstream_tls": tls}),
    ):
        text = f"%{side}_TLS_VERSION% %{side}_TLS_CIPHER% %{side}_TLS_GROUP% %{side}_TLS_SESSION_ID%"
        assert render(text, **facts) == "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519 ab"
        names = f"%{side}_PEER_SUBJECT% %{side}_PEER_ISSUER% %{side}_PEER_URI_SAN% %{side}_PEER_DNS_SAN%"
        assert render(names, **facts) == "CN=client CN=test authority spiffe://mesh/client client.example"
        assert render(f"%{side}_LOCAL_IP_SAN%", **facts) == "10.0.0.9"
        pem = render(f"%{side}_PEER_CERT%", **facts)
        assert pem == certificate_facts(tls.peer_certificate_der).url_encoded_pem
    assert render("%UPSTREAM_SERVER_NAME%", upstream_tls=tls) == "svc.example"


def test_fingerprints_and_chains(tls: TlsInfo) -> None:
    leaf, issuer = tls.peer_chain_der
    held = connection(tls=tls)
    assert render("%DOWNSTREAM_PEER_FINGERPRINT_256%", connection=held) == sha256_of(leaf)
    assert render("%DOWNSTREAM_PEER_FINGERPRINT_1%", connection=held) == sha1_of(leaf)
    chain = render("%DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256%", connection=held)
    assert chain == f"{sha256_of(leaf)},{sha256_of(issuer)}"
    assert render("%DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256%", connection=held) == sha256_of(issuer)
    serials = render("%DOWNSTREAM_PEER_SERIAL%,%DOWNSTREAM_PEER_ISSUER_SERIAL%", connection=held)
    assert render("%DOWNSTREAM_PEER_CHAIN_SERIALS%", connection=held) == serials


def test_validity_takes_a_time_format(tls: TlsInfo) -> None:
    held = connection(tls=tls)
    facts = certificate_facts(tls.peer_certificate_der)
    assert render("%DOWNSTREAM_PEER_CERT_V_START(%s)%", connection=held) == f"{facts.not_before:.0f}"
    assert render("%DOWNSTREAM_PEER_CERT_V_END%", connection=held).endswith(".000Z")


def test_plain_connections_and_absent_certificates_have_nothing() -> None:
    text = (
        "%DOWNSTREAM_TLS_VERSION%%DOWNSTREAM_PEER_SUBJECT%%DOWNSTREAM_PEER_CERT_V_START%%UPSTREAM_PEER_CERT%"
    )
    assert render(text) == "----"
    chains = "%DOWNSTREAM_PEER_CHAIN_SERIALS%%DOWNSTREAM_PEER_ISSUER_SERIAL%%DOWNSTREAM_PEER_FINGERPRINT_1%"
    assert render(text + chains, connection=connection(tls=TlsInfo())) == "-------"
