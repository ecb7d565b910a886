"""`Listener.filter_chain_matcher`: a matcher tree names the filter chain of a connection.

The `filter_chain_match` of the chains then counts for nothing, as in Envoy. What the tree does not lead anywhere
goes to the default chain; a name that no chain has refuses the connection, even if there is a default chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.downstream.filter_chain import FilterChain
from proxy.matching.network_inputs import ACCEPTED_INPUTS
from proxy.matching.tree import MatcherKind, UnavailableInputError, compile_matcher

_NAME: Final = "google.protobuf.StringValue"


class FilterChainMatcher:
    """The chains of a listener by their names, ready for `match`."""

    __slots__ = ("_chains", "_name_of", "default")

    def __init__(
        self,
        name_of: Callable[[ConnectionInfo], str | None],
        chains: dict[str, FilterChain],
        default: FilterChain | None,
    ) -> None:
        self._name_of = name_of
        self._chains = chains
        self.default = default

    def match(self, info: ConnectionInfo) -> FilterChain | None:
        """The chain for a connection with these facts, the default chain, or None."""
        try:
            name = self._name_of(info)
        except UnavailableInputError:
            name = None
        return self.default if name is None else self._chains.get(name)


def compile_filter_chain_matcher(
    message: Any, path: str, ctx: CompileContext, chains: Iterable[FilterChain], default: FilterChain | None
) -> FilterChainMatcher:
    """Compile the matcher of the `Listener` at `path`, whose `filter_chains` are `chains`; problems go to `ctx`."""
    by_name: dict[str, FilterChain] = {}
    for i, chain in enumerate(chains):
        at = f"{path}.filter_chains[{i}].name"
        if not chain.name:
            ctx.problem(at, "a name is required when using a listener matcher")
        elif by_name.setdefault(chain.name, chain) is not chain:
            ctx.problem(at, f"the name is duplicated: {chain.name!r}")
        if message.filter_chains[i].HasField("filter_chain_match"):
            ctx.warning(
                f"{path}.filter_chains[{i}].filter_chain_match",
                "ignored: the listener has a filter_chain_matcher",
            )
    kind: MatcherKind[ConnectionInfo, str] = MatcherKind(ACCEPTED_INPUTS, _compile_name)
    name_of = compile_matcher(message.filter_chain_matcher, f"{path}.filter_chain_matcher", ctx, kind)
    return FilterChainMatcher(name_of, by_name, default)


def _compile_name(message: Any, path: str, ctx: CompileContext) -> str | None:
    if message.DESCRIPTOR.full_name != _NAME:
        ctx.problem(path, f"{message.DESCRIPTOR.full_name} is not supported here, expected {_NAME}")
        return None
    return str(message.value)
