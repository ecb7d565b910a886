"""Which config source serves an `xdstp://` name: `Bootstrap.config_sources` by authority, or the default one.

As in Envoy 1.40: for clusters that requests ask for, and behind a runtime guard for endpoints and route tables. All
else comes from the source that stands where the resource is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.base.runtime import Runtime
from proxy.config.config_source import AGGREGATED, api_type, check_server, checked_source
from xds_client.names import is_structured, parse
from xds_client.resource_types import ResourceType

GUARD: Final = "envoy.reloadable_features.xdstp_based_config_singleton_subscriptions"
"""False unless a layer of the runtime says otherwise. It is read once, at the start."""

_ALWAYS: Final = frozenset({ResourceType.CLUSTER})
_GUARDED: Final = _ALWAYS | {ResourceType.ENDPOINT, ResourceType.ROUTE}
_NONE: Final[Mapping[str, bytes]] = {}


class ConfigSources:
    """Those of a bootstrap, serialised: by authority, and the default one. Immutable, the same in every process.

    `guard` is the value of `GUARD`.
    """

    def __init__(
        self, by_authority: Mapping[str, bytes] = _NONE, default: bytes | None = None, *, guard: bool = False
    ) -> None:
        self.by_authority = dict(by_authority)
        self.default = default
        self.guard = guard
        self._types = _GUARDED if guard else _ALWAYS

    def of(self, kind: ResourceType, name: str, given: Any, path: str, ctx: Any) -> bytes:
        """The serialised source of a resource, of which a config has `given` this one at `path`.

        What is wrong with it goes to `ctx`, a `CompileContext`.
        """
        chosen = self._by_name(kind, name, given, path, ctx)
        return checked_source(given, path, ctx) if chosen is None else chosen

    def of_serialized(self, kind: ResourceType, name: str, given: bytes) -> bytes:
        """The same for a source that has been checked; a name that is none has the given one."""
        chosen = self._by_name(kind, name, None, "", None)
        return given if chosen is None else chosen

    def _by_name(self, kind: ResourceType, name: str, given: Any, path: str, ctx: Any) -> bytes | None:
        if kind not in self._types or not is_structured(name):
            return None
        try:
            authority = parse(name).authority
        except ValueError as error:
            if ctx is not None:
                ctx.problem(path, str(error))
            return None
        if given is not None and any(one.name == authority for one in given.authorities):
            ctx.problem(
                f"{path}.authorities",
                "Dynamically using non-bootstrap defined xDS-TP config sources is not yet supported.",
            )
        return self.by_authority.get(authority, self.default)


def config_sources(bootstrap: Any, runtime: Runtime) -> ConfigSources:
    """Those of a `Bootstrap` that was checked."""
    by_authority: dict[str, bytes] = {}
    for source in bootstrap.config_sources:
        for authority in source.authorities:
            # The first that has an authority serves it.
            by_authority.setdefault(authority.name, _serialized(source))
    default = bootstrap.default_config_source if bootstrap.HasField("default_config_source") else None
    return ConfigSources(
        by_authority,
        None if default is None else _serialized(default),
        guard=runtime.boolean(GUARD, False),
    )


def check_config_sources(bootstrap: Any, ctx: Any) -> None:
    """What is wrong with the sources of a bootstrap goes to `ctx`, a `CompileContext`."""
    for path, source, may_be_unnamed in _all(bootstrap):
        if not source.HasField("api_config_source"):
            ctx.problem(
                path, "Only api_config_source type is currently supported for xdstp-based config sources."
            )
            continue
        if not len(source.authorities) and not may_be_unnamed:
            ctx.problem(path, "xdstp-based non-default config source must have at least one authority.")
        names = [authority.name for authority in source.authorities]
        for name in dict.fromkeys(one for one in names if names.count(one) > 1):
            ctx.problem(
                f"{path}.authorities",
                f"xdstp-based config source authority {name} is configured more than once in an xdstp-based "
                "config source.",
            )
        api, at = source.api_config_source, f"{path}.api_config_source"
        if api_type(api) not in AGGREGATED:
            ctx.problem(
                f"{at}.api_type",
                "xdstp-based config source authority only supports AGGREGATED_GRPC and AGGREGATED_DELTA_GRPC "
                "types.",
            )
        else:
            check_server(api, at, ctx)


def _all(bootstrap: Any) -> Iterator[tuple[str, Any, bool]]:
    for index, source in enumerate(bootstrap.config_sources):
        yield f"config_sources[{index}]", source, False
    if bootstrap.HasField("default_config_source"):
        yield "default_config_source", bootstrap.default_config_source, True


def _serialized(source: Any) -> bytes:
    serialized: bytes = source.SerializeToString(deterministic=True)
    return serialized
