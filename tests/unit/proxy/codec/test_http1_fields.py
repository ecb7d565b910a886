"""Field lines and what they say about the body."""

import pytest

from proxy.base.errors import ProtocolError
from proxy.base.headers import HeaderMap
from proxy.codec.http1_fields import (
    FieldParser,
    body_framing,
    connection_tokens,
    find_head_end,
    is_token,
    original_names,
    split_lines,
)


@pytest.mark.parametrize(
    ("buffer", "end"),
    [
        (b"", -1),
        (b"a\r\n", -1),
        (b"a\r\n\r", -1),
        (b"a\r\n\r\n", 5),
        (b"a\r\n\r\nb\n\n", 5),
        (b"a\n\n", 3),
        (b"a\n\r\n", 4),
        (b"a\r\n\n", 4),
        (b"a\n\nb\r\n\r\n", 3),
        (b"a\r\r\n\r\n", 6),
        (b"a\r\n\r\r\n", -1),
    ],
)
def test_the_first_blank_line_ends_a_head(buffer, end):
    assert find_head_end(buffer) == end


def test_lines_of_a_regular_head():
    assert split_lines(b"GET /\r\nA: b\r\nC: d\r\n\r\n") == ["GET /", "A: b", "C: d"]
    assert split_lines(b"GET /\r\n\r\n") == ["GET /"]
    assert split_lines(b"GET /\r\n") == ["GET /"]
    assert split_lines(b"A: b\r\n\r\n", start_line=False) == ["A: b"]


@pytest.mark.parametrize(
    ("block", "lines"),
    [
        (b"GET /\nA: b\n\n", ["GET /", "A: b"]),
        (b"GET /\r\nA: b\r\n c\r\n\r\n", ["GET /", "A: b c"]),
        (b"GET /\r\nA: b\r\n\tc\r\n d\r\n\r\n", ["GET /", "A: b\tc d"]),
        (b"GET /\r\nA: b\rc\r\n\r\n", ["GET /", "A: bc"]),
        (b"GET /\r\nA\r: b\r\n\r\n", ["GET /", "A\r: b"]),
        (b"GET /\r\nA: b\r\r\n\r\n", ["GET /", "A: b"]),
    ],
)
def test_irregular_lines_are_read_as_envoy_reads_them(block, lines):
    assert [lines[0], *split_lines(block)[1:]] == lines


@pytest.mark.parametrize(
    ("block", "details"),
    [
        (b"GET /\r\n A: b\r\n\r\n", "http1.codec_error"),
        (b"GET /\r\n\rA: b\r\n\r\n", "http1.codec_error"),
        (b"GET /\r\nA: b\r\n\r \r\n\r\n", "http1.codec_error"),
        (b"GET /\r\nA: \x00\r\n\r\n", "http1.invalid_characters"),
        (b"GET /\r\nA: \x7f\r\n\r\n", "http1.invalid_characters"),
        (b"GET /\x0b\r\n\r\n", "http1.invalid_characters"),
    ],
)
def test_lines_that_two_readers_could_read_differently_are_refused(block, details):
    with pytest.raises(ProtocolError) as caught:
        split_lines(block)
    assert caught.value.details == details


def test_a_fold_of_the_first_trailer_is_refused():
    with pytest.raises(ProtocolError):
        FieldParser(10).parse(["", *split_lines(b" A: b\r\nC: d\r\n\r\n", start_line=False)])


def test_fields_are_lower_case_and_stripped():
    headers = FieldParser(10).parse(["", "Content-Type:  text/plain \t", "X:", "x: 2"])
    assert list(headers.fields()) == [("content-type", "text/plain"), ("x", ""), ("x", "2")]


@pytest.mark.parametrize(
    "line", ["X", ": v", "X : v", "X\t: v", " X: v", "X Y: v", '"X": v', "X(: v", "Ü: v", ""]
)
def test_lines_without_a_proper_name_are_refused(line):
    parser = FieldParser(10)
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            parser.parse(["", line])
        assert caught.value.details == "http1.codec_error"


