from __future__ import annotations

import contextlib
import ssl
from types import SimpleNamespace
from typing import Any

from proxy.connection.tls_named import NamedTls
from proxy.connection.tls_object import CheckedSslObject, TlsContext


def hello(named: NamedTls) -> tuple[bytes, Any]:
    """The ClientHello of a connection, and its TLS object."""
    current = named.current()
    assert current is not None
    outgoing = ssl.MemoryBIO()
    made = current.context.wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname=current.server_name("host.test")
    )
    with contextlib.suppress(ssl.SSLWantReadError):
        made.do_handshake()
    return outgoing.read(), made


def transport() -> Any:
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = CheckedSslObject
    context.check_hostname = False
    context.protocols = ("own",)
    context.set_alpn_protocols(["own"])
    config = SimpleNamespace(context=context, server_name=lambda hostname: hostname)
    return SimpleNamespace(current=lambda: config)


def test_a_request_may_bring_a_name_and_protocols_of_its_own() -> None:
    first, made = hello(NamedTls(transport(), "sni.test", "san.test", ("istio-h2", "h2")))
    assert b"sni.test" in first
    assert b"istio-h2" in first
    assert b"\x03own" not in first
    assert made.wanted_name == "san.test"


def test_protocols_of_one_request_do_not_stay_with_the_cluster() -> None:
    shared = transport()
    hello(NamedTls(shared, "", "", ("istio-h2",)))
    later, made = hello(NamedTls(shared, "", "", ()))
    assert b"\x03own" in later
    assert b"istio-h2" not in later
    assert b"host.test" in later
    assert made.wanted_name == ""


def test_a_cluster_whose_secrets_have_not_come_has_no_tls_yet() -> None:
    nothing: Any = SimpleNamespace(current=lambda: None)
    assert NamedTls(nothing, "a", "b").current() is None
