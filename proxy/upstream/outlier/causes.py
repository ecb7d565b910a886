"""Why a host is ejected."""

from __future__ import annotations

from enum import Enum


class Cause(Enum):
    """Each with its names in `data.cluster.v3.OutlierEjectionType`, in stats and in the percentage to enforce.

    The last part says it in words.
    """

    CONSECUTIVE_5XX = (
        "CONSECUTIVE_5XX",
        "consecutive_5xx",
        "enforcing_consecutive_5xx",
        "consecutive 5xx",
    )
    CONSECUTIVE_GATEWAY_FAILURE = (
        "CONSECUTIVE_GATEWAY_FAILURE",
        "consecutive_gateway_failure",
        "enforcing_consecutive_gateway_failure",
        "consecutive gateway failures",
    )
    CONSECUTIVE_LOCAL_ORIGIN_FAILURE = (
        "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
        "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure",
        "consecutive local origin failures",
    )
    SUCCESS_RATE = ("SUCCESS_RATE", "success_rate", "enforcing_success_rate", "success rate")
    SUCCESS_RATE_LOCAL_ORIGIN = (
        "SUCCESS_RATE_LOCAL_ORIGIN",
        "local_origin_success_rate",
        "enforcing_local_origin_success_rate",
        "local origin success rate",
    )
    FAILURE_PERCENTAGE = (
        "FAILURE_PERCENTAGE",
        "failure_percentage",
        "enforcing_failure_percentage",
        "failure percentage",
    )
    FAILURE_PERCENTAGE_LOCAL_ORIGIN = (
        "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
        "local_origin_failure_percentage",
        "enforcing_failure_percentage_local_origin",
        "local origin failure percentage",
    )

    def __init__(self, type_name: str, stat: str, enforcing: str, words: str) -> None:
        self.type_name = type_name
        self.stat = stat
        self.enforcing = enforcing
        self.words = words


#: Those that a rate of successes leads to: (of answers, of connections).
BY_RATE = (Cause.SUCCESS_RATE, Cause.SUCCESS_RATE_LOCAL_ORIGIN)
BY_PERCENTAGE = (Cause.FAILURE_PERCENTAGE, Cause.FAILURE_PERCENTAGE_LOCAL_ORIGIN)
