"""Which numbers of the old process count in the new one.

Counters add up. Gauges do for as long as the old process lives, but for those that tell of one process only
(`NeverImport` in Envoy's sources). Histograms stay where they are, as in Envoy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

# The first part are whole names, the second one ends of names.
_OWN: Final = re.compile(
    r"(server\.(live|state|uptime|concurrency|version|hot_restart_epoch|hot_restart_generation|parent_connections"
    r"|days_until_first_cert_expiring|seconds_until_first_ocsp_response_expiring|stats_recent_lookups"
    r"|compilation_settings\.fips_mode)"
    r"|runtime\..*|cluster_manager\.(active|warming)_clusters"
    r"|listener_manager\.(total_.*|workers_started|workers_pinned)"
    r"|cluster\..*\.(membership_\w+|max_host_weight)"
    r"|.*\.(version|control_plane\.connected_state|update_time|config_reload_time_ms|pressure|scale_percent"
    r"|expiration_unix_time_seconds|total_principals))"
)


def carried(counters: Mapping[str, int], gauges: Mapping[str, int]) -> dict[str, Any]:
    """The numbers as a source of `proxy.base.stats.StatsSum`."""
    return {
        "counters": dict(counters),
        "gauges": {name: value for name, value in gauges.items() if not _OWN.fullmatch(name)},
        "shared_counters": {},
        "shared_gauges": {},
        "histograms": {},
        "texts": {},
    }
