"""The notation of the ledger's entries, and the look-up.

An area is a text. A line without indentation names a message; the lines below class its fields:

    + name type                      implemented
    ~ reason: field field            accepted with a warning: has no effect here, for that reason
    - reason: field field            refused; the reason may be left out (`- field field`)

A class may take several lines. A field stands in one line only. `import` lines are not needed: names are full
proto names, and the test of the ledger checks each against the generated messages.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proxy.config.ledger import (
    access_log,
    bootstrap,
    cluster,
    compression,
    core,
    dynamic_forward_proxy,
    extension_types,
    hcm,
    istio,
    listener,
    matching,
    network_filters,
    rbac,
    route,
    tcp_proxy,
    tls,
    tracing,
    transcoding,
    transport_sockets,
    udp_proxy,
    xds,
)

PAGE = "docs/xds_support.md"
"""What `generate` writes, and where problems with unsupported fields send the reader."""

IMPLEMENTED = "implemented"
NO_EFFECT = "no effect"
UNSUPPORTED = "unsupported"

_MARKS = {"+": IMPLEMENTED, "~": NO_EFFECT, "-": UNSUPPORTED}


class Support(Struct, frozen=True):
    """What becomes of a field. `reason` is empty for implemented fields and may be for unsupported ones."""

    status: str
    reason: str = ""


AREAS: tuple[tuple[str, str], ...] = (
    ("Bootstrap", bootstrap.TABLE),
    ("Listeners", listener.TABLE),
    ("Network filters", network_filters.TABLE),
    ("TCP proxy", tcp_proxy.TABLE),
    ("UDP proxy", udp_proxy.TABLE),
    ("Matchers", matching.TABLE),
    ("HTTP connection manager", hcm.TABLE),
    ("Compression", compression.TABLE),
    ("Role based access control", rbac.TABLE),
    ("gRPC-JSON transcoding", transcoding.TABLE),
    ("Istio", istio.TABLE),
    ("Routes", route.TABLE),
    ("Clusters and endpoints", cluster.TABLE),
    ("Dynamic forward proxies", dynamic_forward_proxy.TABLE),
    ("Shared messages", core.TABLE),
    ("Sources of discovered resources", xds.TABLE),
    ("TLS", tls.TABLE),
    ("Other transport sockets", transport_sockets.TABLE),
    ("Access logs", access_log.TABLE),
    ("Tracing", tracing.TABLE),
    ("Other extension types", extension_types.TABLE),
)

_UNCLASSED = Support(UNSUPPORTED, "it has no entry in the support ledger")


def parse(text: str) -> dict[str, dict[str, Support]]:
    """Message name to field name to support, of one area. Raises `ValueError` for a text not in form."""
    messages: dict[str, dict[str, Support]] = {}
    fields: dict[str, Support] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line.startswith(" "):
            if line in messages:
                raise ValueError(f"{line} has two entries")
            fields = messages[line] = {}
            continue
        mark, _, rest = line.strip().partition(" ")
        reason, colon, names = rest.rpartition(": ")
        support = Support(_MARKS[mark], reason if colon else "")
        for name in names.split():
            if name in fields:
                raise ValueError(f"{name} is classed twice: {line}")
            fields[name] = support
    return messages


_entries: dict[str, dict[str, Support]] = {}
for _, _text in AREAS:
    _area = parse(_text)
    if _entries.keys() & _area.keys():
        raise ValueError(f"entries in two areas: {sorted(_entries.keys() & _area.keys())}")
    _entries.update(_area)


def entries() -> dict[str, dict[str, Support]]:
    """Every entry: message name to field name to support."""
    return _entries


def is_classed(message: Any) -> bool:
    """Whether a message, given its descriptor, has an entry; the ones of fields without effect need none."""
    return message.full_name in _entries


def support_of(field: Any) -> Support:
    """The support of a field, given its descriptor; fields of well-known and map entry messages have it."""
    owner = field.containing_type
    fields = _entries.get(owner.full_name)
    if fields is None:
        if owner.full_name.startswith("google.protobuf.") or owner.GetOptions().map_entry:
            return Support(IMPLEMENTED)
        return _UNCLASSED
    return fields.get(field.name, _UNCLASSED)
