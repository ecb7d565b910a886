"""The static table."""

from hpack.table import HeaderTable

from proxy.codec.hpack_tables import FIRST_DYNAMIC_INDEX, STATIC_INDEX, STATIC_NAME_INDEX, STATIC_TABLE


def test_the_static_table_is_that_of_the_rfc():
    assert [(name.encode(), value.encode()) for name, value in STATIC_TABLE] == list(HeaderTable.STATIC_TABLE)
    assert FIRST_DYNAMIC_INDEX == 62


def test_fields_and_names_are_found_at_their_first_index():
    assert STATIC_INDEX[":status", "404"] == 13
    assert STATIC_NAME_INDEX[":status"] == 8
    assert STATIC_NAME_INDEX[":authority"] == 1
    assert STATIC_NAME_INDEX["www-authenticate"] == 61
