"""Which name a request wants its TLS connection to be for."""

from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.router.server_name import server_name_of, with_alpn
from proxy.upstream.cluster_config import AutoSni, UpstreamProtocol
from proxy.upstream.pool.api import ServerName

BOTH = AutoSni(sni=True, san=True)


def head(*fields: tuple[str, str]) -> RequestHead:
    return RequestHead("GET", "/", "client.test", HeaderMap(list(fields)), "http")


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("A.test", ("a.test", "a.test")),
        ("a.test:443", ("a.test", "a.test")),
        ("10.0.0.1:443", ("", "10.0.0.1")),
        ("[::1]:443", ("", "::1")),
        ("::1", ("", "::1")),
    ],
)
def test_a_name_is_sent_and_an_address_is_only_checked(authority: str, expected: tuple[str, str]) -> None:
    assert server_name_of(BOTH, head(), authority) == ServerName(*expected)


def test_a_field_comes_before_the_authority() -> None:
    names = AutoSni(sni=True, san=False, header="x-name")
    assert server_name_of(names, head(("x-name", "b.test")), "a.test") == ServerName("b.test", "")
    assert server_name_of(names, head(), "a.test") == ServerName("a.test", "")


def test_an_address_that_is_not_checked_leaves_the_name_to_the_cluster() -> None:
    assert server_name_of(AutoSni(sni=True, san=False), head(), "10.0.0.1") is None


@pytest.mark.parametrize(
    ("protocol", "client", "alpn"),
    [
        (UpstreamProtocol.HTTP1, "HTTP/2", ("one",)),
        (UpstreamProtocol.HTTP2, "HTTP/1.1", ("two",)),
        (UpstreamProtocol.AUTO, "HTTP/1.1", ("two",)),
        (UpstreamProtocol.DOWNSTREAM, "HTTP/1.1", ("one",)),
        (UpstreamProtocol.DOWNSTREAM, "HTTP/2", ("two",)),
    ],
)
def test_alpn_is_that_for_the_protocol_upstream(
    protocol: UpstreamProtocol, client: str, alpn: tuple[str, ...]
) -> None:
    overrides = {"HTTP11": ("one",), "HTTP2": ("two",)}
    assert with_alpn(None, overrides, protocol, client) == ServerName("", "", alpn)
    assert with_alpn(ServerName("a", "b"), overrides, protocol, client) == ServerName("a", "b", alpn)


def test_a_protocol_without_alpn_of_its_own_keeps_that_of_the_cluster() -> None:
    assert with_alpn(None, {"HTTP2": ("two",)}, UpstreamProtocol.DOWNSTREAM, "HTTP/1.0") is None
