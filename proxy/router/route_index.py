"""Finds the first matching route of a virtual host without looking at all of them.

Few routes are scanned in order. Many are indexed: exact paths in one dictionary, prefixes in one dictionary a
length, and the rest in a list; the candidates for a path are put back into config order once and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Final

from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.router.route import Route
from proxy.router.route_match import InfoMatch, PathKind

#: Up to this many routes a scan is always quick enough.
SCAN_LIMIT: Final = 6
#: Candidates for one path that are kept merged.
_KEPT: Final = 64

Entry = tuple[
    int,  # place in the virtual host
    PathKind,
    str,
    Callable[[str], bool],
    tuple[Callable[[RequestHead], bool], ...],
    tuple[InfoMatch, ...],
    Route,
]

_PREFIX: Final = PathKind.PREFIX
_EXACT: Final = PathKind.EXACT
_PLACE: Final = itemgetter(0)


class RouteIndex:
    """The routes of one virtual host."""

    __slots__ = (
        "_connect",
        "_entries",
        "_exact",
        "_indexed",
        "_lengths",
        "_merged",
        "_merged_exact",
        "_others",
        "_prefixes",
    )

    def __init__(self, routes: Sequence[Route]) -> None:
        self._entries: tuple[Entry, ...] = tuple(_entry(route) for route in routes)
        self._connect = any(entry[1] is PathKind.CONNECT for entry in self._entries)
        self._exact: dict[str, list[Entry]] = {}
        self._prefixes: dict[str, list[Entry]] = {}
        self._others: list[Entry] = []
        self._merged: dict[str, list[Entry]] = {}
        self._merged_exact: dict[str, list[Entry]] = {}
        self._lengths: tuple[int, ...] = ()
        self._indexed = False
        if len(self._entries) > SCAN_LIMIT:
            self._build()

    def _build(self) -> None:
        for entry in self._entries:
            if entry[1] is _EXACT:
                self._exact.setdefault(entry[2], []).append(entry)
            elif entry[1] is _PREFIX:
                self._prefixes.setdefault(entry[2], []).append(entry)
            else:
                self._others.append(entry)
        self._lengths = tuple(sorted({len(prefix) for prefix in self._prefixes}, reverse=True))
        # A length costs about as much as two entries of a scan.
        self._indexed = 2 * len(self._lengths) + len(self._others) < len(self._entries)

    def find(self, head: RequestHead, info: StreamInfo, draw: Callable[[], int]) -> Route | None:
        """The first route that matches, or None."""
        path = head.path
        if "?" in path:
            path = path[: path.index("?")]
        if "#" in path:
            path = path[: path.index("#")]
        if (self._connect and head.method == "CONNECT") or not head.path:
            return self._find_connect(path, head, info, draw)
        entries: Iterable[Entry] = self._candidates(path) if self._indexed else self._entries
        for _, kind, text, test, head_tests, info_tests, route in entries:
            if kind is _PREFIX:
                if not path.startswith(text):
                    continue
            elif kind is _EXACT:
                if path != text:
                    continue
            elif not test(path):
                continue
            if head_tests and not _all_match(head_tests, head):
                continue
            if info_tests and not _all_hold(info_tests, info, draw):
                continue
            return route
        return None

    def _candidates(self, path: str) -> list[Entry]:
        """The entries whose path may match, in config order.

        A path that matches a prefix matches all shorter ones of it too, so the longest one decides.
        """
        if path in self._exact:
            return self._merged_exact.get(path) or self._merge(path, self._exact[path], self._merged_exact)
        prefixes = self._prefixes
        size = len(path)
        for length in self._lengths:
            if length <= size:
                prefix = path[:length]
                if prefix in prefixes:
                    return self._merged.get(prefix) or self._merge(prefix, [], self._merged)
        return self._others

    def _merge(self, path: str, exact: list[Entry], memo: dict[str, list[Entry]]) -> list[Entry]:
        """The candidates for `path`; kept for the next time if they are few, which bounds the memory."""
        found = [*exact, *self._others]
        for length in self._lengths:
            found += self._prefixes.get(path[:length], ()) if length <= len(path) else ()
        found.sort(key=_PLACE)
        if len(found) <= _KEPT:
            memo[path] = found
        return found

    def _find_connect(
        self, path: str, head: RequestHead, info: StreamInfo, draw: Callable[[], int]
    ) -> Route | None:
        """As `find`, for requests without a path or with the method CONNECT where a route may want that."""
        for _, kind, text, test, head_tests, info_tests, route in self._entries:
            if kind is PathKind.CONNECT:
                matched = head.method == "CONNECT"
            elif not head.path:
                matched = False
            elif kind is _PREFIX:
                matched = path.startswith(text)
            else:
                matched = path == text if kind is _EXACT else test(path)
            if matched and _all_match(head_tests, head) and _all_hold(info_tests, info, draw):
                return route
        return None


def _entry(route: Route) -> Entry:
    match = route.match
    return route.index, match.kind, match.text, match.test, match.head_tests, match.info_tests, route


def _all_match(tests: tuple[Callable[[RequestHead], bool], ...], head: RequestHead) -> bool:
    # Not all() with a generator: that doubles the time of a typical route.
    for test in tests:  # noqa: SIM110
        if not test(head):
            return False
    return True


def _all_hold(tests: tuple[InfoMatch, ...], info: StreamInfo, draw: Callable[[], int]) -> bool:
    return all(test(info, draw) for test in tests)
