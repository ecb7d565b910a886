"""Where bodies end."""

import pytest

from proxy.base.errors import ProtocolError
from proxy.codec.http1_body import ChunkedDecoder, LengthDecoder, UntilCloseDecoder


def fed(decoder, data, size):
    """Everything that a decoder gives for `data` in pieces of `size`: (payload, rest, done)."""
    payload, rest, at = b"", b"", 0
    while at < len(data) and not decoder.done:
        gained, rest = decoder.feed(data[at : at + size])
        payload += gained
        at += size
    return payload, rest + data[at:], decoder.done


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_sized_body_ends_after_its_length(size):
    assert fed(LengthDecoder(5), b"hello", size) == (b"hello", b"", True)
    assert fed(LengthDecoder(5), b"helloGET /", size)[:2] == (b"hello", b"GET /")
    assert fed(LengthDecoder(5), b"hel", size) == (b"hel", b"", False)


def test_a_body_of_length_zero_is_done_at_once():
    assert LengthDecoder(0).done


def test_a_body_until_close_never_ends_by_itself():
    decoder = UntilCloseDecoder()
    assert decoder.feed(b"abc") == (b"abc", b"")
    assert not decoder.done


@pytest.mark.parametrize("size", [1, 2, 5, 7, 1000])
@pytest.mark.parametrize(
    ("wire", "payload"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
        (b"005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"5 \t\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5;name=value\r\nhello\r\n0;x\r\n\r\n", b"hello"),
        (b'5 ; a="b;c" \x00\xff\r\nhello\r\n0\r\n\r\n', b"hello"),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
        (b"5\r\nhello\r\n0\r\nX: 1\r\nY: 2\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n0\r\nX: 1\n\n", b"hello"),
        (b"5\r\nhello\r\n0\r\n\n", b"hello"),
        (b"0" * 100 + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    ],
)
def test_chunks_are_joined_however_they_arrive(wire, payload, size):
    assert fed(ChunkedDecoder(), wire + b"NEXT", size) == (payload, b"NEXT", True)


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n",
        b"\n",
        b" 5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5h\r\nhello\r\n",
        b"5 5\r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b"\xb55\r\nhello\r\n",
        b";a\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\rhello\r\n",
        b"5;a\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello 0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"6\r\nhello\r\n0\r\n\r\n",
        b"10000000000000000\r\n",
        b"f" * 30 + b"\r\n",
        b"0" * 20_000 + b"5\r\n",
        b"5\r\nhello\r\n0\r\nX\r\n\r\n",
        b"5\r\nhello\r\n0\r\n X: 1\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\r\n\r\n\r\n",
    ],
)
def test_broken_chunks_are_refused_however_they_arrive(wire, size):
    with pytest.raises(ProtocolError) as caught:
        fed(ChunkedDecoder(), wire, size)
    assert caught.value.status == 400


def test_what_came_before_broken_trailers_is_not_lost():
    decoder = ChunkedDecoder()
    with pytest.raises(ProtocolError):
        decoder.feed(b"5\r\nhello\r\n0\r\nbroken\r\n\r\n")
    assert decoder.gained == b"hello"


def test_trailers_are_kept_on_demand():
    wire = b"0\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
    kept, dropped = ChunkedDecoder(True), ChunkedDecoder()
    kept.feed(wire)
    dropped.feed(wire)
    assert list(kept.trailers.fields()) == [("x-a", "1"), ("x-a", "2")]
    assert dropped.trailers is None


@pytest.mark.parametrize("size", [100, 100_000])
def test_trailers_have_limits(size):
    with pytest.raises(ProtocolError) as caught:
        fed(ChunkedDecoder(max_trailer_bytes=1000), b"0\r\nX: " + b"v" * 2000 + b"\r\n\r\n", size)
    assert caught.value.status == 431
    many = b"0\r\n" + b"".join(b"X%d: 1\r\n" % n for n in range(11)) + b"\r\n"
    with pytest.raises(ProtocolError) as caught:
        fed(ChunkedDecoder(True, max_trailer_count=10), many, size)
    assert caught.value.details == "http1.too_many_headers"
    assert fed(ChunkedDecoder(False, max_trailer_count=10), many, size)[2]


def test_an_extension_of_any_length_is_not_collected():
    decoder = ChunkedDecoder()
    decoder.feed(b"5;")
    for _ in range(1000):
        assert decoder.feed(b"x" * 1000) == (b"", b"")
    assert len(decoder._buffer) <= 1
    assert fed(decoder, b"\r\nhello\r\n0\r\n\r\n", 1000)[0] == b"hello"