def test_a_name_known_from_before_still_needs_its_colon():
    parser = FieldParser(10)
    parser.parse(["", "X: 1"])
    with pytest.raises(ProtocolError):
        parser.parse(["", "X"])


def test_the_number_of_fields_is_limited():
    parser = FieldParser(3)
    parser.parse(["", *["A: b"] * 3])
    with pytest.raises(ProtocolError) as caught:
        parser.parse(["", *["A: b"] * 4])
    assert (caught.value.status, caught.value.details) == (431, "http1.too_many_headers")


def test_the_memo_of_names_has_an_end():
    parser = FieldParser(10)
    for number in range(10_000):
        parser.parse(["", f"X{number}: 1"])
    assert len(parser._names) <= 4096


def test_tokens():
    assert is_token("x-!#$%&'*+-.^_`|~09")
    assert not any(is_token(text) for text in ("", "a b", "a:", "ü", "a\x00", "(a)"))


def test_the_spelling_of_the_first_line_is_kept():
    assert original_names(["GET /", "X-Foo: 1", "x-FOO: 2"]) == {"x-foo": "X-Foo"}


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ([], (-1, False)),
        ([("content-length", "5")], (5, False)),
        ([("content-length", "0005")], (5, False)),
        ([("content-length", "0" * 5000 + "5")], (5, False)),
        ([("content-length", str(2**64 - 1))], (2**64 - 1, False)),
        ([("transfer-encoding", "Chunked")], (-1, True)),
        ([("transfer-encoding", ""), ("transfer-encoding", "chunked")], (-1, True)),
    ],
)
def test_framing(fields, framing):
    assert body_framing(HeaderMap(fields), False) == framing


@pytest.mark.parametrize(
    "value", ["", "-1", "+5", " 5", "5 5", "5,5", "0x5", "5.0", "²", "٣", "1_0", str(2**64), "9" * 5000]
)
def test_lengths_that_are_none_are_refused(value):
    with pytest.raises(ProtocolError) as caught:
        body_framing(HeaderMap([("content-length", value)]), True)
    assert (caught.value.status, caught.value.details) == (400, "http1.codec_error")


def test_a_repeated_length_is_refused_even_if_equal():
    with pytest.raises(ProtocolError):
        body_framing(HeaderMap([("content-length", "5"), ("content-length", "5")]), True)


@pytest.mark.parametrize(
    "coding", ["", "gzip", "identity", "chunked, chunked", "gzip, chunked", "chunked;x", "xchunked"]
)
def test_other_codings_are_not_implemented(coding):
    with pytest.raises(ProtocolError) as caught:
        body_framing(HeaderMap([("transfer-encoding", coding)]), True)
    assert (caught.value.status, caught.value.details) == (501, "http1.invalid_transfer_encoding")


def test_an_empty_coding_behind_chunked_is_refused():
    headers = HeaderMap([("transfer-encoding", "chunked"), ("transfer-encoding", "")])
    with pytest.raises(ProtocolError):
        body_framing(headers, True)


@pytest.mark.parametrize("coding", ["chunked", "gzip", ""])
@pytest.mark.parametrize("length", ["5", "0"])
def test_length_and_coding_together_are_refused(coding, length):
    headers = HeaderMap([("content-length", length), ("transfer-encoding", coding)])
    with pytest.raises(ProtocolError) as caught:
        body_framing(headers, False)
    assert (caught.value.status, caught.value.details) == (
        400,
        "http1.content_length_and_chunked_not_allowed",
    )


def test_the_length_beside_chunked_may_be_dropped():
    headers = HeaderMap([("content-length", "5"), ("transfer-encoding", "chunked")])
    assert body_framing(headers, True) == (-1, True)
    assert "content-length" not in headers


def test_connection_tokens():
    assert connection_tokens(HeaderMap([("connection", "Keep-Alive, , X-Foo ")])) == ["keep-alive", "x-foo"]
    assert connection_tokens(HeaderMap()) == []
