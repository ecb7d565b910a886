"""`/events`: what the proxy has decided lately, and why."""

from __future__ import annotations

import json
from typing import Final

from proxy.admin.http import JSON, AdminRequest, AdminResponse, BadParameterError
from proxy.admin.state import AdminState
from proxy.base.event_log import MOST_EVENTS
from proxy.base.times import rfc3339

_MOST_DIGITS: Final = 10


async def events(request: AdminRequest, state: AdminState) -> AdminResponse:
    """The newest `n` decisions, the oldest of them first."""
    number = request.parameters.get("n", str(MOST_EVENTS))
    if not (number.isascii() and number.isdigit() and len(number) < _MOST_DIGITS):
        raise BadParameterError("usage: /events?n=<number>")
    found = state.events().last(int(number))
    if request.choice("format", ("text", "json"), "text", "usage: /events?format=text|json") == "json":
        body = json.dumps({"events": [event.fields() for event in found]}, indent=1)
        return AdminResponse(body + "\n", content_type=JSON)
    return AdminResponse("".join(f"{rfc3339(event.time)} {event.text}\n" for event in found))
