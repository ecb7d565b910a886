"""Text with holes for the facts of a stream: what text formats and JSON formats compile to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from proxy.base.stream_info import StreamInfo
from proxy.formatter.spec import Getter

#: Templates kept; clients choose the requests, so there is an end to their number.
MAX_KEPT: Final = 1024

#: The texts around the holes, one more than there are holes.
_Texts = tuple[str, ...]


class Hole(NamedTuple):
    """`kept`: equal for all streams with one `StreamInfo.kept_key`, as `Operator.kept`."""

    getter: Getter
    kept: bool = False


class Template:
    """`render` puts `missing` where a getter yields None.

    Of streams that come again and again, only what varies is rendered anew: the texts in which the rest is filled
    in are kept.
    """

    __slots__ = ("_fill", "_fill_varying", "_kept", "_missing", "_parts", "_texts")

    def __init__(self, parts: Sequence[str | Hole], missing: str) -> None:
        holes = [part for part in parts if isinstance(part, Hole)]
        varying = [hole for hole in holes if not hole.kept]
        self._parts = parts
        self._missing = missing
        self._texts = _around_holes(parts)
        self._fill = _filler(missing, holes)
        self._fill_varying = _filler(missing, varying)
        self._kept: dict[tuple[Any, ...], _Texts | None] | None = {} if len(varying) < len(holes) else None

    def render(self, info: StreamInfo) -> str:
        """The text for one stream. Cost: about 1 us and what the getters take."""
        key = info.kept_key
        if key is not None and self._kept is not None:
            texts = self._kept.get(key) or self._keep(key, info)
            if texts is not None:
                return self._fill_varying(info, texts)
        return self._fill(info, self._texts)

    def _keep(self, key: tuple[Any, ...], info: StreamInfo) -> _Texts | None:
        """The texts to keep; None for what has come for the first time, and perhaps the last."""
        kept = self._kept
        assert kept is not None
        texts = None
        if key in kept:
            texts = _around_holes([self._constant(part, info) for part in self._parts])
        elif len(kept) >= MAX_KEPT:
            kept.clear()
        kept[key] = texts
        return texts

    def _constant(self, part: str | Hole, info: StreamInfo) -> str | Hole:
        if isinstance(part, str) or not part.kept:
            return part
        value: Any = part.getter(info)
        return self._missing if value is None else str(value)


def _around_holes(parts: Sequence[str | Hole]) -> _Texts:
    texts = [""]
    for part in parts:
        if isinstance(part, str):
            texts[-1] += part
        else:
            texts.append("")
    return tuple(texts)


def _filler(missing: str, holes: Sequence[Hole]) -> Callable[[StreamInfo, _Texts], str]:
    filler: Callable[[StreamInfo, _Texts], str] = _make_filler(len(holes))(
        missing, *(hole.getter for hole in holes)
    )
    return filler


@functools.cache
def _make_filler(count: int) -> Callable[..., Any]:
    """A function that makes fillers for so many holes.

    Its source is written out, because a loop over the getters takes 1.5 us more for each line logged.
    """
    numbers = range(count)
    getters = "".join(f", get_{n}" for n in numbers)
    texts = "".join(f"text_{n}, " for n in range(count + 1))
    values = "".join(f"{{text_{n}}}{{missing if (v := get_{n}(info)) is None else v}}" for n in numbers)
    source = f"""
def make(missing{getters}):
    def fill(info, texts):
        {texts}= texts
        return f"{values}{{text_{count}}}"
    return fill
"""
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102 - the source is made of numbers
    make: Callable[..., Any] = scope["make"]
    return make
