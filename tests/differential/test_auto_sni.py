"""TLS to origins under the names that requests ask for: what is sent, what is accepted, what is shared."""

from __future__ import annotations

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
from tests.support.differential import Pair
from tests.support.origin import Origin

TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_PEER_URI_SAN%"

NAMES: dict[str, tuple[Json, Json]] = {
    "sni": ({"auto_sni": True}, {}),
    "configured": ({"auto_sni": True}, {"sni": "fixed.test"}),
    "san": ({"auto_san_validation": True}, {"sni": "a.test"}),
    "both": ({"auto_sni": True, "auto_san_validation": True}, {}),
    "header": ({"auto_sni": True, "override_auto_sni_header": "X-Name"}, {}),
    "rewritten": ({"auto_sni": True}, {}),
    "host_name": ({"auto_sni": True}, {"auto_host_sni": True}),
}
#: The cluster, the authority, further fields.
REQUESTS: dict[str, tuple[str, str, str]] = {
    "a_name": ("sni", "a.test", ""),
    "a_name_with_a_port": ("sni", "a.test:8080", ""),
    "another_name": ("sni", "b.test", ""),
    "upper_case": ("sni", "A.test", ""),
    "an_address": ("sni", "127.0.0.1", ""),
    "an_address_with_a_port": ("sni", "127.0.0.1:80", ""),
    "an_ipv6_address": ("sni", "[::1]:80", ""),
    "instead_of_the_configured": ("configured", "a.test", ""),
    "the_configured_for_an_address": ("configured", "127.0.0.1", ""),
    "right_certificate": ("san", "a.test", ""),
    "wrong_certificate": ("san", "b.test", ""),
    "certificate_without_the_address": ("san", "127.0.0.1", ""),
    "sent_and_checked": ("both", "b.test", ""),
    "sent_and_unknown": ("both", "c.test", ""),
    "from_a_field": ("header", "a.test", "x-name: b.test\r\n"),
    "from_a_field_with_a_port": ("header", "a.test", "x-name: b.test:80\r\n"),
    "without_the_field": ("header", "a.test", ""),
    "with_an_empty_field": ("header", "a.test", "x-name:\r\n"),
    "rewritten_by_the_route": ("rewritten", "a.test", ""),
    "instead_of_the_host_name": ("host_name", "a.test", ""),
}


def by_name(authority: Authority) -> ssl.SSLContext:
    """A server with a certificate for each name, and one for everybody else."""
    contexts = {
        name: authority.issue(name, f"spiffe://{name}").server_context()
        for name in ("a.test", "b.test", "fixed.test", "other.test")
    }

    def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        del context
        connection.context = contexts.get(name or "", contexts["other.test"])

    contexts["other.test"].sni_callback = choose
    return contexts["other.test"]


def upstream(authority: Authority, name: str) -> Json:
    options, fields = NAMES[name]
    common = {"validation_context": {"trusted_ca": {"filename": str(authority.certificate)}}}
    made = cluster(
        name,
        "{{origin_port}}",
        transport_socket={"name": "tls", "typed_config": typed(TLS, common_tls_context=common, **fields)},
        typed_extension_protocol_options={
            OPTIONS: typed(
                OPTIONS,
                explicit_http_config={"http_protocol_options": {}},
                upstream_http_protocol_options=options,
            )
        },
    )
    if name == "host_name":
        made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["hostname"] = "b.test"
    return made


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    authority = Authority(tmp_path_factory.mktemp("certs"))
    routes = [route(name, f"/{name}") for name in NAMES if name != "rewritten"]
    routes.append(
        {
            "match": {"prefix": "/rewritten"},
            "route": {"cluster": "rewritten", "host_rewrite_literal": "b.test"},
        }
    )
    manager = connection_manager(
        {"name": "r", "virtual_hosts": [virtual_host(routes)]}, access_log=[file_log(LOG)]
    )
    context = by_name(authority)
    origins: dict[str, Any] = {"origin": lambda: Origin(tls=context)}
    clusters = [upstream(authority, name) for name in NAMES]
    with Pair(bootstrap([listener([manager])], clusters), origins=origins) as started:
        yield started


@pytest.mark.parametrize("name", REQUESTS)
def test_the_name_of_a_connection(pair: Pair, name: str) -> None:
    cluster_name, host, fields = REQUESTS[name]
    request = f"GET /{cluster_name} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n".encode()
    with pair.same_stats(
        *(f"cluster.{cluster_name}.{stat}" for stat in ("ssl.handshake", "ssl.fail_verify_san"))
    ):
        pair.same(request)
        pair.same_log()


def test_connections_are_shared_by_name(pair: Pair) -> None:
    with pair.same_stats("cluster.both.upstream_cx_total", "cluster.both.upstream_rq_total"):
        for host in ("a.test", "b.test", "a.test", "b.test:80", "a.test"):
            pair.same(f"GET /both HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
            pair.same_log()
