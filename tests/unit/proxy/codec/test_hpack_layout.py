"""Blocks with the same names and new values, one after the other."""

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from proxy.codec.hpack_decoder import HpackDecoder
from proxy.codec.hpack_encoder import encode_field, encode_string
from proxy.codec.hpack_layout import learn
from proxy.codec.hpack_tables import STATIC_NAME_INDEX, HeaderListTooLarge, HpackError

LEAD = [(":method", "GET"), (":scheme", "http")]
NAMES = [":path", ":authority", "accept", "x-one", "cookie", "x-two", "etag", "x-three"]


def inserted(name, value):
    index = STATIC_NAME_INDEX.get(name, 0)
    return bytes((0x40 | index,)) + (b"" if index else encode_string(name)) + encode_string(value)


def fields(number, names=NAMES):
    return [*LEAD, *((name, f"{name} of the request {number}") for name in names)]


def of_literals(number, names=NAMES, start=b"\x82\x86"):
    return start + b"".join(inserted(f"n-{name.strip(':')}", f"value {number}") for name in names)


def expected(number, names=NAMES):
    return [*LEAD, *((f"n-{name.strip(':')}", f"value {number}") for name in names)]


@given(
    st.lists(
        st.lists(st.text(st.characters(max_codepoint=255), max_size=150), min_size=8, max_size=8), max_size=8
    )
)
def test_new_values_are_read_as_by_a_decoder_that_knows_nothing(texts):
    decoder, plain = HpackDecoder(), HpackDecoder()
    plain._trials = 0
    for number, values in enumerate([["a"] * 8, ["b"] * 8, ["c"] * 8, *texts]):
        block = b"\x82\x86" + b"".join(map(inserted, NAMES, values))
        assert decoder.decode(block) == plain.decode(block) == [*LEAD, *zip(NAMES, values, strict=True)]
        assert decoder.generation == number + 1
        assert not decoder.memoisable
    # The tables agree to the last entry.
    for index in range(62, 62 + 9 * 12):
        outcomes = []
        for one in (decoder, plain):
            try:
                outcomes.append(
                    one.decode(bytes((0x80 | index,)) if index < 127 else bytes((255, index - 127)))
                )
            except HpackError:
                outcomes.append(None)
        assert outcomes[0] == outcomes[1]
        if outcomes[0] is None:
            break


@pytest.mark.parametrize("names", [NAMES, [name for name in NAMES if not name.startswith("x-")]])
def test_huffman_strings_of_an_encoder(names):
    # Names that are not in the static table are taken from the dynamic one later.
    decoder, encoder = HpackDecoder(), Encoder()
    for number in range(30):
        sent = fields(number, [*names, "via", "from"])
        assert decoder.decode(encoder.encode(sent)) == sent
    # Repeated fields are indexes now.
    assert decoder.decode(encoder.encode(sent)) == sent


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_block_that_breaks_off_is_refused(cut):
    decoder = HpackDecoder()
    for number in range(4):
        assert decoder.decode(of_literals(number)) == expected(number)
    assert decoder._layout is not None
    block = of_literals(5)[:-cut]
    reference = HpackDecoder()
    try:
        whole = reference.decode(block)
    except HpackError:
        with pytest.raises(HpackError):
            decoder.decode(block)
    else:
        assert decoder.decode(block) == whole


def test_other_blocks_in_between():
    decoder = HpackDecoder()
    for number in range(100):
        assert decoder.decode(of_literals(number)) == expected(number)
        assert decoder.decode(b"\x82\xbe") == [LEAD[0], expected(number)[-1]]
        few = NAMES[: number % 8]
        assert decoder.decode(of_literals(number, few)) == expected(number, few)
    assert not decoder._trials or decoder._layout is not None


def test_the_limits_hold():
    decoder = HpackDecoder()
    for number in range(4):
        decoder.decode(of_literals(number))
    size = sum(len(name) + len(value) for name, value in expected(5))
    assert decoder.decode(of_literals(5), size) == expected(5)
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(of_literals(6), size - 1)
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(of_literals(7), size, len(NAMES))
    assert decoder.decode(b"\xbe") == expected(7)[-1:]


@pytest.mark.parametrize(
    "block",
    [
        b"\x82\x86\x84",
        of_literals(1, NAMES[:5]),
        of_literals(1) + b"\x82",
        of_literals(1, start=b"\x82\xbe"),
        of_literals(1) + encode_field("x", "y"),
        of_literals(1) + inserted("x", "y" * 200),
        of_literals(1) + b"\x10\x01x\x01y",
    ],
)
def test_blocks_without_a_layout(block):
    decoder = HpackDecoder()
    decoder.decode(inserted("x", ""))
    assert learn(block, decoder.decode(block)) is None
