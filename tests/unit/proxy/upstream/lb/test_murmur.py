"""MurmurHash2, against values of Envoy's tests and of libstdc++."""

import pytest

from proxy.upstream.lb.murmur import murmur_hash2


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"bar", 11474628671133349555), (b"test", 15118982290295364091), (b"", 6142509188972423790)],
)
def test_known_values(text, expected):
    assert murmur_hash2(text) == expected


def test_the_length_counts_where_the_words_are_equal():
    assert len({murmur_hash2(bytes(size)) for size in range(20)}) == 20
