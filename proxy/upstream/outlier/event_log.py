"""Decisions as lines of JSON, as Envoy writes them to `outlier_detection.event_log_path` of the cluster manager.

Source: `data.cluster.v3.OutlierDetectionEvent`, and how Envoy's `EventLoggerImpl` fills it.
"""

from __future__ import annotations

import json
from typing import Any

from proxy.base.times import rfc3339
from proxy.upstream.outlier.causes import BY_PERCENTAGE, BY_RATE
from proxy.upstream.outlier.detector import Action, Decision


def event_line(decision: Decision, cluster: str, wall_time: float) -> str | None:
    """The line with its end, or None for what Envoy does not write. `wall_time` is in Unix seconds."""
    if decision.action is Action.NO_ROOM:
        return None
    event: dict[str, Any] = {"type": decision.cause.type_name, "timestamp": rfc3339(wall_time)}
    if decision.since is not None:
        event["secs_since_last_action"] = str(int(decision.since))
    event["cluster_name"] = cluster
    event["upstream_url"] = decision.host[0]
    event["action"] = "UNEJECT" if decision.action is Action.UNEJECTED else "EJECT"
    event["num_ejections"] = decision.ejections
    event["enforced"] = decision.action is Action.EJECTED
    if decision.action is not Action.UNEJECTED:
        if decision.cause in BY_RATE:
            event["eject_success_rate_event"] = {
                "host_success_rate": int(decision.rate),
                "cluster_average_success_rate": int(decision.average),
                "cluster_success_rate_ejection_threshold": int(decision.threshold),
            }
        elif decision.cause in BY_PERCENTAGE:
            event["eject_failure_percentage_event"] = {"host_success_rate": int(decision.rate)}
        else:
            event["eject_consecutive_event"] = {}
    return json.dumps(event, separators=(",", ":")) + "\n"
