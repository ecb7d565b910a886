"""`xdstp://` resource names: read, checked and brought into the one form in which they are compared.

Source: xDS TP1, "xDS structured resource names"; `xds.core.v3.ResourceName`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

SCHEME: Final = "xdstp://"


def _escaper(reserved: str) -> Callable[[str], str]:
    """Percent-encodes what Envoy does: these, controls, and all from `~` up. Bytes that are no UTF-8 are kept."""
    escapes = {
        code: f"%{code:02X}" for code in range(256) if not 0x20 <= code < 0x7E or chr(code) in reserved
    }
    return lambda text: text.encode("utf-8", "surrogateescape").decode("latin-1").translate(escapes)


_authority: Final = _escaper("%/?#")
_id: Final = _escaper("%?#[]")
_parameter: Final = _escaper("%#[]&=")


def _unescaped(text: str) -> str:
    return unquote(text, errors="surrogateescape")


class ResourceName(Struct, frozen=True):
    """`xdstp://{authority}/{type}/{id}?{context}`, unescaped; `context` is sorted by key.

    Names of single resources have no directives: `#` is a character like any other, as in Envoy.
    """

    authority: str
    type: str
    id: str
    context: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        text = f"{SCHEME}{_authority(self.authority)}/{self.type}/{_id(self.id)}"
        if not self.context:
            return text
        return f"{text}?{'&'.join(sorted(f'{_parameter(key)}={_parameter(value)}' for key, value in self.context))}"

    def within(self, context: Mapping[str, str]) -> ResourceName:
        """The same with further parameters; its own prevail."""
        merged = {**context, **dict(self.context)}
        return ResourceName(self.authority, self.type, self.id, tuple(sorted(merged.items())))

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
    rest = name[len(SCHEME) :]
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
        context[_unescaped(key)] = _unescaped(value)
    return ResourceName(_unescaped(authority), kind, _unescaped(identifier), tuple(sorted(context.items())))


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


def is_collection(name: str) -> bool:
    """Whether a name stands for many resources: the wildcard, or a glob collection."""
    if not name.startswith(SCHEME):
        return name == "*"
    return name.partition("?")[0].endswith("/*")
