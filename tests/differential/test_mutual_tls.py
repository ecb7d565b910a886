"""Client certificates: who is let in by which validation context, how the rest is counted and what the log says."""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.certs import Authority, Issued
from tests.support.configs import (
    Json,
    bootstrap,
    connection_manager,
    file_log,
    listener,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side

TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
SPIFFE = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
LOG = "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_PEER_URI_SAN%"
PATIENCE = 5.0


def der(issued: Issued) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.certificate.read_text().partition("-----END")[0] + END)


END = "-----END CERTIFICATE-----\n"


def spki(issued: Issued) -> str:
    key = x509.load_der_x509_certificate(der(issued)).public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(info).digest()).decode()


class Certificates:
    """An authority, a strange one, an intermediate one, and clients of each."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        for name in ("strange", "deep"):
            (directory / name).mkdir()
        self.stranger = Authority(directory / "strange", "stranger")
        self.intermediate = Authority(directory / "deep", "intermediate", self.authority)
        self.server = self.authority.issue("server.test")
        ago = datetime.timedelta(days=-3)
        self.clients: dict[str, Issued] = {
            "good": self.authority.issue("spiffe://cluster/ns/a/sa/good", "client.test"),
            "other": self.authority.issue("spiffe://elsewhere/ns/a/sa/other", "other.test"),
            "expired": self.authority.issue("spiffe://cluster/ns/a/sa/old", "client.test", starts_in=ago),
            "strange": self.stranger.issue("spiffe://cluster/ns/a/sa/good", "client.test"),
            "deep": self.intermediate.issue("spiffe://cluster/ns/a/sa/deep", "client.test"),
            "revoked": self.authority.issue("spiffe://cluster/ns/a/sa/bad", "client.test"),
            "stranger_at_home": self.stranger.issue("spiffe://elsewhere/ns/a/sa/other"),
        }
        ca = {"trusted_ca": {"filename": str(self.authority.certificate)}}
        good = self.clients["good"]
        self.validation: dict[str, Json] = {
            "plain": ca,
            "optional": ca,
            "dns": {**ca, "match_typed_subject_alt_names": [match("DNS", exact="client.test")]},
            "uri": {**ca, "match_typed_subject_alt_names": [match("URI", prefix="spiffe://cluster/")]},
            "hash": {**ca, "verify_certificate_hash": ["00" * 32, hashlib.sha256(der(good)).hexdigest()]},
            "colons": {
                **ca,
                "verify_certificate_hash": [hashlib.sha256(der(good)).digest().hex(":").upper()],
            },
            "spki": {**ca, "verify_certificate_spki": [spki(good)]},
            "either": {
                **ca,
                "verify_certificate_spki": [spki(good)],
                "verify_certificate_hash": [hashlib.sha256(der(self.clients["deep"])).hexdigest()],
            },
            "depth": {**ca, "max_verify_depth": 0},
            "shallow": {**ca, "max_verify_depth": 1},
            "deep": {**ca, "max_verify_depth": 2},
            "expired": {**ca, "allow_expired_certificate": True},
            "revoked": {
                **ca,
                "crl": {"filename": str(self.authority.revoke(self.clients["revoked"]))},
                "only_verify_leaf_cert_crl": True,
            },
            "anybody": {"trust_chain_verification": "ACCEPT_UNTRUSTED"},
            "untrusted": {**ca, "trust_chain_verification": "ACCEPT_UNTRUSTED"},
            "untrusted_dns": {
                **ca,
                "match_typed_subject_alt_names": [match("DNS", exact="client.test")],
                "trust_chain_verification": "ACCEPT_UNTRUSTED",
            },
            "untrusted_hash": {
                "verify_certificate_hash": [hashlib.sha256(der(good)).hexdigest()],
                "trust_chain_verification": "ACCEPT_UNTRUSTED",
            },
            "only_hash": {"verify_certificate_hash": [hashlib.sha256(der(good)).hexdigest()]},
            "only_spki": {"verify_certificate_spki": [spki(good)]},
            "nothing": {},
            "spiffe": self.spiffe(),
            "spiffe_names": {
                **self.spiffe(),
                "match_typed_subject_alt_names": [match("URI", prefix="spiffe://cluster/")],
            },
        }

    def spiffe(self) -> Json:
        domains = [
            {"name": "cluster", "trust_bundle": {"filename": str(self.authority.certificate)}},
            {"name": "elsewhere", "trust_bundle": {"filename": str(self.stranger.certificate)}},
        ]
        config = typed(SPIFFE, trust_domains=domains)
        return {
            "custom_validator_config": {"name": "envoy.tls.cert_validator.spiffe", "typed_config": config}
        }


def match(kind: str, **matcher: str) -> Json:
    return {"san_type": kind, "matcher": matcher}


VALIDATIONS = (
    *("plain", "optional", "dns", "uri", "hash", "colons", "spki", "either", "depth", "shallow", "deep"),
    *("expired", "revoked", "spiffe", "spiffe_names"),
    *("anybody", "untrusted", "untrusted_dns", "untrusted_hash", "only_hash", "only_spki", "nothing"),
)
CLIENTS = ("none", "good", "other", "expired", "strange", "deep", "revoked", "stranger_at_home")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def pair(certificates: Certificates) -> Iterator[Pair]:
    validated = {
        "match": {"prefix": "/", "tls_context": {"validated": True}},
        "direct_response": {"status": 200},
    }
    presented = {
        "match": {"prefix": "/", "tls_context": {"presented": True}},
        "direct_response": {"status": 201},
    }
    nothing = {"match": {"prefix": "/"}, "direct_response": {"status": 202}}
    made = []
    for name, validation in certificates.validation.items():
        manager = connection_manager(
            {"name": "r", "virtual_hosts": [virtual_host([validated, presented, nothing])]}
        )
        one = listener([manager], name, stat_prefix=name, access_log=[file_log(LOG)])
        common = {
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(certificates.server.certificate)},
                    "private_key": {"filename": str(certificates.server.key)},
                }
            ],
            "validation_context": validation,
        }
        config = typed(TLS, common_tls_context=common, require_client_certificate=name != "optional")
        one["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": config}
        made.append(one)
    with Pair(bootstrap(made), listeners=VALIDATIONS, origins=()) as started:
        yield started


def visit(side: Side, name: str, context: ssl.SSLContext) -> str:
    """The status that a client gets from the listener called `name`, "" for none."""
    with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), PATIENCE) as raw:
        try:
            with context.wrap_socket(raw, server_hostname="server.test") as secured:
                secured.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return secured.recv(4096)[9:12].decode()
        except (ssl.SSLError, ConnectionError):
            return ""


VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
STATS = (
    *("handshake", "connection_error", "no_certificate", "session_reused"),
    *("fail_verify_no_cert", "fail_verify_error", "fail_verify_san", "fail_verify_cert_hash"),
)


def seen(line: str) -> str:
    """A line of the log without what OpenSSL does not tell: the depth of the bad certificate, who showed it.

    Whether the chain ends in a stranger or nowhere depends on how it was searched.
    """
    reason, _, peer = line.partition(" ")
    return (
        f"- {peer}"
        if reason == "-"
        else re.sub("_at_depth_[0-9]", "", reason).replace(
            "self_signed_certificate_in_certificate_chain", "unable_to_get_local_issuer_certificate"
        )
    )


@pytest.mark.parametrize("name", VALIDATIONS)
def test_who_is_let_in(pair: Pair, certificates: Certificates, name: str) -> None:
    def visits(side: Side) -> list[tuple[str, str, str, str]]:
        found = []
        for client in CLIENTS:
            for version in VERSIONS:
                context = certificates.authority.client_context(certificates.clients.get(client))
                context.maximum_version = version
                before = len(side.proxy.access_log(0))
                served = visit(side, name, context)
                (line,) = side.proxy.access_log(before + 1)[before:]
                found.append((client, version.name, served, seen(line)))
        return found

    with pair.same_stats(*(f"listener.{name}.ssl.{stat}" for stat in STATS)):
        envoy, outrider = pair.both(visits)
        assert outrider == envoy
