"""Dynamic metadata: plain values by namespace, replaced whole and never changed, as streams may share them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_values(
    metadata: Mapping[str, Mapping[str, Any]], namespace: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """`metadata` with `values` added under `namespace`."""
    return {**metadata, namespace: {**metadata.get(namespace, {}), **values}}
