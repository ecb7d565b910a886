"""Requests read by the names of their fields, which mostly are those of an earlier request, values all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.codec.http2_fields import COOKIE, LENGTH, PLAIN, REFUSED, FieldRules, add_cookies
from proxy.codec.messages import SPOKEN_FOR

#: Clients choose the names, so the memo has an end: in shapes, and in characters of one's names.
_MAX_SHAPES: Final = 256
_MAX_SHAPE_BYTES: Final = 1024
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_SCHEMES: Final = frozenset({"http", "https"})
_NEEDED: Final = frozenset({":method", ":scheme", ":path", ":authority"})
_PRINTABLE: Final = bytes(range(0x20, 0x7F))


class RequestShape:
    """Where in a field section of certain names stands what is not just a field.

    There are shapes only for requests without anything that may be wrong by its name, or stands there twice.
    `length` is the place of content-length, or -1; `ordinary` is as in `ParsedRequest`.
    """

    __slots__ = (
        "_authority",
        "_cookies",
        "_method",
        "_names_bytes",
        "_path",
        "_scheme",
        "_start",
        "has_id",
        "length",
        "ordinary",
    )

    def __init__(self, names: tuple[str, ...], kinds: list[int]) -> None:
        """`kinds` are those of the names behind the pseudo-fields."""
        self._start = start = len(names) - len(kinds)
        self._method = names.index(":method")
        self._scheme = names.index(":scheme")
        self._path = names.index(":path")
        self._authority = names.index(":authority")
        #: Places behind the pseudo-fields.
        self._cookies = [place for place, kind in enumerate(kinds) if kind == COOKIE]
        self._names_bytes = sum(map(len, names))
        self.length = start + kinds.index(LENGTH) if LENGTH in kinds else -1
        self.has_id = "x-request-id" in names
        self.ordinary = not any(name in SPOKEN_FOR or name.startswith("x-envoy-") for name in names[start:])

    def read(
        self, fields: list[tuple[str, str]], values: Sequence[str], rules: FieldRules
    ) -> RequestHead | None:
        """The head of a field section of this shape; None if that needs a closer look."""
        text = "".join(values)
        if text.encode("latin-1").translate(None, _PRINTABLE):
            return None
        method = values[self._method]
        scheme = values[self._scheme]
        path = values[self._path]
        authority = values[self._authority]
        if (
            method not in _METHODS
            or scheme not in _SCHEMES
            or path[:1] != "/"
            or " " in path
            or authority not in rules.authorities
            or not rules.allows(len(fields), self._names_bytes + len(text))
        ):
            return None
        plain = fields[self._start :]
        if self._cookies:
            crumbs = [plain.pop(place)[1] for place in reversed(self._cookies)]
            crumbs.reverse()
            add_cookies(plain, crumbs)
        headers = _blank(HeaderMap)
        headers.update(plain)
        return RequestHead(method, path, authority, headers, scheme, "HTTP/2")


class RequestShapes:
    """The shapes of the requests of late, under one set of rules."""

    def __init__(self, rules: FieldRules) -> None:
        self._rules = rules
        #: None for names that have no shape.
        self._known: dict[tuple[str, ...], RequestShape | None] = {}

    def find(self, names: tuple[str, ...]) -> RequestShape | None:
        """The shape of a field section of `names`, if there is one."""
        try:
            return self._known[names]
        except KeyError:
            return self._learn(names)

    def _learn(self, names: tuple[str, ...]) -> RequestShape | None:
        if sum(map(len, names)) > _MAX_SHAPE_BYTES:
            return None
        if len(self._known) >= _MAX_SHAPES:
            self._known.clear()
        shape = self._known[names] = self._make(names)
        return shape

    def _make(self, names: tuple[str, ...]) -> RequestShape | None:
        start = len(_NEEDED)
        if set(names[:start]) != _NEEDED:
            return None
        plain = names[start:]
        kinds = [REFUSED if name[:1] == ":" else self._rules.kind_of(name) for name in plain]
        single = [name for name, kind in zip(plain, kinds, strict=True) if kind in (PLAIN, LENGTH)]
        if (
            len(single) + kinds.count(COOKIE) < len(kinds)
            or len(set(single)) < len(single)
            or "expect" in single
        ):
            return None
        return RequestShape(names, kinds)


_blank = HeaderMap.__new__
