"""Cookies: those of a request, and those that the proxy makes (`Cookie` of `route.v3` and `http.v3`)."""

from __future__ import annotations

from typing import Any

from proxy.base.messages import RequestHead


def cookie_value(head: RequestHead, name: str) -> str:
    """The value of a request cookie without its quotes, "" if absent."""
    for pair in head.headers.get("cookie", "").split(";"):
        found, equals, value = pair.partition("=")
        if equals and found.strip(" \t") == name:
            value = value.strip(" \t")
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            return value
    return ""


def cookie_suffix(message: Any) -> str:
    """What stands behind the value of a cookie that is made: lifetime, path, attributes of a `Cookie` message."""
    seconds = message.ttl.seconds
    parts = [f"Max-Age={seconds}"] if seconds else []
    if message.path:
        parts.append(f"Path={message.path}")
    parts += [
        f"{attribute.name}={attribute.value}" if attribute.value else attribute.name
        for attribute in message.attributes
    ]
    return "; ".join([*parts, "HttpOnly"])
