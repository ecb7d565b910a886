"""What a request is counted as. Source: envoy.extensions.common.ratelimit.v3.RateLimitDescriptor."""

from __future__ import annotations

from typing import NamedTuple

#: (key, value) pairs in order; all text as on the wire.
Entries = tuple[tuple[str, str], ...]


class Descriptor(NamedTuple):
    """One thing that a request counts for, `hits` times."""

    entries: Entries
    hits: int = 1
