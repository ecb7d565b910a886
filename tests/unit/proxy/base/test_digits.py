"""Numbers as peers write them."""

import pytest

from proxy.base.digits import UINT32, UINT64, request_number, whole_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("7", 7),
        ("007", 7),
        ("0" * 5000, 0),
        ("0" * 5000 + "12", 12),
        (str(UINT32), UINT32),
        (str(UINT32 + 1), None),
        ("9" * 5000, None),
        ("", None),
        ("+1", None),
        ("-1", None),
        (" 1", None),
        ("1.0", None),
        ("1_0", None),
        ("٣", None),
        ("²", None),
    ],
)
def test_only_digits_that_fit_are_a_number(text, number):
    assert whole_number(text, UINT32) == number


def test_the_greatest_of_64_bits():
    assert whole_number(str(UINT64), UINT64) == UINT64
    assert whole_number(str(UINT64 + 1), UINT64) is None


def test_a_request_id_begins_with_a_number_or_with_none() -> None:
    assert request_number("0000002A-xyz") == 42
    assert request_number("0x00002A-xyz") == 42
    for text in (None, "", "1234567", "zz345678-aaaa", "+1234567", "1_234567"):
        assert request_number(text) is None
