"""`Keep-Alive: timeout=5`: for how long a server leaves an idle connection open (RFC 2068 section 19.7.1)."""

from __future__ import annotations

import re
from typing import Final

_TIMEOUT: Final = re.compile(r'(?:^|[,;\s])timeout\s*=\s*"?(\d{1,9})', re.IGNORECASE)
_MARGIN_SECONDS: Final = 1.0
_MARGIN_PART: Final = 0.25


def idle_limit(keep_alive: str) -> float:
    """Seconds after which a peer that sent this `Keep-Alive` field is not used any more; infinity if it is silent.

    The peer counts from when it sent its response, and a request takes time to get there: hence the margin.
    """
    found = _TIMEOUT.search(keep_alive)
    if found is None:
        return float("inf")
    timeout = int(found[1])
    return timeout - min(_MARGIN_SECONDS, timeout * _MARGIN_PART)
