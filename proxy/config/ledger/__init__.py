"""The support ledger: for every field of every message that we read, what becomes of it.

`table` holds the notation and the look-up; the other modules hold the entries, one area each: `bootstrap`,
`listener`, `network_filters`, `rbac`, `hcm`, `istio`, `compression`, `transcoding`, `route`, `cluster`,
`dynamic_forward_proxy`, `core`, `tls`, `transport_sockets`, `access_log`, `tracing`, `xds`,
`extension_types`.
`generate` writes the page docs/xds_support.md from them.
"""

from proxy.config.ledger.table import (
    IMPLEMENTED,
    NO_EFFECT,
    PAGE,
    UNSUPPORTED,
    Support,
    entries,
    is_classed,
    support_of,
)

__all__ = [
    "IMPLEMENTED",
    "NO_EFFECT",
    "PAGE",
    "UNSUPPORTED",
    "Support",
    "entries",
    "is_classed",
    "support_of",
]
