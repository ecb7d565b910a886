"""JA3 and JA4 of a hello, worked out by hand from their definitions."""

from __future__ import annotations

from hashlib import md5, sha256

import pytest

from proxy.filters.listener.client_hello import ClientHello, parse_client_hello
from proxy.filters.listener.fingerprints import ja3, ja4
from tests.support.client_hellos import BROWSER, GREASE, TLS13, alpn, extension, message, supported_versions


def parsed(hello: bytes) -> ClientHello:
    found = parse_client_hello(hello, 4, len(hello))
    assert found is not None
    return found


def test_ja3() -> None:
    text = "771,4865-4866-49199,0-23-65281-10-11-13-16-43-51-65037,10794-29-23,0"
    assert ja3(parsed(BROWSER)) == md5(text.encode(), usedforsecurity=False).hexdigest()


def test_ja4() -> None:
    ciphers = sha256(b"1301,1302,c02f").hexdigest()[:12]
    extensions = sha256(b"000a,000b,000d,0017,002b,0033,fe0d,ff01_0403,0804").hexdigest()[:12]
    assert ja4(parsed(BROWSER)) == f"t13d0310h2_{ciphers}_{extensions}"


def test_a_bare_hello() -> None:
    hello = parsed(message(version=0x0301, ciphers=(GREASE,)))
    assert ja3(hello) == md5(b"769,,,,", usedforsecurity=False).hexdigest()
    assert ja4(hello) == "t10i000000_000000000000_000000000000"


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"h2", "h2"), (b"http/1.1", "h1"), (b"x", "xx"), (b"\xab\xcd", "ad"), (b"a\x05", "65")],
)
def test_the_ends_of_the_first_protocol(name: bytes, shown: str) -> None:
    hello = parsed(message(alpn(name, b"other"), supported_versions(TLS13)))
    assert ja4(hello)[8:10] == shown


def test_a_version_that_nobody_knows() -> None:
    assert ja4(parsed(message(supported_versions(0x0399, TLS13)))).startswith("t00")
    assert ja4(parsed(message(extension(5, b"")))).startswith("t12")
