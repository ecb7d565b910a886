from __future__ import annotations

import pytest

from xds_client.names import collection_of, is_collection, normal, parse


def test_parameters_are_sorted_and_needed_escapes_kept() -> None:
    assert normal("xdstp://a/t.T/x%20y/z?b=2&a=1%26") == "xdstp://a/t.T/x y/z?a=1%26&b=2"


def test_the_collection_of_a_resource() -> None:
    assert collection_of("xdstp://a/t.T/dir/x?p=q") == "xdstp://a/t.T/dir/*?p=q"
    assert collection_of("xdstp://a/t.T/x") == "xdstp://a/t.T/*"
    assert collection_of("plain") == ""


@pytest.mark.parametrize("name", ["plain", "http://a/b/c", "xdstp://a", "xdstp://a/type", "xdstp://a/t/i?x"])
def test_what_is_no_structured_name(name: str) -> None:
    with pytest.raises(ValueError, match="xdstp"):
        parse(name)
    assert normal(name) == name


def test_what_is_escaped_is_what_envoy_escapes() -> None:
    assert normal('xdstp://a~b/t.T/x:y/[z]?k={"n":1}&l=%C3%A9%FF%2F') == (
        'xdstp://a%7Eb/t.T/x:y/%5Bz%5D?k={"n":1}&l=%C3%A9%FF/'
    )


def test_parameters_are_in_the_order_of_their_text() -> None:
    assert normal("xdstp://a/t.T/x?a=1&a!=2") == "xdstp://a/t.T/x?a!=2&a=1"


def test_a_collection_is_known_by_the_end_of_its_path() -> None:
    assert is_collection("*")
    assert is_collection("xdstp://a/t.T/x/*?p=q")
    assert not is_collection("xdstp://a/t.T/x/y?p=*")
    assert not is_collection("plain/*")
