"""x-forwarded-client-cert: what is said of a client's certificate, passed on or kept out."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.certs import Authority
from tests.support.configs import Json
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client
from tests.support.managers import get, managers, same_everywhere
from tests.support.origin import HELLO
from tests.support.tls_managers import asking_transport

MODES = ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")
DETAILS: dict[str, Json] = {
    "nothing": {},
    "subject": {"subject": True},
    "everything": {"subject": True, "cert": True, "chain": True, "dns": True, "uri": True},
}
MANAGERS: dict[str, Json] = {
    **{mode.lower(): {"forward_client_cert_details": mode} for mode in MODES},
    **{
        f"{mode.lower()}_{name}": {
            "forward_client_cert_details": mode,
            "set_current_client_cert_details": details,
        }
        for mode in ("APPEND_FORWARD", "SANITIZE_SET")
        for name, details in DETAILS.items()
        if details
    },
}
PRESENT = ["X-Forwarded-Client-Cert: By=spiffe://a;Hash=1", "X-Forwarded-Client-Cert: Hash=2"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[Pair]:
    config = managers(MANAGERS)
    named = authority.issue("server.test", "spiffe://local/server", "spiffe://local/other")
    for listener in config["static_resources"]["listeners"]:
        listener["filter_chains"][0].update(asking_transport(authority, named))
    with Pair(config, listeners=list(MANAGERS)) as started:
        yield started


def context(authority: Authority, kind: str) -> ssl.SSLContext:
    names: dict[str, Any] = {
        "named": ("spiffe://client/one", "client.test", "other.test", "spiffe://client/two"),
        "address": ("127.0.0.1",),
        "dns": ("client.test",),
    }
    if kind == "none":
        return authority.client_context()
    if kind == "odd":
        return authority.client_context(authority.issue("x.test", common_name='a, "b"+c=d;e\\f é'))
    return authority.client_context(authority.issue(*names[kind]))


@pytest.mark.parametrize("client", ["named", "address", "dns", "none", "odd"])
@pytest.mark.parametrize("sent", [[], PRESENT[:1], PRESENT])
def test_every_mode(pair: Pair, authority: Authority, client: str, sent: list[str]) -> None:
    cases = [(manager, get("/", *sent), HELLO) for manager in MANAGERS]
    same_everywhere(pair, cases, tls=context(authority, client), server_name="server.test")


@pytest.mark.parametrize("client", ["named", "none", "odd"])
@pytest.mark.parametrize("sent", [[], PRESENT[:1], PRESENT])
def test_every_mode_over_http2(pair: Pair, authority: Authority, client: str, sent: list[str]) -> None:
    """The second stream of a connection is told the same as the first, whose certificate it shares."""
    of_client = context(authority, client)
    fields = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in sent)]

    def told(side: Side) -> dict[str, list[list[bytes]]]:
        found = {}
        for manager in MANAGERS:
            side.origin.script(HELLO)
            port = side.proxy.ports[manager]
            with Http2Client(port, tls=of_client, server_name="server.test") as connection:
                for stream in (1, 3):
                    assert connection.request(stream, scheme="https", fields=fields).status == 200
            found[manager] = [
                [
                    line
                    for line in request.raw.split(b"\r\n")
                    if line.lower().startswith(b"x-forwarded-client-cert")
                ]
                for request in side.origin.wait_for_requests(2)
            ]
        return found

    seen = pair.same_value("x-forwarded-client-cert", told, settle=0)
    assert all(first == second for first, second in seen.values())
    assert bool(seen["sanitize_set_subject"][0]) is (client != "none")
