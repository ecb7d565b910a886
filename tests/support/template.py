"""Proxy configs of tests: text or a dictionary with `{{name}}` where ports and paths come in.

A string that is nothing but one placeholder becomes the value itself, so that a port stays a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")

Values = Mapping[str, str | int]


def fill(template: Any, values: Values) -> Any:
    """`template` (text, list, dictionary) with every placeholder replaced; KeyError names a missing value."""
    if isinstance(template, str):
        whole = _PLACEHOLDER.fullmatch(template)
        if whole:
            return values[whole[1]]
        return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), template)
    if isinstance(template, Mapping):
        return {key: fill(value, values) for key, value in template.items()}
    if isinstance(template, (list, tuple)):
        return [fill(value, values) for value in template]
    return template


def render(template: str | Mapping[str, Any], values: Values) -> str:
    """The text of a config file; a dictionary is written as JSON, which is YAML too."""
    filled = fill(template, values)
    return filled if isinstance(filled, str) else json.dumps(filled, indent=1)
