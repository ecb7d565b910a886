"""Reading ClientHellos: what they ask for, however they are cut, and what is none."""

from __future__ import annotations

import pytest

from proxy.filters.listener.client_hello import FOUND, NOT_TLS, ClientHello, HelloReader
from tests.support.client_hellos import (
    BROWSER,
    TLS12,
    TLS13,
    alpn,
    extension,
    message,
    name_list,
    records,
    server_name,
    ssl2,
    supported_versions,
)


def read(data: bytes) -> ClientHello | None:
    reader = HelloReader()
    assert reader.feed(data, len(data)) == (FOUND if reader.hello else NOT_TLS)
    return reader.hello


def facts(data: bytes) -> tuple[str, tuple[str, ...]]:
    hello = read(data)
    assert hello is not None
    return hello.server_name, hello.protocols


WANTED = ("www.example.com", ("h2", "http/1.1"))


@pytest.mark.parametrize("sizes", [(), (1,) * 20, (4, 2, 300), (3,), (0, 5)])
def test_a_hello_is_read_when_it_is_whole_and_not_before(sizes: tuple[int, ...]) -> None:
    data = records(BROWSER, sizes)
    reader = HelloReader()
    for end in range(len(data)):
        needed = reader.feed(data[:end], end)
        assert end < needed <= len(data)
    assert reader.feed(data, len(data)) == FOUND
    assert reader.read == len(data)
    assert reader.hello is not None
    assert (reader.hello.server_name, reader.hello.protocols) == WANTED


def test_no_more_is_asked_for_than_is_needed() -> None:
    data = records(BROWSER)
    reader = HelloReader()
    needed = [reader.feed(data[:5], 5), reader.feed(data[:100], 100)]
    assert needed == [len(data), len(data)]


def test_what_follows_the_hello_is_left_alone() -> None:
    data = records(BROWSER)
    reader = HelloReader()
    assert reader.feed(data + b"more", len(data) + 4) == FOUND
    assert reader.read == len(data)


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0303, 0x03FF])
def test_the_record_s_version_needs_only_its_major_number(version: int) -> None:
    assert facts(records(BROWSER, version=version)) == WANTED


def test_a_hello_without_extensions() -> None:
    assert facts(records(message())) == ("", ())


def test_a_hello_with_neither_name_nor_protocols() -> None:
    assert facts(records(message(supported_versions(TLS13)))) == ("", ())


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (name_list((0, b"a.com")), "a.com"),
        (name_list((0, b"A.COM.")), "a.com."),
        (name_list((0, b"x" * 255)), "x" * 255),
        (name_list((0, b"\xc4.com")), "\xc4.com"),
        (name_list((0, b"x" * 256)), None),
        (name_list((0, b"")), None),
        (name_list((0, b"a\0b")), None),
        (name_list((1, b"a.com")), None),
        (name_list((0, b"a.com"), (0, b"b.com")), None),
        (name_list(), None),
        (b"", None),
        (name_list((0, b"a.com")) + b"x", None),
    ],
)
def test_server_names(content: bytes, name: str | None) -> None:
    hello = read(records(message(extension(0, content))))
    assert (hello.server_name if hello else None) == name


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"\0\1\0", b"\0\3\2h2x", b"\0\3\3h2", b"\0\4\2h2\0", b"\0\2\2h2"]
)
def test_malformed_protocols_are_none(content: bytes) -> None:
    assert facts(records(message(server_name(b"a"), extension(16, content)))) == ("a", ())


@pytest.mark.parametrize(
    ("hello", "accepted"),
    [
        (message(version=0x0300), True),
        (message(version=0x0399), True),
        (message(supported_versions()), True),
        (message(ciphers=()), False),
        (message(compression=b"\1\0"), True),
        (message(compression=b"\1"), True),
        (message(compression=b""), False),
        (message(session_id=bytes(32)), True),
        (message(session_id=bytes(33)), False),
        (message(alpn(b"a"), alpn(b"b")), False),
        (message(extension(77, b"")[:-1]), False),
        (message(kind=2), False),
        (message(server_name(b"a"))[:4] + message(server_name(b"a"))[4:-1] + b"xx", False),
    ],
)
def test_what_a_server_would_refuse_unread_is_no_hello(hello: bytes, accepted: bool) -> None:
    hello = hello[:1] + (len(hello) - 4).to_bytes(3) + hello[4:]
    assert (read(records(hello)) is not None) is accepted


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH",
        b"\x16\x02\x00\x00\x05",
        b"\x16\x03\x01\xff\xff",
        b"\x17\x03\x03\x00\x01x",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x16\x03\x01\x00\x04\x01\x00\x40\x01",
        b"\x16\x03\x01\x00\x00" * 33,
        b"\x15\x03\x01\x00\x02\x01\x5a" * 5,
    ],
)
def test_other_bytes_are_known_at_once(data: bytes) -> None:
    assert read(data) is None


def test_warnings_and_empty_records_before_a_hello_are_skipped() -> None:
    noise = b"\x15\x03\x01\x00\x02\x01\x5a" * 4 + b"\x16\x03\x01\x00\x00" * 32
    assert facts(noise + records(BROWSER)) == WANTED


def test_the_longest_hello_that_is_read() -> None:
    empty = message(extension(21, b""), version=TLS12)
    hello = message(extension(21, bytes(16384 + 4 - len(empty))), version=TLS12)
    assert len(hello) == 16384 + 4
    assert facts(records(hello, [10000])) == ("", ())
    longer = message(extension(21, bytes(16385 + 4 - len(empty))), version=TLS12)
    assert read(records(longer, [10000])) is None


def test_any_byte_may_be_wrong() -> None:
    data = records(BROWSER)
    for place in range(len(data)):
        for value in (0, data[place] ^ 1, 0x7F, 0xFF):
            reader = HelloReader()
            reader.feed(data[:place] + bytes([value]) + data[place + 1 :], len(data))


def test_a_hello_in_the_form_of_ssl_2_is_read_when_it_is_whole() -> None:
    data = ssl2(suites=b"\x01\x00\x80\0\0\x2f")
    for end in range(len(data)):
        assert HelloReader().feed(data[:end], end) == (5 if end < 5 else len(data))
    hello = read(data)
    assert hello is not None
    assert (hello.version, hello.ciphers, hello.extensions, hello.server_name) == (0x0301, b"\0\x2f", b"", "")


@pytest.mark.parametrize(
    "data",
    [ssl2(suites=b""), ssl2(suites=b"\0\0\x2f\0"), ssl2(challenge=bytes(5000)), ssl2()[:1] + b"\2\1\3\1"],
)
def test_a_broken_hello_in_the_form_of_ssl_2_is_none(data: bytes) -> None:
    assert read(data) is None
