"""`xdstp://` resource names: read, checked and brought into the one form in which they are compared.

Source: xDS TP1, "xDS structured resource names"; `xds.core.v3.ResourceName`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from msgspec import Struct

SCHEME: Final = "xdstp://"

_PATH_SAFE: Final = "/:@!$&'()*+,;="
_PARAMETER_SAFE: Final = "/:@!$'()*+,;"


class ResourceName(Struct, frozen=True):
    """`xdstp://{authority}/{type}/{id}?{context}#{directives}`, unescaped; `context` is sorted by key."""

    authority: str
    type: str
    id: str
    context: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        text = (
            f"{SCHEME}{quote(self.authority, safe=_PATH_SAFE)}/{self.type}/{quote(self.id, safe=_PATH_SAFE)}"
        )
        if not self.context:
            return text
        pairs = (
            f"{quote(key, safe=_PARAMETER_SAFE)}={quote(value, safe=_PARAMETER_SAFE)}"
            for key, value in self.context
        )
        return f"{text}?{'&'.join(pairs)}"

    @property
    def collection(self) -> ResourceName:
        """The glob collection that this resource belongs to: its last path segment is `*`."""
        parent, _, _ = self.id.rpartition("/")
        return ResourceName(self.authority, self.type, f"{parent}/*" if parent else "*", self.context)


def is_structured(name: str) -> bool:
    """Whether the name is an `xdstp://` one."""
    return name.startswith(SCHEME)


def parse(name: str) -> ResourceName:
    """Read an `xdstp://` name. Raises ValueError with the reason."""
    if not name.startswith(SCHEME):
        raise ValueError(f"{name!r} does not begin with {SCHEME}")
    rest = name[len(SCHEME) :].partition("#")[0]
    path, _, query = rest.partition("?")
    authority, slash, path = path.partition("/")
    kind, slash2, identifier = path.partition("/")
    if not slash or not slash2 or not kind or not identifier:
        raise ValueError(f"{name!r} is not xdstp://authority/resource type/id")
    context: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"{name!r} has a context parameter that is not key=value: {pair!r}")
        context[unquote(key)] = unquote(value)
    return ResourceName(unquote(authority), kind, unquote(identifier), tuple(sorted(context.items())))


def normal(name: str) -> str:
    """The form in which names are compared; a name that is no valid `xdstp://` one stays as it is."""
    if not name.startswith(SCHEME):
        return name
    try:
        return str(parse(name))
    except ValueError:
        return name


def collection_of(name: str) -> str:
    """The glob collection of an `xdstp://` name, "" for any other name."""
    if not name.startswith(SCHEME):
        return ""
    try:
        return str(parse(name).collection)
    except ValueError:
        return ""
