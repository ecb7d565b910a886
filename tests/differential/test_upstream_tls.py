"""TLS to origins: the name that is sent, the names that are accepted, what is said and counted otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.certs import Authority, Issued
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
from tests.support.differential import Pair
from tests.support.managers import get
from tests.support.origin import Origin

TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_PEER_URI_SAN%"
STATS = ("handshake", "connection_error", "fail_verify_san", "fail_verify_error", "fail_verify_cert_hash")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


def pem(issued: Issued) -> Json:
    return {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }


def names(kind: str, **matcher: str) -> Json:
    return {"match_typed_subject_alt_names": [{"san_type": kind, "matcher": matcher}]}


#: Fields of the context, and of its common part; what becomes of them with a server called server.test.
CONTEXTS: dict[str, tuple[Json, Json]] = {
    "unverified": ({}, {}),
    "verified": ({"sni": "server.test"}, {}),
    "right_name": ({}, names("DNS", exact="server.test")),
    "wrong_name": ({}, names("DNS", exact="other.test")),
    "identity": ({}, names("URI", exact="spiffe://cluster/ns/a/sa/server")),
    "pinned": ({}, {"verify_certificate_hash": ["00" * 32]}),
    "untrusted": ({}, {"trust_chain_verification": "ACCEPT_UNTRUSTED", **names("DNS", exact="other.test")}),
    "host_name": ({"auto_host_sni": True, "auto_sni_san_validation": True}, {}),
    "fallback_name": ({"auto_sni_san_validation": True, "sni": "other.test"}, {}),
    "anonymous": ({}, {}),
}


def upstream(authority: Authority, client: Issued, name: str) -> Json:
    fields, validation = CONTEXTS[name]
    common: Json = {} if name == "anonymous" else {"tls_certificates": [pem(client)]}
    if name != "unverified":
        common["validation_context"] = {
            "trusted_ca": {"filename": str(authority.certificate)},
            **validation,
        }
    config = typed(TLS, common_tls_context=common, **fields)
    made = cluster(name, "{{origin_port}}", transport_socket={"name": "tls", "typed_config": config})
    if name == "host_name":
        made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["hostname"] = "server.test"
    return made


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[Pair]:
    server = authority.issue("server.test", "spiffe://cluster/ns/a/sa/server")
    client = authority.issue("spiffe://cluster/ns/a/sa/client")
    context = server.server_context(client_ca=authority.certificate)
    manager = connection_manager(
        {"name": "r", "virtual_hosts": [virtual_host([route(name, f"/{name}") for name in CONTEXTS])]},
        access_log=[file_log(LOG)],
    )
    clusters = [upstream(authority, client, name) for name in CONTEXTS]
    origins: dict[str, Any] = {"origin": lambda: Origin(tls=context)}
    with Pair(bootstrap([listener([manager])], clusters), origins=origins) as started:
        yield started


@pytest.mark.parametrize("name", CONTEXTS)
def test_what_is_said_to_a_server(pair: Pair, name: str) -> None:
    with pair.same_stats(*(f"cluster.{name}.ssl.{stat}" for stat in STATS)):
        pair.same(get(f"/{name}"))
        pair.same_log()
