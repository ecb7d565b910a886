"""`lb_subset_config` of a cluster and the `Subset` extension, which have the same fields."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from proxy.config.context import CompileContext
from proxy.upstream.lb.api import SubsetConfig, SubsetFallback, SubsetSelector

#: Of the whole cluster; selectors have a number for "not defined" before these.
_FALLBACKS: Final = (
    SubsetFallback.NO_FALLBACK,
    SubsetFallback.ANY_ENDPOINT,
    SubsetFallback.DEFAULT_SUBSET,
)


def compile_subset(config: Any, path: str, ctx: CompileContext) -> SubsetConfig:
    """Check and freeze it."""
    selectors = tuple(
        _selector(one, f"{path}.subset_selectors[{index}]", ctx)
        for index, one in enumerate(config.subset_selectors)
    )
    return SubsetConfig(
        selectors,
        _FALLBACKS[config.fallback_policy],
        dict(MessageToDict(config.default_subset)),
        config.locality_weight_aware,
        config.scale_locality_weight,
        config.panic_mode_any,
        config.list_as_any,
        config.metadata_fallback_policy == 1,
        getattr(config, "allow_redundant_keys", False),
    )


def _selector(config: Any, path: str, ctx: CompileContext) -> SubsetSelector:
    keys = tuple(sorted(set(config.keys)))
    fallback = SubsetFallback(config.fallback_policy)
    fallback_keys = frozenset(config.fallback_keys_subset)
    if fallback is SubsetFallback.KEYS_SUBSET:
        at = f"{path}.fallback_keys_subset"
        if not fallback_keys:
            ctx.problem(at, "fallback_keys_subset cannot be empty")
        elif not fallback_keys.issubset(keys):
            ctx.problem(at, "fallback_keys_subset must be a subset of selector keys")
        elif len(fallback_keys) == len(keys):
            ctx.problem(at, "fallback_keys_subset cannot be equal to keys")
    return SubsetSelector(keys, config.single_host_per_subset, fallback, fallback_keys)
