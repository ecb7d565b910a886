"""A name of a config as it stands in the names of stats."""

from __future__ import annotations


def stat_name(name: str) -> str:
    """`xdstp://a/b` is written `xdstp_a/b`: a colon is "_", with the slashes behind it.

    Source: Envoy's `Stats::Utility::sanitizeStatsName`.
    """
    if ":" in name:
        name = name.replace("://", "_").replace(":/", "_").replace(":", "_")
    return name.replace("\0", "_")
