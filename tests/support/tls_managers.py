"""Connection managers behind TLS that ask for certificates, and clients that have some."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.support.certs import Authority, Issued
from tests.support.configs import Json, typed
from tests.support.differential import Pair
from tests.support.managers import Case, get, managers, same_everywhere
from tests.support.origin import HELLO

TLS: Final = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
INSPECTOR: Final = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"

#: What the certificate of each client names; "none" has no certificate.
CLIENTS: Final[dict[str, tuple[str, ...]]] = {
    "good": ("spiffe://cluster.local/ns/foo/sa/good", "client.test", "spiffe://second/one"),
    "other": ("spiffe://cluster.local/ns/bar/sa/good",),
    "dns": ("client.test",),
    "address": ("127.0.0.1",),
    "none": (),
}


def asking_transport(authority: Authority, issued: Issued) -> Json:
    """The transport socket of a filter chain that validates the certificates of clients that have one."""
    certificate = {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }
    common = {
        "tls_certificates": [certificate],
        "validation_context": {"trusted_ca": {"filename": str(authority.certificate)}},
    }
    return {"transport_socket": {"name": "tls", "typed_config": typed(TLS, common_tls_context=common)}}


@contextlib.contextmanager
def encrypted_managers(
    each: Mapping[str, Mapping[str, Any]], authority: Authority, *, log: str
) -> Iterator[Pair]:
    """A pair with these managers behind TLS; the listener named "sni" reads what the client asks for."""
    config = managers(each, log=log)
    transport = asking_transport(authority, authority.issue("server.test"))
    for one in config["static_resources"]["listeners"]:
        one["filter_chains"][0].update(transport)
        if one["name"] == "sni":
            one["listener_filters"] = [{"name": "tls_inspector", "typed_config": typed(INSPECTOR)}]
    with Pair(config, listeners=list(each)) as started:
        yield started


def same_for_client(pair: Pair, authority: Authority, client: str, stats: Mapping[str, str]) -> None:
    """Asserts that both proxies take a request of this one of `CLIENTS` alike at each listener.

    `stats` has, for each listener, what the names of the stats begin with that must move alike.
    """
    names = CLIENTS[client]
    context = authority.client_context(*((authority.issue(*names),) if names else ()))
    cases: list[Case] = [(name, get("/"), HELLO) for name in stats]
    with pair.same_stats(*stats.values()):
        same_everywhere(pair, cases, tls=context, server_name="server.test")
