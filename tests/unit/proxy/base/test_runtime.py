"""Fractions of the runtime."""

from __future__ import annotations

import pytest

from proxy.base.runtime import Runtime


@pytest.mark.parametrize(
    ("text", "enabled"),
    [
        ("numerator: 30\ndenominator: TEN_THOUSAND", [True, True, False]),
        ('{"numerator": 30}', [True, True, False]),
        ("30/100", [True, True, False]),
        ("30", [True, True, False]),
        ("{numerator: many}", [False, False, False]),
        ("{numerator", [False, False, False]),
        ("much", [False, False, False]),
    ],
)
def test_a_fraction_is_an_integer_or_yaml(text: str, enabled: list[bool]) -> None:
    runtime = Runtime({"k": text})
    assert [runtime.feature_enabled("k", 0, 100, lambda draw=draw: draw) for draw in (2, 29, 9999)] == enabled
