"""Resources that a config refers to by name and that somebody else brings: route tables, endpoints, filters.

Whoever compiles a config asks the `ResourceStore` of its `CompileContext` for a `ResourceSource`. What is in it
comes later, and may change: from a control plane, by way of the controller. The store of the process that checks a
config records what was asked for, so that it can be subscribed to.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar

import xxhash

from proxy.config.config_sources import ConfigSources
from xds_client.names import normal
from xds_client.resource_types import ResourceType

Made = TypeVar("Made")

#: How a term begins that names a part of a resource that requests have asked for.
DEMANDED: Final = "demanded"


@dataclass(frozen=True, slots=True)
class ResourceWant:
    """A resource that some config refers to. `source` is a serialised `core.v3.ConfigSource`.

    `stat_prefix` is that of the subscription, of whoever asked first. `terms` are what those who refer to it ask of
    it, for its check (`proxy.discovery.checks`). Nobody `waits` for it where there is something to use without it.
    """

    type: ResourceType
    name: str
    source: bytes
    stat_prefix: str = field(default="", compare=False)
    terms: frozenset[tuple[Any, ...]] = field(default=frozenset(), compare=False)
    waits: bool = field(default=True, compare=False)
    #: The same in every process, and of this type, source and name alone.
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", resource_key(self.type, self.name, self.source))


def resource_key(kind: ResourceType, name: str, source: bytes) -> str:
    """See `ResourceWant.key`."""
    return _key_start(kind, source) + name


@lru_cache(maxsize=256)
def _key_start(kind: ResourceType, source: bytes) -> str:
    return f"{kind.name}/{xxhash.xxh64_hexdigest(source)}/"


class ResourceUser(Protocol):
    """Who wants to know of changes."""

    def on_resource(self, source: ResourceSource) -> None:
        """The value of `source` has changed."""


class ResourceSource:
    """A resource as it is now: `value` holds its serialised message, None while there is none.

    That of a large route table is a `proxy.router.table_parts.TableParts`. `version` changes with the value.
    """

    __slots__ = ("_made", "_users", "key", "name", "value", "version")

    def __init__(self, key: str) -> None:
        self.key = key
        self.name = key.split("/", 2)[2]
        self.value: Any = None
        self.version = 0
        self._made: tuple[int, Any] = (-1, None)
        self._users: weakref.WeakSet[Any] | None = None

    def set(self, value: Any) -> None:
        """Replace the value, and tell everybody who uses it."""
        self.value = value
        self.version += 1
        for user in list(self._users or ()):
            user.on_resource(self)

    def tell(self, user: ResourceUser) -> None:
        """Let `user`, to which no reference is kept, know of changes."""
        if self._users is None:
            self._users = weakref.WeakSet()
        self._users.add(user)

    def keep(self, made: Any) -> None:
        """`made` is what `make` gives for the present value: somebody has made it already."""
        self._made = (self.version, made)

    def made(self, make: Callable[[Any], Made]) -> Made:
        """What `make` gives for the present value, made once for all who ask."""
        version, made = self._made
        if version != self.version:
            made = make(self.value)
            self._made = (self.version, made)
        result: Made = made
        return result


class ResourceStore:
    """The resources that a process knows; `wants` are those that were asked for, by key.

    `config_sources` are those of the bootstrap, for structured names.
    """

    def __init__(self, config_sources: ConfigSources | None = None) -> None:
        self._config_sources = config_sources or ConfigSources()
        self.wants: dict[str, ResourceWant] = {}
        self._sources: dict[str, ResourceSource] = {}
        #: What nobody has asked for yet: most of what a control plane of a mesh sends.
        self._values: dict[str, Any] = {}

    def want(
        self,
        kind: ResourceType,
        name: str,
        config_source: Any,
        path: str,
        ctx: Any,
        stat_prefix: str = "",
        terms: frozenset[tuple[Any, ...]] = frozenset(),
        waits: bool = True,
    ) -> ResourceSource:
        """The source of a resource that a config names.

        `config_source` is a `core.v3.ConfigSource` that stands at `path`; what is wrong with it goes to `ctx`.
        For the rest see `ResourceWant`.
        """
        chosen = self._config_sources.of(kind, name, config_source, path, ctx)
        want = ResourceWant(kind, normal(name), chosen, stat_prefix, terms, waits)
        known = self.wants.setdefault(want.key, want)
        if not (terms <= known.terms and known.waits >= waits):
            self.wants[want.key] = replace(known, terms=known.terms | terms, waits=known.waits or waits)
        return self.source(want.key)

    def key(self, kind: ResourceType, name: str, source: bytes) -> str:
        """The key of a resource that a config names, with a serialised source that has been checked."""
        return resource_key(kind, normal(name), self._config_sources.of_serialized(kind, name, source))

    def source(self, key: str) -> ResourceSource:
        """The source with that key, see `ResourceWant`."""
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = ResourceSource(key)
            if key in self._values:
                source.set(self._values.pop(key))
        return source

    def forget(self, key: str) -> None:
        """Nobody will ask for it again; who has it keeps it as it is."""
        self._sources.pop(key, None)
        self._values.pop(key, None)

    def update(self, key: str, value: Any) -> None:
        """A resource has come, changed or gone (None)."""
        source = self._sources.get(key)
        if source is None:
            self._values[key] = value
        else:
            source.set(value)
