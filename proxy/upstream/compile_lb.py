"""The load-balancing policy of a cluster, in both spellings: `lb_policy` and `load_balancing_policy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.config.extensions import type_name_of
from proxy.upstream.compile_hash_lb import compile_hashing, compile_legacy_hashing
from proxy.upstream.compile_subset import compile_subset
from proxy.upstream.fields import wrapped
from proxy.upstream.lb.api import HostSource, LbConfig, LbPolicy, SlowStartConfig, ZoneAwareConfig
from proxy.upstream.lb.client_weights import ClientWeightsConfig

_PREFIX: Final = "envoy.extensions.load_balancing_policies."
_PROVIDED: Final = _PREFIX + "cluster_provided.v3.ClusterProvided"
_FULL_SCAN: Final = 1  # LeastRequest.SelectionMethod.FULL_SCAN
#: As deep as policies may be nested.
_DEPTH: Final = 8


#: Seconds between reports that come by streams of their own.
_OOB_PERIOD: Final = 10.0


def compile_lb(
    message: Any, path: str, ctx: CompileContext, *, provided: bool = False, named: bool = False
) -> LbConfig:
    """The policy in force; `load_balancing_policy` wins over `lb_policy`, as in Envoy.

    `provided` tells that the type of the cluster brings its own, which the config must then ask for; `named`
    that its hosts have names of their own.
    """
    common = message.common_lb_config
    if common.consistent_hashing_lb_config.use_hostname_for_hashing and not named:
        ctx.problem(
            f"{path}.common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing",
            "Cannot use hostname for consistent hashing loadbalancing: only hosts of STRICT_DNS have one",
        )
    threshold = 50
    if common.HasField("healthy_panic_threshold"):
        threshold = int(common.healthy_panic_threshold.value + 0.5)
    base = LbConfig(panic_threshold=threshold)
    if provided:
        return replace(base, policy=LbPolicy.CLUSTER_PROVIDED)
    if message.HasField("load_balancing_policy"):
        if message.HasField("lb_subset_config"):
            ctx.problem(
                f"{path}.lb_subset_config",
                "cluster: load_balancing_policy cannot be combined with lb_subset_config",
            )
        return _from_list(message.load_balancing_policy, base, f"{path}.load_balancing_policy", ctx, 0)
    config = _legacy(message, base, path, ctx)
    if message.HasField("lb_subset_config") and message.lb_subset_config.subset_selectors:
        subset = compile_subset(message.lb_subset_config, f"{path}.lb_subset_config", ctx)
        if subset.locality_weight_aware and not config.locality_weighted:
            ctx.problem(
                f"{path}.lb_subset_config.locality_weight_aware",
                "Locality weight aware subset LB requires that a locality_weighted_lb_config be set",
            )
        config = replace(config, subset=subset)
    return config


def _legacy(message: Any, base: LbConfig, path: str, ctx: CompileContext) -> LbConfig:
    name = message.DESCRIPTOR.enum_types_by_name["LbPolicy"].values_by_number[message.lb_policy].name
    if name in {"LOAD_BALANCING_POLICY_CONFIG", "CLUSTER_PROVIDED"}:
        reason = (
            "cluster: field load_balancing_policy need to be set"
            if name == "LOAD_BALANCING_POLICY_CONFIG"
            else "CLUSTER_PROVIDED needs a cluster type that provides a load balancer"
        )
        ctx.problem(f"{path}.lb_policy", reason)
        return base
    common = message.common_lb_config
    config = replace(
        base,
        policy=LbPolicy[name],
        locality_weighted=common.HasField("locality_weighted_lb_config"),
        zone_aware=_zone_aware(common.zone_aware_lb_config),
    )
    match config.policy:
        case LbPolicy.ROUND_ROBIN:
            inner = message.round_robin_lb_config
            return _with_slow_start(inner, config, f"{path}.round_robin_lb_config", ctx)
        case LbPolicy.LEAST_REQUEST:
            return _least_request(
                message.least_request_lb_config, config, f"{path}.least_request_lb_config", ctx
            )
        case LbPolicy.RING_HASH | LbPolicy.MAGLEV:
            return replace(config, hashing=compile_legacy_hashing(message, config.policy, path, ctx))
    return config


def _from_list(message: Any, base: LbConfig, path: str, ctx: CompileContext, depth: int) -> LbConfig:
    """The first policy of a `LoadBalancingPolicy` that Envoy would take; it may be one that does not exist here."""
    offered: list[str] = []
    for index, entry in enumerate(message.policies):
        extension = entry.typed_extension_config
        name = type_name_of(extension.typed_config.type_url)
        compile_one = _EXTENSIONS.get(name)
        offered.append(extension.name or name)
        inner = f"{path}.policies[{index}].typed_extension_config.typed_config"
        if name in _ONLY_ENVOYS:
            ctx.problem(inner, f"{name} is not supported; Envoy would take it rather than those after it")
            return base
        if compile_one is None:
            continue
        config = unpack(extension.typed_config, inner, ctx)
        if config is None:
            return base
        if depth > _DEPTH:
            ctx.problem(inner, "policies are nested too deep")
            return base
        return compile_one(config, base, inner, ctx, depth + 1)
    ctx.problem(
        path,
        "didn't find a registered load balancer factory with names from [" + ", ".join(offered) + "];"
        " supported are " + ", ".join(_EXTENSIONS),
    )
    return base


def _round_robin(config: Any, base: LbConfig, path: str, ctx: CompileContext, _depth: int) -> LbConfig:
    policy = replace(_with_locality(config, base), policy=LbPolicy.ROUND_ROBIN)
    return _with_slow_start(config, policy, path, ctx)


def _least(config: Any, base: LbConfig, path: str, ctx: CompileContext, _depth: int) -> LbConfig:
    policy = replace(_with_locality(config, base), policy=LbPolicy.LEAST_REQUEST)
    return _least_request(config, policy, path, ctx)


def _provided(_config: Any, base: LbConfig, path: str, ctx: CompileContext, _depth: int) -> LbConfig:
    ctx.problem(path, "cluster provided LB specified but the type of the cluster does not provide one")
    return base


def _random(config: Any, base: LbConfig, _path: str, _ctx: CompileContext, _depth: int) -> LbConfig:
    return replace(_with_locality(config, base), policy=LbPolicy.RANDOM)


def _ring_hash(config: Any, base: LbConfig, path: str, ctx: CompileContext, _depth: int) -> LbConfig:
    return _hashing(LbPolicy.RING_HASH, config, base, path, ctx)


def _maglev(config: Any, base: LbConfig, path: str, ctx: CompileContext, _depth: int) -> LbConfig:
    return _hashing(LbPolicy.MAGLEV, config, base, path, ctx)


def _hashing(policy: LbPolicy, config: Any, base: LbConfig, path: str, ctx: CompileContext) -> LbConfig:
    return replace(
        base,
        policy=policy,
        locality_weighted=config.HasField("locality_weighted_lb_config"),
        hashing=compile_hashing(config, policy, path, ctx),
    )


def _subset(config: Any, base: LbConfig, path: str, ctx: CompileContext, depth: int) -> LbConfig:
    child = _from_list(config.subset_lb_policy, base, f"{path}.subset_lb_policy", ctx, depth)
    _refuse_override(child, f"{path}.subset_lb_policy", ctx)
    if child.subset is not None:
        ctx.problem(f"{path}.subset_lb_policy", "subsets cannot be divided into subsets")
    return replace(child, subset=compile_subset(config, path, ctx))


def _wrr_locality(config: Any, base: LbConfig, path: str, ctx: CompileContext, depth: int) -> LbConfig:
    child = _from_list(config.endpoint_picking_policy, base, f"{path}.endpoint_picking_policy", ctx, depth)
    _refuse_override(child, f"{path}.endpoint_picking_policy", ctx)
    if child.policy is not LbPolicy.CLIENT_SIDE_WEIGHTED_ROUND_ROBIN and not ctx.problems:
        ctx.problem(
            f"{path}.endpoint_picking_policy",
            "Currently WrrLocalityLoadBalancer only supports ClientSideWeightedRoundRobinLoadBalancer as its"
            " endpoint picking policy",
        )
    return replace(child, locality_weighted=True)


def _client_weights(config: Any, base: LbConfig, path: str, ctx: CompileContext, _depth: int) -> LbConfig:
    oob_period = 0.0
    if config.enable_oob_load_report.value:
        # Envoy takes the default for a period that is none.
        oob_period = max(seconds(config, "oob_reporting_period", 0.0), 0.0) or _OOB_PERIOD
    weights = ClientWeightsConfig(
        seconds(config, "blackout_period", 10.0),
        seconds(config, "weight_expiration_period", 180.0),
        # Envoy takes what is shorter for this.
        max(seconds(config, "weight_update_period", 1.0), 0.1),
        wrapped(config, "error_utilization_penalty", 1.0),
        tuple(config.metric_names_for_computing_utilization),
        oob_period,
    )
    if weights.error_penalty < 0:
        ctx.problem(f"{path}.error_utilization_penalty", "value must be greater than or equal to 0")
    policy = LbPolicy.CLIENT_SIDE_WEIGHTED_ROUND_ROBIN
    return _with_slow_start(config, replace(base, policy=policy, client_weights=weights), path, ctx)


def _override_host(config: Any, base: LbConfig, path: str, ctx: CompileContext, depth: int) -> LbConfig:
    sources = []
    for index, source in enumerate(config.override_host_sources):
        where = f"{path}.override_host_sources[{index}]"
        has_metadata = source.HasField("metadata")
        if not source.header and not has_metadata:
            ctx.problem(where, "Empty override source")
        if source.header and has_metadata:
            ctx.problem(where, "Only one override source must be set")
        names = (source.metadata.key, *(segment.key for segment in source.metadata.path))
        sources.append(HostSource(source.header.lower(), names if has_metadata else ()))
    child = _from_list(config.fallback_policy, base, f"{path}.fallback_policy", ctx, depth)
    _refuse_override(child, f"{path}.fallback_policy", ctx)
    return replace(child, host_sources=tuple(sources))


def _refuse_override(child: LbConfig, path: str, ctx: CompileContext) -> None:
    if child.host_sources:
        ctx.problem(path, "override_host is supported as the outermost policy only")


_EXTENSIONS: Final[dict[str, Callable[[Any, LbConfig, str, CompileContext, int], LbConfig]]] = {
    _PREFIX + "round_robin.v3.RoundRobin": _round_robin,
    _PREFIX + "least_request.v3.LeastRequest": _least,
    _PREFIX + "random.v3.Random": _random,
    _PREFIX + "ring_hash.v3.RingHash": _ring_hash,
    _PREFIX + "maglev.v3.Maglev": _maglev,
    _PREFIX + "subset.v3.Subset": _subset,
    _PREFIX + "wrr_locality.v3.WrrLocality": _wrr_locality,
    _PREFIX + "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin": _client_weights,
    _PREFIX + "override_host.v3.OverrideHost": _override_host,
    _PROVIDED: _provided,
}
#: Envoy has these, and so takes none that a list names after them.
_ONLY_ENVOYS: Final = frozenset(
    _PREFIX + name
    for name in (
        "dynamic_modules.v3.DynamicModulesLoadBalancerConfig",
        "load_aware_locality.v3.LoadAwareLocality",
    )
)


def asks_for_provided(message: Any) -> bool:
    """Whether the policy that a cluster names is the one that its type brings."""
    if not message.HasField("load_balancing_policy"):
        return False
    named = (
        type_name_of(one.typed_extension_config.typed_config.type_url)
        for one in message.load_balancing_policy.policies
    )
    return next((name for name in named if name in _EXTENSIONS.keys() | _ONLY_ENVOYS), "") == _PROVIDED


def _least_request(config: Any, base: LbConfig, path: str, ctx: CompileContext) -> LbConfig:
    count = wrapped(config, "choice_count", 2)
    if count < 2:
        ctx.problem(f"{path}.choice_count", "value must be greater than or equal to 2")
    bias, key = 1.0, ""
    if config.HasField("active_request_bias"):
        bias, key = config.active_request_bias.default_value, config.active_request_bias.runtime_key
    full_scan = getattr(config, "selection_method", 0) == _FULL_SCAN
    if "enable_full_scan" in config.DESCRIPTOR.fields_by_name:
        full_scan = full_scan or config.enable_full_scan.value
    numbers = replace(
        base,
        choice_count=count,
        active_request_bias=bias,
        active_request_bias_key=key,
        full_scan=full_scan,
    )
    return _with_slow_start(config, numbers, path, ctx)


def _with_locality(config: Any, base: LbConfig) -> LbConfig:
    """`locality_lb_config` of an extension."""
    locality = config.locality_lb_config
    return replace(
        base,
        locality_weighted=locality.HasField("locality_weighted_lb_config"),
        zone_aware=_zone_aware_of_extension(locality.zone_aware_lb_config),
    )


def _zone_aware(config: Any) -> ZoneAwareConfig:
    enabled = 100
    if config.HasField("routing_enabled"):
        enabled = int(config.routing_enabled.value + 0.5)
    least = wrapped(config, "min_cluster_size", 6)
    return ZoneAwareConfig(enabled, least, config.fail_traffic_on_panic)


def _zone_aware_of_extension(config: Any) -> ZoneAwareConfig:
    """With what the older `common_lb_config` lacks."""
    force = 1 if config.force_locality_direct_routing else None
    if config.HasField("force_local_zone"):
        force = wrapped(config.force_local_zone, "min_size", 1)
    by_weight = config.locality_basis == config.HEALTHY_HOSTS_WEIGHT
    return replace(_zone_aware(config), force_local=force, by_weight=by_weight)


def _with_slow_start(config: Any, base: LbConfig, path: str, ctx: CompileContext) -> LbConfig:
    if not config.HasField("slow_start_config"):
        return base
    slow = config.slow_start_config
    path = f"{path}.slow_start_config"
    window = slow.slow_start_window.seconds + slow.slow_start_window.nanos / 1e9
    if window <= 0:
        # No window, no slow start.
        return base
    aggression, key = 1.0, ""
    if slow.HasField("aggression"):
        aggression, key = slow.aggression.default_value, slow.aggression.runtime_key
        if aggression <= 0 and not key:
            ctx.warning(f"{path}.aggression.default_value", "must be more than 0; 1.0 is used")
    least = slow.min_weight_percent.value if slow.HasField("min_weight_percent") else 10.0
    return replace(base, slow_start=SlowStartConfig(window, aggression, key, least / 100))
