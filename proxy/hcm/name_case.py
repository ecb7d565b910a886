"""Spelling of field names on the wire (`Http1ProtocolOptions.HeaderKeyFormat`); without one, lower case."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.codec.http1_render import NameFormatter


def proper_case(name: str) -> str:
    """`content-type` → `Content-Type`: the first letter and each letter after `-`, as in Envoy."""
    return "-".join(part[:1].upper() + part[1:] for part in name.split("-"))


def preserved(original: Mapping[str, str]) -> NameFormatter:
    """The spelling that the sender used; lower case for fields that it did not send."""

    def formatter(name: str) -> str:
        return original.get(name, name)

    return formatter
