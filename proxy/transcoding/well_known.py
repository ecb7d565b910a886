"""Why a value is no JSON form of a well-known type, in Envoy's words."""

from __future__ import annotations

import re
from typing import Any, Final

from proxy.transcoding.json_reader import JsonObject
from proxy.transcoding.scalars import shown

_PREFIX: Final = "type.googleapis.com/"
_ZONED: Final = re.compile(r".*T.*(?:Z|[+-][0-9]{2}:[0-9]{2})")
_KINDS: Final = {"Timestamp": "timestamp", "Duration": "duration", "FieldMask": "field mask"}


def explain(full_name: str, value: Any, field: str) -> tuple[str, str]:
    """(the type, what is wrong), for "invalid value ... for type ..."."""
    name = full_name.rpartition(".")[2]
    if name == "Any" and isinstance(value, JsonObject):
        return _explain_any(value)
    kind = _KINDS.get(name)
    if kind is None or isinstance(value, list):
        return _PREFIX + full_name, "" if isinstance(value, JsonObject | list) else shown(value)
    if not isinstance(value, str):
        reason = f"Invalid data type for {kind}, value is {shown(value)}"
    elif name == "Timestamp":
        reason = "Invalid time format: Failed to parse input"
        if not _ZONED.fullmatch(value):
            reason = "Illegal timestamp format; timestamps must end with 'Z' or have a valid timezone offset."
    elif name == "Duration":
        reason = "Duration value exceeds limits"
        if not value.endswith("s"):
            reason = "Illegal duration format; duration must end with 's'"
    else:
        reason = "Invalid FieldMask"
    return _PREFIX + full_name, f"Field '{field}', {reason}"


def _explain_any(value: JsonObject) -> tuple[str, str]:
    url = next((one for name, one in value.entries if name == "@type"), None)
    if url is None:
        return "Any", "Missing @type for any field"
    if not isinstance(url, str):
        return "String", shown(url)
    if not url.startswith(_PREFIX):
        return (
            "Any",
            "Invalid type URL, type URLs must be of the form 'type.googleapis.com/<typename>', got: " + url,
        )
    return "Any", f"Invalid type URL, unknown type: {url.removeprefix(_PREFIX)}"
