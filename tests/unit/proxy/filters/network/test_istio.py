from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.filters.network.istio import FACTORIES, AuthnFilter
from tests.support.certs import Authority

PEER = "spiffe://cluster.local/ns/a/sa/b"


def der(authority: Authority, *names: str) -> bytes:
    pem = authority.issue(*names).certificate.read_bytes()
    return x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)


def state(peer: bytes, local: bytes) -> dict[str, Any]:
    tls = SimpleNamespace(peer_certificate_der=peer, local_certificate_der=local)
    connection: Any = SimpleNamespace(tls=tls, filter_state={"before": 1})
    assert AuthnFilter().on_new_connection(connection)
    found: dict[str, Any] = connection.filter_state
    return found


def test_principals_are_the_spiffe_identities_of_both_sides(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    peer, local = der(authority, "a.test", "https://x", PEER), der(authority, "spiffe://me")
    assert state(peer, local) == {
        "before": 1,
        "io.istio.peer_principal": PEER,
        "io.istio.local_principal": "spiffe://me",
    }
    assert state(der(authority, "a.test"), local) == {"before": 1, "io.istio.local_principal": "spiffe://me"}
    assert state(b"", local) == {"before": 1}


def test_plain_text_has_no_principals() -> None:
    connection: Any = SimpleNamespace(tls=None, filter_state={})
    assert AuthnFilter().on_new_connection(connection)
    assert connection.filter_state == {}


def test_all_but_the_principals_are_left_out() -> None:
    assert [one.name for one in FACTORIES if not one.passive] == ["io.istio.network.authn"]
