"""Header blocks to fields."""

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.codec.hpack_decoder import HpackDecoder
from proxy.codec.hpack_encoder import encode_field, encode_fields, encode_integer, encode_string, size_update
from proxy.codec.hpack_tables import HeaderListTooLarge, HpackError

REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]
SECOND = [*REQUEST, ("cache-control", "no-cache")]
THIRD = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
]
REDIRECT = [
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
]
NOT_AGAIN = [(":status", "307"), *REDIRECT[1:]]
COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
WITH_COOKIE = [
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    ("set-cookie", COOKIE),
]
RESPONSES = [REDIRECT, NOT_AGAIN, WITH_COOKIE]


def inserted(name, value):
    return b"\x40" + encode_string(name) + encode_string(value)


@pytest.mark.parametrize(
    ("block", "field", "indexed"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", ("custom-key", "custom-header"), True),
        ("040c2f73616d706c652f70617468", (":path", "/sample/path"), False),
        ("100870617373776f726406736563726574", ("password", "secret"), False),
        ("82", (":method", "GET"), False),
    ],
)
def test_the_representations_of_the_rfc(block, field, indexed):
    """RFC 7541 section C.2."""
    decoder = HpackDecoder()
    assert decoder.decode(bytes.fromhex(block)) == [field]
    assert decoder.memoisable is not indexed
    if indexed:
        assert decoder.decode(b"\xbe") == [field]
    else:
        with pytest.raises(HpackError):
            decoder.decode(b"\xbe")


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            id="C.3",
        ),
        pytest.param(
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
            id="C.4",
        ),
    ],
)
def test_the_requests_of_the_rfc(blocks):
    decoder = HpackDecoder()
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == [REQUEST, SECOND, THIRD]


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(
            [
                (
                    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470"
                    "733a2f2f7777772e6578616d706c652e636f6d"
                ),
                "4803333037c1c0bf",
                (
                    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b"
                    "48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"
                ),
            ],
            id="C.5",
        ),
        pytest.param(
            [
                (
                    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82"
                    "ae43d3"
                ),
                "4883640effc1c0bf",
                (
                    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5"
                    "af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
                ),
            ],
            id="C.6",
        ),
    ],
)
def test_the_responses_of_the_rfc_with_a_small_table(blocks):
    decoder = HpackDecoder()
    assert decoder.decode(size_update(256)) == []
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == RESPONSES
    # What C.5 says is in the table now.
    assert decoder.decode(b"\xbe\xbf\xc0") == [WITH_COOKIE[5], WITH_COOKIE[4], WITH_COOKIE[2]]
    with pytest.raises(HpackError):
        decoder.decode(b"\xc1")


def test_table_entries_are_the_same_object_each_time():
    decoder = HpackDecoder()
    (first,) = decoder.decode(inserted("x-a", "b"))
    (second,) = decoder.decode(b"\xbe")
    assert first is second


def test_the_generation_changes_with_the_table_only():
    decoder = HpackDecoder()
    for block, changes in [
        (encode_fields(REQUEST), False),
        (inserted("x-a", "b"), True),
        (b"\xbe\x82", False),
        (size_update(0), True),
        (b"\x10\x03x-a\x01b", False),
    ]:
        before = decoder.generation
        decoder.decode(block)
        assert (decoder.generation != before, not decoder.memoisable) == (changes, changes)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="index 0"),
        pytest.param(b"\xff\x80\x00", id="index beyond the table"),
        pytest.param(b"\xbe", id="index into an empty table"),
        pytest.param(b"\x7e\x00", id="name index into an empty table"),
        pytest.param(b"\xff" + b"\xff" * 8 + b"\x7f", id="huge index"),
        pytest.param(b"\xff" + b"\x80" * 10 + b"\x00", id="long integer"),
        pytest.param(b"\x0f\x80", id="integer without an end"),
        pytest.param(b"\xff", id="index without its rest"),
        pytest.param(b"\x40", id="no name"),
        pytest.param(b"\x00\x05abc", id="name too short"),
        pytest.param(b"\x00\x01a", id="no value"),
        pytest.param(b"\x00\x01a\x02b", id="value too short"),
        pytest.param(b"\x04\x83\xff\xff", id="Huffman value too short"),
        pytest.param(b"\x04\x7f\x00" + b"a" * 126, id="long value too short"),
        pytest.param(b"\x04\x82\x07\xff", id="Huffman padding too long"),
        pytest.param(b"\x00\x81\x00\x00", id="Huffman padding of zeros in a name"),
        pytest.param(b"\x82\x20", id="size update behind a field"),
        pytest.param(b"\x20\x20\x20", id="three size updates"),
        pytest.param(size_update(4097), id="size update above the limit"),
        pytest.param(b"\x3f", id="size update without its rest"),
    ],
)
def test_broken_blocks_are_refused(block):
    with pytest.raises(HpackError):
        HpackDecoder().decode(block)


def test_a_string_has_a_limit():
    decoder = HpackDecoder(max_string_bytes=1000)
    assert decoder.decode(encode_field("x-a", "b" * 1000)) == [("x-a", "b" * 1000)]
    with pytest.raises(HpackError):
        decoder.decode(encode_field("x-a", "b" * 1001))
    with pytest.raises(HpackError):
        HpackDecoder(max_string_bytes=1000).decode(encode_field("x" * 1001, ""))


def test_a_lower_table_size_needs_an_update():
    decoder = HpackDecoder()
    decoder.decode(inserted("x-a", "b"))
    decoder.set_max_table_size(100)
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe")


