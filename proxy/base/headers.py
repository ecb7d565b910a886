"""The header map: what every part of the data path reads and changes.

Names are lower-case `str`, values are `str` decoded as latin-1 (so that any byte of the wire survives a
round trip). It is a `dict`, because a lookup is the commonest operation by far and `dict.get` costs 30 ns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def joined(name: str, values: list[str]) -> str:
    """The combined field value of RFC 9110 section 5.3; cookies join with `; ` (RFC 6265 section 5.4)."""
    return ("; " if name == "cookie" else ",").join(values)


class HeaderMap(dict[str, str]):
    """Lower-case field name → value, in the order of first appearance.

    A field that came more than once holds the joined value here and the separate values in `repeated`,
    so that a reader needs one lookup and the wire still shows the lines as they came.

    Change it through `set`, `add` and `remove`. Plain item assignment is for names that are known not to
    be repeated (it does not look at `repeated`).
    """

    #: On the class, so that only a map with repeated names carries an attribute of its own.
    repeated: dict[str, list[str]] | None = None
    #: The fields as an HTTP/2 header block, for a map that is shared and so never changes; no copy has it.
    block: bytes | None = None

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        pairs = fields if isinstance(fields, list) else list(fields)
        super().__init__(pairs)
        if len(self) != len(pairs):
            self._collect_repeated(pairs)

    def _collect_repeated(self, pairs: list[tuple[str, str]]) -> None:
        seen: dict[str, list[str]] = {}
        for name, value in pairs:
            seen.setdefault(name, []).append(value)
        self.repeated = {name: values for name, values in seen.items() if len(values) > 1}
        for name, values in self.repeated.items():
            self[name] = joined(name, values)

    def set(self, name: str, value: str) -> None:
        """Make `value` the only value of `name`; an existing field keeps its place."""
        self[name] = value
        if self.repeated is not None:
            self.repeated.pop(name, None)

    def add(self, name: str, value: str) -> None:
        """Add a further line for `name`, after those already there."""
        present = self.get(name)
        if present is None:
            self[name] = value
            return
        if self.repeated is None:
            self.repeated = {}
        values = self.repeated.setdefault(name, [present])
        values.append(value)
        self[name] = joined(name, values)

    def remove(self, name: str) -> bool:
        """Drop every line of `name`; tells whether there was one."""
        if self.repeated is not None:
            self.repeated.pop(name, None)
        return self.pop(name, None) is not None

    def values_of(self, name: str) -> list[str]:
        """The separate values of `name`, in order; empty if absent."""
        if self.repeated is not None and name in self.repeated:
            return self.repeated[name]
        value = self.get(name)
        return [] if value is None else [value]

    def fields(self) -> Iterator[tuple[str, str]]:
        """Every line as (name, value); the lines of a repeated name stand together."""
        if self.repeated is None:
            return iter(self.items())
        return self._fields_with_repeated(self.repeated)

    def _fields_with_repeated(self, repeated: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
        for name, value in self.items():
            if name in repeated:
                for one in repeated[name]:
                    yield name, one
            else:
                yield name, value

    def copy(self) -> HeaderMap:
        """An independent copy."""
        # Past the constructor: copies are made for most requests, and this takes a third of the time.
        twin = _blank(HeaderMap)
        twin.update(self)
        if self.repeated is not None:
            twin.repeated = {name: list(values) for name, values in self.repeated.items()}
        return twin


_blank = HeaderMap.__new__
