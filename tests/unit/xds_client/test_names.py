from __future__ import annotations

import pytest

from xds_client.names import collection_of, normal, parse


def test_parameters_are_sorted_and_escapes_kept() -> None:
    assert normal("xdstp://a/t.T/x%20y/z?b=2&a=1%26") == "xdstp://a/t.T/x%20y/z?a=1%26&b=2"


def test_the_collection_of_a_resource() -> None:
    assert collection_of("xdstp://a/t.T/dir/x?p=q") == "xdstp://a/t.T/dir/*?p=q"
    assert collection_of("xdstp://a/t.T/x") == "xdstp://a/t.T/*"
    assert collection_of("plain") == ""


@pytest.mark.parametrize("name", ["plain", "http://a/b/c", "xdstp://a", "xdstp://a/type", "xdstp://a/t/i?x"])
def test_what_is_no_structured_name(name: str) -> None:
    with pytest.raises(ValueError, match="xdstp"):
        parse(name)
    assert normal(name) == name
