"""Rules for fields of HTTP/2."""

import pytest

from proxy.codec.http2_fields import PLAIN, REFUSED, FieldRules, parse_length
from proxy.codec.http2_frames import Http2MessageError


def test_the_memos_are_bounded():
    rules = FieldRules(1000, 100)
    for number in range(20_000):
        assert rules.kind(f"name-{number}") == PLAIN
        rules.check_authority(f"host-{number}")
    assert len(rules.kinds) <= 4096
    assert len(rules.authorities) <= 4096
    assert rules.kinds["connection"] == REFUSED


def test_the_size_is_added_up_only_where_it_may_matter_but_then_exactly():
    rules = FieldRules(8000, 100, table_size=4096)
    indexed = [("name", "x" * 3000)] * 2
    rules.check_size(indexed, 2)
    with pytest.raises(Http2MessageError):
        rules.check_size([*indexed, *indexed], 4)


@pytest.mark.parametrize(
    ("text", "length"), [("0", 0), ("007", 7), (str(2**63 - 1), 2**63 - 1), ("0" * 90 + "1", 1)]
)
def test_lengths(text, length):
    assert parse_length(text) == length
