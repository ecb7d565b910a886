"""Fields to header blocks."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.codec import hpack_encoder
from proxy.codec.hpack_decoder import HpackDecoder
from proxy.codec.hpack_encoder import (
    encode_field,
    encode_fields,
    encode_integer,
    encode_request,
    encode_string,
    size_update,
)

SENSITIVE = ("authorization", "cookie", "proxy-authorization", "set-cookie")
LATIN = st.text(st.characters(max_codepoint=255), max_size=300)


@pytest.mark.parametrize(
    ("value", "bits", "flags", "encoded"),
    [
        # RFC 7541 section C.1.
        (10, 5, 0, b"\x0a"),
        (1337, 5, 0, b"\x1f\x9a\x0a"),
        (42, 8, 0, b"\x2a"),
        (30, 5, 0x20, b"\x3e"),
        (31, 5, 0x20, b"\x3f\x00"),
        (31 + 127, 5, 0x20, b"\x3f\x7f"),
        (31 + 128, 5, 0x20, b"\x3f\x80\x01"),
    ],
)
def test_integers(value, bits, flags, encoded):
    assert encode_integer(value, bits, flags) == encoded


def test_strings_are_not_huffman_coded():
    assert encode_string("abc") == b"\x03abc"
    assert encode_string("\xe9") == b"\x01\xe9"
    assert encode_string("x" * 127) == b"\x7f\x00" + b"x" * 127


@pytest.mark.parametrize(
    ("name", "value", "encoded"),
    [
        pytest.param(":method", "GET", b"\x82", id="static field"),
        pytest.param("www-authenticate", "", b"\xbd", id="static field without a value"),
        pytest.param("x-a", "", b"\x00\x03x-a\x00", id="new name without a value"),
        pytest.param(":status", "201", b"\x08\x03201", id="static name in the prefix"),
        pytest.param("server", "a", b"\x0f\x27\x01a", id="static name"),
        pytest.param("x-a", "b", b"\x00\x03x-a\x01b", id="new name"),
        pytest.param("accept-encoding", "gzip, deflate", b"\x90", id="static field with a name"),
    ],
)
def test_fields(name, value, encoded):
    assert encode_field(name, value) == encoded
    assert HpackDecoder().decode(encoded) == [(name, value)]


@pytest.mark.parametrize("name", SENSITIVE)
def test_sensitive_fields_are_never_to_be_indexed(name):
    """RFC 7541 section 7.1.3."""
    assert encode_field(name, "secret")[0] & 0xF0 == 0x10
    request = encode_request("GET", "http", "/", "a", {"x": "1", name: "secret", "y": "2"})
    assert encode_field(name, "secret") in request
    assert HpackDecoder().decode(request)[4:] == [("x", "1"), (name, "secret"), ("y", "2")]
    assert encode_field("authorization", "secret") == b"\x1f\x08\x06secret"


def test_a_block_is_what_its_fields_are():
    fields = [(":status", "200"), ("x-a", "b"), ("date", "today")]
    assert encode_fields(fields) == b"".join(encode_field(name, value) for name, value in fields)
    assert encode_fields([]) == b""


def test_a_size_update():
    assert size_update(0) == b"\x20"
    assert size_update(1024) == b"\x3f\xe1\x07"


def test_many_names_do_not_stay():
    for number in range(5000):
        assert encode_field(f"n{number}", "") == b"\x00" + encode_string(f"n{number}") + b"\x00"


@given(st.lists(st.tuples(LATIN | st.sampled_from(SENSITIVE), LATIN)))
def test_another_decoder_understands_us(fields):
    block = encode_fields(fields)
    decoded = hpack.Decoder(max_header_list_size=1 << 24).decode(block, raw=True)
    assert [(name.decode("latin-1"), value.decode("latin-1")) for name, value in decoded] == fields
    # An empty value stands in the static table.
    secrets = [field for field in decoded if field[0].decode("latin-1") in SENSITIVE and field[1]]
    assert not any(field.indexable for field in secrets)


@pytest.mark.parametrize("authority", ["", "a.example"])
@pytest.mark.parametrize("size", [0, 1, 126, 127, 1023, 1024, 5000])
def test_a_request_at_once(authority, size):
    headers = {"accept-encoding": "gzip, deflate", "x-long": "v" * size, "n" * 100: "", "cookie": "a=b"}
    block = encode_request("GET", "http", "/p" + "p" * size, authority, headers)
    pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/p" + "p" * size)]
    pseudo += [(":authority", authority)] if authority else []
    decoder = HpackDecoder()
    assert decoder.decode(block) == [*pseudo, *headers.items()]
    assert decoder.memoisable


def test_what_is_kept_of_requests_is_bounded():
    for number in range(5000):
        encode_request(f"M{number}", "http", "/", "a", {f"x-{number}": ""})
    assert len(hpack_encoder._starts) <= 64
    assert len(hpack_encoder._any_prefixes) <= 4096
