"""The path in a header block."""

import pytest

from proxy.codec.hpack_encoder import encode_field, encode_fields
from proxy.codec.hpack_path import decode_string, split_path


@pytest.mark.parametrize("path", ["/", "/a?b", "/" + "x" * 125])
@pytest.mark.parametrize("start", [b"\x82\x86", b"", encode_field(":authority", "a") + b"\xbe"])
def test_a_path_is_found(path, start):
    # "/" alone has an index, but may be spelled out.
    field = b"\x04" + bytes((len(path),)) + path.encode()
    rest, encoded = split_path(start + field + b"\xbf")
    assert decode_string(encoded) == path
    assert rest == start + b"\x04\xbf"


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x82\x86\x84",
        encode_fields([("a", "b"), (":path", "/a")]),
        b"\x44\x02/a",
        b"\x14\x02/a",
        b"\x04\x03/a",
        b"\x04",
        b"\x04\x7f\x00" + b"/" * 127,
        b"\x82\x86\x83\x84\x04\x02/a",
    ],
)
def test_no_path_is_found(block):
    assert split_path(block) == (b"", b"")
