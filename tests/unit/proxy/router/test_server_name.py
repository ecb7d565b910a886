"""Which name a request wants its TLS connection to be for."""

from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.router.server_name import server_name_of
from proxy.upstream.cluster_config import AutoSni
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
