"""Huffman strings, against the `hpack` package."""

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman as reference
from hypothesis import given
from hypothesis import strategies as st

from proxy.codec.hpack_huffman import decode_huffman, decode_strings
from proxy.codec.hpack_tables import HpackError

encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode
#: 24 times "0" in 15 bytes: long enough for the way of long strings, and the next symbol starts with a byte.
LONG = bytes(15)
LONG_TEXT = "0" * 24


def outcome(decode, data):
    try:
        text = decode(data)
    except (HpackError, HPACKDecodingError):
        return None
    return text.decode("latin-1") if isinstance(text, bytes) else text


@pytest.mark.parametrize("start", range(0, 0x10000, 0x1000))
def test_each_end_of_two_bytes_decodes_as_elsewhere(start):
    for number in range(start, start + 0x1000):
        end = number.to_bytes(2, "big")
        expected = outcome(reference, end)
        assert outcome(decode_huffman, end) == expected, end.hex()
        long = None if expected is None else LONG_TEXT + expected
        assert outcome(decode_huffman, LONG + end) == long, end.hex()


@pytest.mark.parametrize("byte", range(256))
def test_each_symbol_in_each_place(byte):
    for before in ("", "3", "33", "333", "3333", "a" * 30):
        text = before + chr(byte) + "0a&{\\"
        assert decode_huffman(encode(text.encode("latin-1"))) == text


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff", id="8 bits of padding"),
        pytest.param(b"\x07\xff", id="11 bits of padding"),
        pytest.param(b"\x00", id="padding of zeros"),
        pytest.param(b"\x06", id="a zero at the end of the padding"),
        pytest.param(b"\xff\xff\xff\xfc", id="EOS"),
        pytest.param(b"\xff\xff\xff\xff", id="EOS and padding"),
        pytest.param(b"\xff" * 40, id="many ones"),
    ],
)
@pytest.mark.parametrize("before", [b"", LONG])
def test_what_is_not_a_string_is_refused(before, data):
    with pytest.raises(HpackError):
        decode_huffman(before + data)
    # And leaves nothing behind for the next string.
    assert decode_huffman(encode(b"/a/path/that/is/long/enough")) == "/a/path/that/is/long/enough"


def test_an_empty_string():
    assert decode_huffman(b"") == ""


@given(st.binary(max_size=200))
def test_any_text_comes_back(text):
    assert decode_huffman(encode(text)) == text.decode("latin-1")


@given(st.binary(max_size=100))
def test_any_bytes_decode_as_elsewhere(data):
    assert outcome(decode_huffman, data) == outcome(reference, data)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=10), st.data())
def test_a_broken_text_decodes_as_elsewhere(text, data):
    broken = bytearray(encode(text.encode()))
    broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert outcome(decode_huffman, bytes(broken)) == outcome(reference, bytes(broken))


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_many_texts_at_once_come_back(texts):
    assert decode_strings([encode(text) for text in texts]) == [text.decode("latin-1") for text in texts]


@given(
    st.lists(
        st.one_of(st.binary(max_size=12), st.text("abc/{", max_size=30).map(str.encode).map(encode)),
        max_size=8,
    )
)
def test_many_strings_at_once_decode_as_one_by_one(strings):
    expected = [outcome(reference, data) for data in strings]
    if None in expected:
        with pytest.raises(HpackError):
            decode_strings(strings)
    else:
        assert decode_strings(strings) == expected


@pytest.mark.parametrize("bad", [b"\x07\xff", b"\x00", b"\xff\xff\xff\xfc", LONG + b"\x06"])
@pytest.mark.parametrize("place", range(4))
def test_one_invalid_string_among_others_is_refused(bad, place):
    good = [encode(b"one"), encode(b"/a/path/that/is/long/enough"), encode(b"")]
    with pytest.raises(HpackError):
        decode_strings([*good[:place], bad, *good[place:]])
    # And leaves nothing behind for the next strings.
    assert decode_strings(good) == ["one", "/a/path/that/is/long/enough", ""]
