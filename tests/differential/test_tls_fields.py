"""Fields of TLS contexts: which values are taken, and what becomes of servers whose certificates they judge."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.certs import Authority
from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, same_verdict
from tests.support.managers import get
from tests.support.origin import Origin

DOWNSTREAM = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
DIGEST = hashlib.sha256(b"x").digest()
PIN = base64.b64encode(DIGEST).decode()
PRINCIPAL = "1.3.6.1.4.1.311.20.2.3"
TO_CLUSTER = {
    "name": "tcp",
    "typed_config": typed(
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="t", cluster="c"
    ),
}
STATS = ("handshake", "connection_error", "fail_verify_san", "fail_verify_error")
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_TLS_CIPHER%"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


def san(kind: str, oid: str = "", **matcher: str) -> Json:
    return {
        "match_typed_subject_alt_names": [
            {"san_type": kind, "matcher": matcher, **({"oid": oid} if oid else {})}
        ]
    }


def parameters(**fields: list[str]) -> Json:
    return {"tls_params": fields}


VALIDATIONS: dict[str, Json] = {
    "hash": {"verify_certificate_hash": [DIGEST.hex().upper()]},
    "hash_with_colons": {"verify_certificate_hash": [DIGEST.hex(":")]},
    "hash_with_blanks": {"verify_certificate_hash": [DIGEST.hex(" ")]},
    "hash_with_one_colon": {"verify_certificate_hash": [DIGEST.hex()[:2] + ":" + DIGEST.hex()[2:]]},
    "pin": {"verify_certificate_spki": [PIN]},
    "pin_of_another_alphabet": {"verify_certificate_spki": ["-_" + PIN[2:]]},
    "pin_with_stray_bits": {"verify_certificate_spki": [PIN[:-2] + chr(ord(PIN[-2]) + 1) + "="]},
    "other_name": san("OTHER_NAME", PRINCIPAL, exact="u"),
    "other_name_of_no_type": san("OTHER_NAME", exact="u"),
    "other_name_of_a_bad_type": san("OTHER_NAME", "x.y", exact="u"),
    "name_with_a_type": san("DNS", PRINCIPAL, exact="u"),
}
UNTRUSTED: dict[str, Json] = {
    "crl_of_nobody": {"crl": {"filename": "{{crl}}"}},
    "expired_of_nobody": {"allow_expired_certificate": True},
}
COMMON: dict[str, Json] = {
    "signatures": parameters(signature_algorithms=["ecdsa_secp256r1_sha256"]),
    "old_signatures": parameters(signature_algorithms=["rsa_pkcs1_sha1", "ecdsa_sha1"]),
    "unknown_signatures": parameters(signature_algorithms=["nope"]),
    "curves": parameters(ecdh_curves=["X25519", "P-256"]),
    "curve_p224": parameters(ecdh_curves=["P-224"]),
    "curve_x448": parameters(ecdh_curves=["X25519", "X448"]),
    "default_suites": parameters(cipher_suites=["DEFAULT"]),
    "suites_by_strength": parameters(cipher_suites=["ALL:@STRENGTH"]),
    "suites_of_two_kinds": parameters(cipher_suites=["ECDHE+AES128"]),
    "suites_of_an_unknown_kind": parameters(cipher_suites=["ECDHE+NOPE"]),
    "no_suites": parameters(cipher_suites=[""]),
    "group_without_end": parameters(cipher_suites=["[ECDHE-RSA-AES128-GCM-SHA256"]),
    "group_in_a_group": parameters(
        cipher_suites=["[ECDHE-RSA-AES128-GCM-SHA256|[ECDHE-RSA-AES256-GCM-SHA384]]"]
    ),
}


def connections(context: Json, upstream: Json | None = None) -> Json:
    chain = listener([TO_CLUSTER])
    chain["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": context}
    socket = {} if upstream is None else {"transport_socket": {"name": "tls", "typed_config": upstream}}
    return bootstrap([chain], [cluster("c", 1, **socket)])


def pem(authority: Authority) -> list[Json]:
    issued = authority.issue("server.test")
    return [
        {
            "certificate_chain": {"filename": str(issued.certificate)},
            "private_key": {"filename": str(issued.key)},
        }
    ]


@pytest.mark.parametrize("name", [*VALIDATIONS, *UNTRUSTED, *COMMON])
def test_values_that_a_server_s_context_takes(authority: Authority, name: str) -> None:
    common = COMMON.get(name, {})
    trusted = {"trusted_ca": {"filename": str(authority.certificate)}}
    if name in VALIDATIONS:
        common = {"validation_context": {**trusted, **VALIDATIONS[name]}}
    elif name in UNTRUSTED:
        common = {"validation_context": UNTRUSTED[name]}
    context = typed(DOWNSTREAM, common_tls_context={"tls_certificates": pem(authority), **common})
    crl = authority.revoke(authority.issue("revoked.test"))
    same_verdict(connections(context), {"crl": str(crl), "listener_port": 1, "admin_port": 0})


@pytest.mark.parametrize("name", ["a.test", "a\0b", "a" * 256, "*.a b"])
def test_names_that_may_be_sent(authority: Authority, name: str) -> None:
    context = typed(DOWNSTREAM, common_tls_context={"tls_certificates": pem(authority)})
    same_verdict(connections(context, typed(UPSTREAM, sni=name)), {"listener_port": 1, "admin_port": 0})


# -- servers

STATIC = "AES128-GCM-SHA256"
#: Names of a server's certificate, whether its RSA key signs, and the suites that it takes.
SERVERS: dict[str, tuple[tuple[str, ...], bool, str]] = {
    "signing": (("server.test",), True, "ECDHE+AESGCM"),
    "never_signing": (("server.test",), False, "ECDHE+AESGCM"),
    "transport": (("server.test",), False, STATIC),
    "strange": (("server.test",), True, "DHE+AESGCM"),
    "named": ((f"{PRINCIPAL}=me@home", "a@b.test", "10.1.2.3"), True, "ECDHE+AESGCM"),
}
#: The server, and what is asked of its names.
CLUSTERS: dict[str, tuple[str, Json]] = {
    **{name: (name, {}) for name in ("signing", "never_signing", "transport", "strange")},
    "same_other_name": ("named", san("OTHER_NAME", PRINCIPAL, exact="me@home")),
    "start_of_other_name": ("named", san("OTHER_NAME", PRINCIPAL, prefix="me@")),
    "different_other_name": ("named", san("OTHER_NAME", PRINCIPAL, exact="you@home")),
    "other_name_of_a_different_type": ("named", san("OTHER_NAME", "1.2.3", exact="me@home")),
    "same_email": ("named", san("EMAIL", exact="a@b.test")),
    "email_in_capitals": ("named", san("EMAIL", exact="A@b.test")),
    "same_ip": ("named", san("IP_ADDRESS", exact="10.1.2.3")),
    "different_ip": ("named", san("IP_ADDRESS", exact="10.1.2.4")),
    "type_of_another_kind": ("named", san("EMAIL", PRINCIPAL, exact="a@b.test")),
}


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[Pair]:
    origins: dict[str, Any] = {}
    for name, (names, signs, suites) in SERVERS.items():
        context = authority.issue(*names, rsa_key=True, signs=signs).server_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(suites)
        origins[name] = lambda context=context: Origin(tls=context)
    trusted = {"trusted_ca": {"filename": str(authority.certificate)}}
    clusters = []
    for name, (server, validation) in CLUSTERS.items():
        context = typed(
            UPSTREAM,
            common_tls_context={
                **parameters(cipher_suites=[STATIC, "ECDHE-RSA-AES128-GCM-SHA256"]),
                "validation_context": {**trusted, **validation},
            },
        )
        clusters.append(
            cluster(name, f"{{{{{server}_port}}}}", transport_socket={"name": "tls", "typed_config": context})
        )
    manager = connection_manager(
        {"name": "r", "virtual_hosts": [virtual_host([route(name, f"/{name}") for name in CLUSTERS])]},
        access_log=[file_log(LOG)],
    )
    with Pair(bootstrap([listener([manager])], clusters), origins=origins) as started:
        yield started


@pytest.mark.parametrize("name", CLUSTERS)
def test_servers_that_are_believed(pair: Pair, name: str) -> None:
    with pair.same_stats(*(f"cluster.{name}.ssl.{stat}" for stat in STATS)):
        pair.same(get(f"/{name}"))
        pair.same_log()
