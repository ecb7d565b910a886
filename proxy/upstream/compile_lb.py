"""The load-balancing policy of a cluster, in both spellings: `lb_policy` and `load_balancing_policy`."""

from __future__ import annotations

from typing import Any, Final

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.extensions import type_name_of
from proxy.upstream.lb.api import LbConfig, LbPolicy

_PREFIX: Final = "envoy.extensions.load_balancing_policies."
_EXTENSIONS: Final = {
    _PREFIX + "round_robin.v3.RoundRobin": LbPolicy.ROUND_ROBIN,
    _PREFIX + "least_request.v3.LeastRequest": LbPolicy.LEAST_REQUEST,
    _PREFIX + "random.v3.Random": LbPolicy.RANDOM,
}
_FULL_SCAN: Final = 1  # LeastRequest.SelectionMethod.FULL_SCAN


def compile_lb(message: Any, path: str, ctx: CompileContext, *, provided: bool = False) -> LbConfig:
    """The policy in force; `load_balancing_policy` wins over `lb_policy`, as in Envoy.

    `provided` tells that the type of the cluster brings its own, which the config must then ask for.
    """
    threshold = _panic_threshold(message, path, ctx)
    if provided:
        return LbConfig(panic_threshold=threshold)
    if message.HasField("load_balancing_policy"):
        return _from_extensions(message, threshold, f"{path}.load_balancing_policy", ctx)
    number = message.lb_policy
    name = message.DESCRIPTOR.enum_types_by_name["LbPolicy"].values_by_number[number].name
    if name not in LbPolicy.__members__:
        reason = f"{name} is not supported; {', '.join(LbPolicy.__members__)} are"
        if name == "LOAD_BALANCING_POLICY_CONFIG":
            reason = "cluster: field load_balancing_policy need to be set"
        elif name == "CLUSTER_PROVIDED":
            reason = "CLUSTER_PROVIDED needs a cluster type that provides a load balancer"
        ctx.problem(f"{path}.lb_policy", reason)
        return LbConfig(panic_threshold=threshold)
    policy = LbPolicy[name]
    if policy is LbPolicy.ROUND_ROBIN and message.HasField("round_robin_lb_config"):
        _refuse(message.round_robin_lb_config, ("slow_start_config",), f"{path}.round_robin_lb_config", ctx)
    if policy is LbPolicy.LEAST_REQUEST and message.HasField("least_request_lb_config"):
        config = message.least_request_lb_config
        return _least_request(config, threshold, f"{path}.least_request_lb_config", ctx)
    return LbConfig(policy, panic_threshold=threshold)


def _panic_threshold(message: Any, path: str, ctx: CompileContext) -> float:
    common = message.common_lb_config
    if common.HasField("locality_weighted_lb_config"):
        ctx.problem(f"{path}.common_lb_config.locality_weighted_lb_config", "is not supported")
    if not common.HasField("healthy_panic_threshold"):
        return 50.0
    value: float = common.healthy_panic_threshold.value
    return value


def _from_extensions(message: Any, threshold: float, path: str, ctx: CompileContext) -> LbConfig:
    offered: list[str] = []
    for index, entry in enumerate(message.load_balancing_policy.policies):
        extension = entry.typed_extension_config
        name = type_name_of(extension.typed_config.type_url)
        policy = _EXTENSIONS.get(name)
        offered.append(extension.name or name)
        if policy is None:
            continue
        inner = f"{path}.policies[{index}].typed_extension_config.typed_config"
        config = unpack(extension.typed_config, inner, ctx)
        if config is None:
            return LbConfig(panic_threshold=threshold)
        if policy is LbPolicy.LEAST_REQUEST:
            return _least_request(config, threshold, inner, ctx)
        _refuse(config, ("slow_start_config", "locality_lb_config"), inner, ctx)
        return LbConfig(policy, panic_threshold=threshold)
    ctx.problem(
        path,
        "didn't find a registered load balancer factory with names from [" + ", ".join(offered) + "];"
        " supported are " + ", ".join(_EXTENSIONS),
    )
    return LbConfig(panic_threshold=threshold)


def _least_request(config: Any, threshold: float, path: str, ctx: CompileContext) -> LbConfig:
    _refuse(config, ("slow_start_config", "locality_lb_config"), path, ctx)
    count = config.choice_count.value if config.HasField("choice_count") else 2
    if count < 2:
        ctx.problem(f"{path}.choice_count", "value must be greater than or equal to 2")
    bias, key = 1.0, ""
    if config.HasField("active_request_bias"):
        bias, key = config.active_request_bias.default_value, config.active_request_bias.runtime_key
    full_scan = getattr(config, "selection_method", 0) == _FULL_SCAN
    if "enable_full_scan" in config.DESCRIPTOR.fields_by_name:
        full_scan = full_scan or config.enable_full_scan.value
    return LbConfig(LbPolicy.LEAST_REQUEST, count, bias, key, full_scan, threshold)


def _refuse(config: Any, names: tuple[str, ...], path: str, ctx: CompileContext) -> None:
    for name in names:
        if name not in config.DESCRIPTOR.fields_by_name or not config.HasField(name):
            continue
        if name == "locality_lb_config":
            # Without a local cluster zone-aware balancing balances over all zones, as is done here.
            if config.locality_lb_config.HasField("locality_weighted_lb_config"):
                ctx.problem(f"{path}.{name}.locality_weighted_lb_config", "is not supported")
            continue
        ctx.problem(f"{path}.{name}", "is not supported")
