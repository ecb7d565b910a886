"""The header operations of one level of a route table, and the order in which the levels apply."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proxy.config.context import CompileContext

#: Of `proxy.formatter.header_ops.HeaderOps`: `apply(head, info)` and `static`.
Operations = tuple[Any, ...]


class HeaderLevel(Struct, frozen=True):
    """What a table, virtual host, route or weighted cluster does to request and response headers."""

    request: Operations = ()
    response: Operations = ()


EMPTY_LEVEL = HeaderLevel()


def compile_level(message: Any, path: str, ctx: CompileContext) -> HeaderLevel:
    """The `request_headers_to_*` and `response_headers_to_*` of `message`."""
    request: Operations = ()
    response: Operations = ()
    if message.request_headers_to_add or message.request_headers_to_remove:
        request = _compile(
            message.request_headers_to_add, message.request_headers_to_remove, path, ctx, request=True
        )
    if message.response_headers_to_add or message.response_headers_to_remove:
        response = _compile(
            message.response_headers_to_add, message.response_headers_to_remove, path, ctx, request=False
        )
    return HeaderLevel(request, response) if request or response else EMPTY_LEVEL


def _compile(added: Any, removed: Any, path: str, ctx: CompileContext, *, request: bool) -> Operations:
    from proxy.formatter.header_ops import compile_header_ops  # many tables change no headers

    operations = compile_header_ops(added, removed, path, ctx, request=request)
    return () if operations is None else (operations,)


def in_order(levels: tuple[HeaderLevel, ...], *, most_specific_wins: bool) -> HeaderLevel:
    """One level that applies all of `levels`, which are given from the most to the least specific.

    The last to apply wins: the least specific one, unless `most_specific_header_mutations_wins`.
    """
    used = [level for level in levels if level is not EMPTY_LEVEL]
    if not used:
        return EMPTY_LEVEL
    if most_specific_wins:
        used.reverse()
    return HeaderLevel(
        tuple(operation for level in used for operation in level.request),
        tuple(operation for level in used for operation in level.response),
    )
