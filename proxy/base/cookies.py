"""Cookies: those of a request, and those that the proxy makes (`Cookie` of `route.v3` and `http.v3`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.base.messages import RequestHead


def cookie_pairs(head: RequestHead) -> Iterator[tuple[str, str]]:
    """Names and values of a request's cookies, values without their quotes; what has no `=` is left out.

    Blanks around a pair do not count, those around its `=` do: so does Envoy read them.
    """
    for text in head.headers.get("cookie", "").split(";"):
        name, equals, value = text.strip(" \t").partition("=")
        if equals:
            quoted = len(value) > 1 and value[0] == value[-1] == '"'
            yield name, value[1:-1] if quoted else value


def cookie_value(head: RequestHead, name: str) -> str:
    """The value of a request cookie without its quotes, "" if absent."""
    return next((value for found, value in cookie_pairs(head) if found == name), "")


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
