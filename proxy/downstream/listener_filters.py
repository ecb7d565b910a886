"""Compiles the listener filters of a listener: their order, those that Envoy adds, and when each is off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.stream_info import ConnectionInfo
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.filters.discovered import LISTENER, DiscoveredFilter, compile_discovered
from proxy.filters.listener.api import ListenerFilterFactory
from proxy.filters.registry import listener_filter

Matches = Callable[[ConnectionInfo], bool]

_PACKAGE: Final = "envoy.extensions.filters.listener"
_ORIGINAL_DST: Final = f"{_PACKAGE}.original_dst.v3.OriginalDst"
_PROXY_PROTOCOL: Final = f"{_PACKAGE}.proxy_protocol.v3.ProxyProtocol"
_TLS_INSPECTOR: Final = f"{_PACKAGE}.tls_inspector.v3.TlsInspector"


class ListenerFilterConfig(Struct, frozen=True):
    """A filter to be made, with its compiled config; it is passed over where `disabled` says so."""

    factory: ListenerFilterFactory
    config: Any
    disabled: Matches | None = None

    def may_be(self, type_name: str) -> bool:
        """Whether it is of that type."""
        return self.factory.type_name == type_name


class DiscoveredListenerFilter(Struct, frozen=True):
    """One whose config a control plane brings; otherwise as `ListenerFilterConfig`."""

    found: DiscoveredFilter
    disabled: Matches | None

    def may_be(self, type_name: str) -> bool:
        """Whether what comes may be of that type."""
        return type_name in self.found.types


AnyListenerFilter = ListenerFilterConfig | DiscoveredListenerFilter


def compile_listener_filters(message: Any, path: str, ctx: CompileContext) -> tuple[AnyListenerFilter, ...]:
    """The listener filters of a `Listener` in order, with those that other fields ask for behind them."""
    added = _asked_for(message)
    needs_tls_inspector = _needs_tls_inspector(message)
    if not message.listener_filters and not added and not needs_tls_inspector:
        return ()
    filters = [
        _compile_one(one, f"{path}.listener_filters[{i}]", ctx)
        for i, one in enumerate(message.listener_filters)
    ]
    known = [one for one in filters if one is not None]
    if needs_tls_inspector and not any(one.may_be(_TLS_INSPECTOR) for one in known):
        ctx.warning(
            f"{path}.listener_filters",
            "filter chain match rules require the TLS inspector, which is not among them: it is added",
        )
        added.append(_TLS_INSPECTOR)
    if _ORIGINAL_DST in added and _restores_destination(known):
        added.remove(_ORIGINAL_DST)
    known += [one for one in (_default(type_name, path, ctx) for type_name in added) if one is not None]
    return tuple(known)


def _asked_for(message: Any) -> list[str]:
    """Types of filters that stand for other fields, in Envoy's order."""
    added = []
    if message.use_original_dst.value:
        added.append(_ORIGINAL_DST)
    if message.filter_chains and message.filter_chains[0].use_proxy_proto.value:
        added.append(_PROXY_PROTOCOL)
    return added


def _restores_destination(filters: list[AnyListenerFilter]) -> bool:
    """Whether a further original_dst would find nothing new: since the last one, protocols are detected only.

    It would seem to be something to wait for; see `proxy.downstream.server_first`.
    """
    for one in reversed(filters):
        if isinstance(one, DiscoveredListenerFilter):
            return False
        if one.factory.type_name == _ORIGINAL_DST and one.disabled is None:
            return True
        if one.factory.only_detects is None or not one.factory.only_detects(one.config):
            return False
    return False


def _needs_tls_inspector(message: Any) -> bool:
    return any(
        match.transport_protocol == "tls"
        or (not match.transport_protocol and (match.server_names or match.application_protocols))
        for match in (chain.filter_chain_match for chain in message.filter_chains)
    )


def _default(type_name: str, path: str, ctx: CompileContext) -> ListenerFilterConfig | None:
    from proxy.config.extensions import message_class

    factory = listener_filter(type_name)
    made = message_class(type_name)
    if factory is None or made is None:
        return None
    return ListenerFilterConfig(factory, factory.compile(made(), path, ctx))


def _compile_one(message: Any, path: str, ctx: CompileContext) -> AnyListenerFilter | None:
    disabled = None
    if message.HasField("filter_disabled"):
        disabled = compile_predicate(message.filter_disabled, f"{path}.filter_disabled", ctx)
    if message.WhichOneof("config_type") == "config_discovery":
        found = compile_discovered(LISTENER, message, path, last=False, ctx=ctx)
        return DiscoveredListenerFilter(found, disabled)
    unpacked = unpack_extension(message, path, ctx)
    if unpacked is None:
        return None
    factory = listener_filter(unpacked.DESCRIPTOR.full_name)
    if factory is None:
        ctx.problem(f"{path}.typed_config", f"{unpacked.DESCRIPTOR.full_name} is not a listener filter")
        return None
    return ListenerFilterConfig(factory, factory.compile(unpacked, f"{path}.typed_config", ctx), disabled)


def compile_predicate(message: Any, path: str, ctx: CompileContext) -> Matches:
    """A `listener.v3.ListenerFilterChainMatchPredicate`."""
    kind = message.WhichOneof("rule")
    match kind:
        case "any_match":
            return lambda connection: True  # noqa: ARG005
        case "not_match":
            inner = compile_predicate(message.not_match, f"{path}.not_match", ctx)
            return lambda connection: not inner(connection)
        case "or_match" | "and_match":
            together = any if kind == "or_match" else all
            rules = [
                compile_predicate(one, f"{path}.{kind}.rules[{i}]", ctx)
                for i, one in enumerate(getattr(message, kind).rules)
            ]
            return lambda connection: together(rule(connection) for rule in rules)
        case "destination_port_range":
            first, end = message.destination_port_range.start, message.destination_port_range.end
            return lambda connection: (
                not connection.local_address.path and first <= connection.local_address.port < end
            )
    ctx.problem(path, "rule is required")
    return lambda connection: False  # noqa: ARG005
