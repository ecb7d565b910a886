"""The header map: made, read, changed, copied."""

from __future__ import annotations

from typing import Final

from bench.micro.timing import microseconds
from proxy.base.headers import HeaderMap

_FIELDS: Final = [(f"x-field-{number}", f"value {number}") for number in range(12)]
_REPEATED: Final = [*_FIELDS, ("set-cookie", "a=1"), ("set-cookie", "b=2")]


def figures() -> dict[str, float]:
    """Microseconds of one operation on a map of 12 fields."""
    kept = HeaderMap(_FIELDS)
    repeated = HeaderMap(_REPEATED)

    def change() -> None:
        kept.set("x-field-3", "other")
        kept.add("x-new", "1")
        kept.remove("x-new")

    return microseconds(
        {
            "us_make": lambda: HeaderMap(_FIELDS),
            "us_make_repeated": lambda: HeaderMap(_REPEATED),
            "us_get": lambda: kept.get("x-field-9"),
            "us_set_add_remove": change,
            "us_copy": kept.copy,
            "us_all_fields": lambda: list(kept.fields()),
            "us_all_fields_repeated": lambda: list(repeated.fields()),
        },
        calls=500,
    )
