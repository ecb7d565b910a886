"""`/events`: what the proxy has decided lately, and why."""

from __future__ import annotations

import json

from proxy.admin.http import JSON, AdminRequest, AdminResponse, BadParameterError
from proxy.admin.state import AdminState
from proxy.base.digits import UINT32, whole_number
from proxy.base.event_log import MOST_EVENTS
from proxy.base.times import rfc3339


async def events(request: AdminRequest, state: AdminState) -> AdminResponse:
    """The newest `n` decisions, the oldest of them first."""
    number = whole_number(request.parameters.get("n", str(MOST_EVENTS)), UINT32)
    if number is None:
        raise BadParameterError("usage: /events?n=<number>")
    found = state.events().last(number)
    if request.choice("format", ("text", "json"), "text", "usage: /events?format=text|json") == "json":
        body = json.dumps({"events": [event.fields() for event in found]}, indent=1)
        return AdminResponse(body + "\n", content_type=JSON)
    return AdminResponse("".join(f"{rfc3339(event.time)} {event.text}\n" for event in found))
