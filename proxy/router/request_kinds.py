"""Kinds of tries beside the plain ones, in modules that are loaded when the first try of the kind is made."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from proxy.router.upstream_request import UpstreamRequest

if TYPE_CHECKING:
    from proxy.router.logged_request import UpstreamLog


@cache
def hedging() -> Any:
    """The module of requests that are hedged; few routes do."""
    from proxy.router import hedged_request

    return hedged_request


@cache
def _tracking() -> Any:
    from proxy.router import tracked_request

    return tracked_request


@cache
def _filtering() -> Any:
    from proxy.router import filtered_request

    return filtered_request


@cache
def _logging() -> Any:
    from proxy.router import logged_request

    return logged_request


def kind_with(
    kind: type[UpstreamRequest], *, tracked: bool, log: UpstreamLog | None, filtered: bool
) -> type[Any]:
    """The kind that is as `kind` and is recorded by its cluster, goes to a log, passes upstream filters."""
    found: type[Any] = kind
    if tracked:
        found = _tracking().tracked(found)
    if log is not None:
        found = _logging().logged(found, log)
    if filtered:
        found = _filtering().filtered(found)
    return found
