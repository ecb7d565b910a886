from __future__ import annotations

import pytest

from proxy.base.address import Address
from proxy.formatter.address_operators import mask
from proxy.formatter.compile import compile_format
from tests.support.streams import connection, context, stream


def render(text: str, **facts: object) -> str:
    return compile_format(text, "p", context()).render(stream(**facts))  # type: ignore[arg-type]


def test_whole_address_and_its_parts() -> None:
    text = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%"
    assert render(text) == "127.0.0.1:53986 127.0.0.1 53986"
    over_v6 = connection(remote_address=Address("::1", 5))
    assert render(text, connection=over_v6) == "[::1]:5 ::1 5"


def test_a_client_behind_proxies_is_told_from_the_peer() -> None:
    text = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
    assert render(text, remote_address=Address("9.9.9.9", 0)) == "9.9.9.9:0 127.0.0.1"


def test_unix_sockets_have_no_port() -> None:
    text = "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(8)% <%DOWNSTREAM_LOCAL_PORT%>"
    assert render(text, connection=connection(local_address=Address(path="/s"))) == "/s /s <>"


def test_absent_addresses() -> None:
    text = "%UPSTREAM_LOCAL_ADDRESS%%UPSTREAM_REMOTE_PORT%%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%"
    assert render(text) == "---"
    assert render("<%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%%UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID%>") == "<->"


@pytest.mark.parametrize(
    ("ip", "bits", "expected"),
    [
        ("127.0.0.1", 0, "0.0.0.0/0"),
        ("127.0.0.1", 8, "127.0.0.0/8"),
        ("127.0.0.1", 33, "127.0.0.1/32"),
        ("127.0.0.1", -1, ""),
        ("2001:db8:1234:5678:9abc:def0:1234:5678", 64, "2001:db8:1234:5678::/64"),
        ("fe80::1%lo", 10, "fe80::/10"),
    ],
)
def test_masks(ip: str, bits: int, expected: str) -> None:
    assert mask(ip, bits) == expected


def test_a_mask_that_is_no_number_is_ignored() -> None:
    assert render("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(x)%") == "127.0.0.1"
