"""What part of an authority is the name, and what the port."""

import pytest

from proxy.upstream.dns_cache.names import HostName, host_name


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("a.test", ("a.test:80", "a.test", 80)),
        ("a.test:8080", ("a.test:8080", "a.test", 8080)),
        ("10.0.0.1", ("10.0.0.1:80", "10.0.0.1", 80)),
        ("[::1]", ("[::1]:80", "::1", 80)),
        ("[::1]:8080", ("[::1]:8080", "::1", 8080)),
        ("a.test:x", ("a.test:x:80", "a.test:x", 80)),
        ("a.test:65536", ("a.test:65536:80", "a.test:65536", 80)),
        ("a.test:", ("a.test::80", "a.test:", 80)),
        ("", (":80", "", 80)),
    ],
)
def test_an_authority_is_split(authority, expected):
    assert host_name(authority, 80) == HostName(*expected)