def test_a_lower_table_size_is_taken_by_the_update():
    decoder = HpackDecoder()
    decoder.decode(inserted("x-a", "b"))
    decoder.set_max_table_size(40)
    decoder.set_max_table_size(5000)
    # The table was to be emptied to 40 bytes in between.
    assert decoder.decode(size_update(40) + size_update(5000) + inserted("x-b", "c")) == [("x-b", "c")]
    assert decoder.decode(b"\xbe\xbf") == [("x-b", "c"), ("x-a", "b")]


def test_the_first_update_goes_down_to_the_lowest_size():
    decoder = HpackDecoder()
    decoder.decode(inserted("x-a", "b"))
    decoder.set_max_table_size(20)
    decoder.set_max_table_size(5000)
    with pytest.raises(HpackError):
        decoder.decode(size_update(5000))


def test_a_higher_table_size_needs_no_update():
    decoder = HpackDecoder()
    decoder.set_max_table_size(65536)
    assert decoder.decode(inserted("x-a", "b")) == [("x-a", "b")]
    assert decoder.decode(size_update(65536) + b"\xbe") == [("x-a", "b")]


def test_an_entry_larger_than_the_table_empties_it():
    decoder = HpackDecoder()
    decoder.decode(inserted("x-a", "b"))
    large = "c" * 4096
    assert decoder.decode(inserted("x-a", large)) == [("x-a", large)]
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe")


@pytest.mark.parametrize(
    ("limit", "fits"),
    [(sum(len(name) + len(value) for name, value in REQUEST), True), (43, False), (10, False), (0, False)],
)
def test_the_list_has_a_limit(limit, fits):
    block = encode_fields(REQUEST)
    if fits:
        assert HpackDecoder().decode(block, limit) == REQUEST
    else:
        with pytest.raises(HeaderListTooLarge) as caught:
            HpackDecoder().decode(block, limit)
        assert (caught.value.status, caught.value.details) == (431, "http2.too_many_headers")


def test_the_number_of_fields_has_a_limit():
    block = encode_fields(REQUEST)
    assert HpackDecoder().decode(block, max_fields=4) == REQUEST
    with pytest.raises(HeaderListTooLarge):
        HpackDecoder().decode(block, max_fields=3)


def test_the_table_follows_a_list_that_is_too_large():
    decoder = HpackDecoder()
    block = inserted("x-a", "b" * 100) + inserted("x-c", "d") + b"\xbe\x10\x01e\x01f"
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(block, 50)
    assert not decoder.memoisable
    assert decoder.decode(b"\xbe\xbf") == [("x-c", "d"), ("x-a", "b" * 100)]


def test_a_bomb_is_measured_without_being_built():
    decoder = HpackDecoder()
    decoder.decode(inserted("x-a", "b" * 4000))
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(b"\xbe" * 60_000)
    decoder.decode(inserted("n" * 4000, ""))
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(b"\x0f\x2f\x00" * 20_000)


def test_a_broken_block_is_refused_even_over_the_limit():
    with pytest.raises(HpackError):
        HpackDecoder().decode(encode_fields(REQUEST) + b"\x80", 5)


LATIN = st.text(st.characters(max_codepoint=255), max_size=60)
FIELDS = st.lists(st.tuples(st.sampled_from([":path", "cookie", "x-a", "x-b"]) | LATIN, LATIN), max_size=20)


def encode_elsewhere(encoder, fields, huffman):
    return encoder.encode(
        [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields], huffman
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(FIELDS, st.booleans(), st.none() | st.integers(0, 4096)), max_size=8))
def test_we_understand_another_encoder(messages):
    encoder = hpack.Encoder()
    decoder = HpackDecoder()
    for fields, huffman, table_size in messages:
        if table_size is not None:
            encoder.header_table_size = table_size
        assert decoder.decode(encode_elsewhere(encoder, fields, huffman), 1 << 30) == fields


def outcome(decode, block):
    try:
        return decode(block)
    except (HpackError, hpack.HPACKError):
        return None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(FIELDS, st.booleans()), min_size=1, max_size=4), st.data())
def test_broken_blocks_decode_as_elsewhere(messages, data):
    encoder = hpack.Encoder()
    ours = HpackDecoder()
    theirs = hpack.Decoder(max_header_list_size=1 << 30)
    for fields, huffman in messages:
        block = bytearray(encode_elsewhere(encoder, fields, huffman))
        for _ in range(data.draw(st.integers(0, 2)) if len(block) > 1 else 0):
            # Not the first one: the other decoder takes any number of size updates.
            block[data.draw(st.integers(1, len(block) - 1))] = data.draw(st.integers(0, 255))
        decoded = outcome(ours.decode, bytes(block))
        reference = outcome(lambda block: theirs.decode(block, raw=True), bytes(block))
        expected = reference and [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in reference
        ]
        assert decoded == expected
        if decoded is None:
            return


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_refused(block):
    try:
        fields = HpackDecoder().decode(block)
    except (HpackError, HeaderListTooLarge):
        return
    assert HpackDecoder().decode(encode_fields(fields)) == fields


def test_long_integers_are_read_to_their_end():
    index = encode_integer(62, 7, 0x80)
    assert HpackDecoder().decode(inserted("x-a", "b") + index) == [("x-a", "b")] * 2
    value = "b" * 20_000
    assert HpackDecoder().decode(encode_field("x-a", value)) == [("x-a", value)]
