"""The runtime: numeric and textual switches by dotted key, merged from layers (later layers win).

Source: Envoy's runtime documentation; `envoy.config.bootstrap.v3.LayeredRuntime`. Values are text, as in
Envoy's `/runtime`; a key whose text does not parse as the type asked for counts as unset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

#: `FractionalPercent.DenominatorType`.
DENOMINATORS: Final = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


class Runtime:
    """The merged view. Config compiled against it keeps the object and reads at request time."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values: dict[str, str] = dict(values or {})

    def replace(self, values: Mapping[str, str]) -> None:
        """Swap the whole snapshot."""
        self.values = dict(values)

    def integer(self, key: str, default: int) -> int:
        """The unsigned integer under `key`, or `default`."""
        text = self.values.get(key)
        if text is None:
            return default
        try:
            return int(float(text))
        except ValueError:
            return default

    def number(self, key: str, default: float) -> float:
        """The number under `key`, or `default`."""
        text = self.values.get(key)
        if text is None:
            return default
        try:
            return float(text)
        except ValueError:
            return default

    def boolean(self, key: str, default: bool) -> bool:
        """`true` or `false` under `key`, or `default`."""
        text = self.values.get(key, "").lower()
        if text in {"true", "false"}:
            return text == "true"
        return default

    def feature_enabled(self, key: str, numerator: int, denominator: int, draw: Callable[[], int]) -> bool:
        """Whether a fraction applies: `draw()` is an integer from 0 to 2**64-1, `denominator` 100, 10^4 or 10^6.

        A runtime value under `key` replaces both (Envoy: `Snapshot::featureEnabled`): "n/d" or the YAML of a
        `FractionalPercent`, or an integer, which is a percentage whatever the default's denominator.
        """
        text = self.values.get(key) if key else None
        if text is not None:
            numerator, denominator = _fraction(text) or (numerator, denominator)
        if numerator >= denominator:
            return True
        return numerator > 0 and draw() % denominator < numerator


@lru_cache(maxsize=1024)
def _fraction(text: str) -> tuple[int, int] | None:
    if "numerator" in text:
        return _percent(text)
    numerator, _slash, denominator = text.partition("/")
    try:
        return int(float(numerator)), int(denominator or 100)
    except ValueError:
        return None


def _percent(text: str) -> tuple[int, int] | None:
    """The fraction that the YAML of a `FractionalPercent` says; None if it is none."""
    import yaml  # few values are written so

    try:
        fields = yaml.safe_load(text)
        return int(fields["numerator"]), DENOMINATORS[fields.get("denominator", "HUNDRED")]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return None
