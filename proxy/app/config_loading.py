"""From the files of the command line to what the controller keeps: checked, compiled once, as serialised
bytes.

Loading makes large trees and compiles everything in order to find every problem. It therefore happens in a
throw-away child process: only bytes come back, and all the memory goes with the child.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import re
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from proxy.app.application_log import compile_log_format
from proxy.app.bootstrap_extensions import NEEDS_EXTENSION, internal_buffer_bytes
from proxy.app.command_line import DEFAULT_LOG_FORMAT, Options
from proxy.app.overload import overload_layers
from proxy.app.runtime_layers import Layer, compile_layers, merge
from proxy.base.errors import ConfigError, Problem
from proxy.base.runtime import Runtime
from proxy.config.config_source import check_api_source, check_grpc_source, checked_source
from proxy.config.config_sources import check_config_sources, config_sources
from proxy.config.context import CompileContext
from proxy.connection.sockets import ListenAddress
from proxy.downstream.listener import INBOUND, ListenerConfig, compile_listener
from proxy.version import ENVOY_VERSION, VERSION

logger = logging.getLogger("proxy.config.loading")

if TYPE_CHECKING:
    from proxy.app.secret_files import LoadingSecrets
    from proxy.app.unchangeable import Current
    from proxy.config.loader import Loaded
    from proxy.config.resources import ResourceWant
    from proxy.connection.tls_secrets import SecretPlan

# So many are compiled in a process of their own, beside the listeners: 10,000 take 0.7 s.
MANY_CLUSTERS: Final = 1000


class ListenerPlan(Struct, frozen=True):
    """A listener as the controller knows it: bytes for the workers, addresses to bind (if `bound`), direction for
    drains."""

    name: str
    serialized: bytes
    addresses: tuple[ListenAddress, ...]
    inbound: bool
    bound: bool = True
    #: See `ListenerConfig.frame`.
    frame: bytes = b""


class LoadedConfig(Struct, frozen=True):
    """A checked bootstrap in parts. `bootstrap` lacks the static listeners and clusters, which are beside it.

    `dns_clusters` are the places in `clusters` of those that need resolution.
    """

    bootstrap: bytes
    clusters: list[tuple[str, bytes]]
    listeners: list[ListenerPlan]
    dns_clusters: list[int]
    layers: tuple[Layer, ...]
    #: Those that some TLS context refers to.
    secrets: tuple[SecretPlan, ...] = ()
    #: What the runtime, clusters and listeners want of a control plane.
    runtime_wants: tuple[ResourceWant, ...] = ()
    cluster_wants: tuple[ResourceWant, ...] = ()
    listener_wants: tuple[ResourceWant, ...] = ()
    #: Serialised `DnsCacheConfig`s.
    dns_caches: tuple[bytes, ...] = ()
    #: Whether the bootstrap has `dynamic_resources`.
    discovers: bool = False
    #: The places in `clusters` of those with active health checks.
    checked_clusters: tuple[int, ...] = ()
    #: Of the application log; "" leaves it to the command line.
    log_format: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def dynamic(self) -> bool:
        """Whether anything comes from a control plane."""
        return self.discovers or bool(self.runtime_wants or self.cluster_wants or self.listener_wants)


def plan_of(name: str, serialized: bytes, config: ListenerConfig) -> ListenerPlan:
    """What the controller keeps of a compiled listener."""
    inbound = config.traffic_direction == INBOUND
    return ListenerPlan(name, serialized, config.addresses, inbound, config.bind_to_port, config.frame)


class _Child:
    """A function that runs in a forked process, whose memory goes with it. Fork while no thread runs."""

    def __init__(self, work: Callable[[], Any]) -> None:
        read_end, write_end = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(read_end)
            status = 1
            try:
                gc.disable()
                with os.fdopen(write_end, "wb") as pipe:
                    pickle.dump(work(), pipe, protocol=pickle.HIGHEST_PROTOCOL)
                status = 0
            except Exception as error:
                logger.critical("unexpected: %r", error, exc_info=error)
            finally:
                os._exit(status)
        os.close(write_end)
        self._pipe = os.fdopen(read_end, "rb")

    def result(self) -> Any:
        """Wait for what the function returned; raises `ConfigError` if the process ended without."""
        with self._pipe:
            outcome = self._pipe.read()
        _process, status = os.waitpid(self._process, 0)
        how = os.waitstatus_to_exitcode(status)
        if how != 0:
            raise ConfigError(
                f"the process that loads the configuration ended with status {how}; "
                "-l debug shows the traceback of an internal error"
            )
        return pickle.loads(outcome)  # noqa: S301  (written by our own child)

    def abandon(self) -> None:
        """End the process."""
        self._pipe.close()
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)


class LoadingChild:
    """`load` in a child process."""

    def __init__(self, options: Options) -> None:
        self._child = _Child(lambda: _outcome(options))

    def result(self) -> LoadedConfig:
        """Wait for the config; raises `ConfigError` as `load` does."""
        result = self._child.result()
        if isinstance(result, LoadedConfig):
            return result
        raise ConfigError(result)

    def abandon(self) -> None:
        """Nobody wants the config any more."""
        self._child.abandon()


def _outcome(options: Options) -> LoadedConfig | list[Problem]:
    try:
        return load(options)
    except ConfigError as error:
        return list(error.problems)


def load(options: Options, current: Current | None = None) -> LoadedConfig:
    """Read, merge, check and compile; raises `ConfigError` with every problem and its place.

    With `current`, what cannot be changed in a proxy that runs with that is a problem too.
    """
    from proxy.config.loader import (
        MAX_PROBLEMS,
        IncompleteError,
        LoadOptions,
        in_order,
        load_merged_bootstrap,
    )

    sources = _sources(options)
    try:
        loaded = load_merged_bootstrap(
            sources, options=LoadOptions(allow_unknown_fields=options.allow_unknown_static_fields)
        )
    except IncompleteError as error:
        further = _further_problems(error.loaded, error.problems, options)
        if not further or len(error.problems) >= MAX_PROBLEMS:
            raise ConfigError(error.problems) from None
        raise ConfigError(in_order([*error.problems, *further], sources[-1][1])) from None
    config, problems = _compile(loaded, options)
    if not problems and current is not None:
        from proxy.app.unchangeable import unchangeable  # only a reload asks

        found = unchangeable(current, loaded.message, config.clusters)
        problems = list(map(loaded.positions.place, found))
    if problems:
        raise ConfigError(in_order(problems, sources[-1][1]))
    return config


def _further_problems(loaded: Loaded, known: Sequence[Problem], options: Options) -> list[Problem]:
    """What compiling finds beside the problems that are known already, as far as it gets."""
    try:
        _, problems = _compile(loaded, options, check_references=not any(map(_hides_a_cluster, known)))
    except Exception:  # noqa: BLE001  (it may rely on what the check has just refused)
        return []
    return [
        problem for problem in problems if not any(_concerns(problem.path, other.path) for other in known)
    ]


def _hides_a_cluster(problem: Problem) -> bool:
    """Whether the name of a cluster may have been lost."""
    return re.fullmatch(r"(static_resources(\.clusters(\[\d+\](\.name)?)?)?)?", problem.path) is not None


def _concerns(path: str, other: str) -> bool:
    """Whether one of two paths leads to or through the other."""
    short, long = sorted((path, other), key=len)
    return long.startswith(short) and (len(long) == len(short) or not short or long[len(short)] in ".[")


def _compile(
    loaded: Loaded, options: Options, *, check_references: bool = True
) -> tuple[LoadedConfig, list[Problem]]:
    """All parts of a bootstrap that was read, and the problems with their places."""
    bootstrap = loaded.message
    _apply_node(bootstrap.node, options)
    has_ads = bootstrap.dynamic_resources.HasField("ads_config")
    layers_context = CompileContext(has_ads=has_ads)
    layers = compile_layers(bootstrap, layers_context) + overload_layers(bootstrap, layers_context)
    runtime = Runtime(merge(layers, {}))
    context = CompileContext(
        runtime=runtime,
        known_clusters={cluster.name for cluster in bootstrap.static_resources.clusters}
        if check_references
        else None,
        node=bootstrap.node,
        eager=True,
        secrets=_secrets(bootstrap),
        has_ads=has_ads,
        config_sources=config_sources(bootstrap, runtime),
    )
    context.problems += layers_context.problems
    context.warnings += layers_context.warnings
    local = bootstrap.cluster_manager.local_cluster_name
    if local and all(cluster.name != local for cluster in bootstrap.static_resources.clusters):
        context.problem("cluster_manager.local_cluster_name", f"local cluster '{local}' must be defined")
    apart = len(bootstrap.static_resources.clusters) > MANY_CLUSTERS
    compiling = _Child(lambda: _compile_clusters(bootstrap, context)) if apart else None
    listeners = _compile_listeners(bootstrap, context)
    clusters, dns_clusters, problems, warnings, secrets, cluster_wants, dns_caches = (
        compiling.result() if compiling is not None else _compile_clusters(bootstrap, context)
    )
    context.problems += problems
    context.warnings += warnings
    for name in context.dns_caches.keys() & dns_caches.keys():
        if context.dns_caches[name] != dns_caches[name]:
            reason = f"config specified DNS cache '{name}' with different settings than a listener"
            context.problem("static_resources.clusters", reason)
    _check_rest(bootstrap, context)
    log_format = compile_log_format(bootstrap, options.log_format != DEFAULT_LOG_FORMAT, context)
    all_warnings = [*loaded.warnings, *map(loaded.positions.place, context.warnings)]
    static = bootstrap.static_resources.clusters
    checked = tuple(index for index, message in enumerate(static) if message.health_checks)
    bootstrap.static_resources.ClearField("listeners")
    bootstrap.static_resources.ClearField("clusters")
    config = LoadedConfig(
        bootstrap=bootstrap.SerializeToString(),
        clusters=clusters,
        listeners=listeners,
        dns_clusters=dns_clusters,
        layers=layers,
        secrets=tuple(({} if context.secrets is None else context.secrets.plans | secrets).values()),
        runtime_wants=tuple(layers_context.resources.wants.values()),
        cluster_wants=tuple(cluster_wants),
        listener_wants=tuple(context.resources.wants.values()),
        dns_caches=tuple((context.dns_caches | dns_caches).values()),
        discovers=bootstrap.HasField("dynamic_resources"),
        checked_clusters=checked,
        log_format=log_format,
        warnings=[str(warning) for warning in all_warnings],
    )
    return config, [loaded.positions.place(problem) for problem in context.problems]


def _sources(options: Options) -> list[tuple[str | bytes, str]]:
    sources: list[tuple[str | bytes, str]] = []
    if options.config_path:
        try:
            with open(options.config_path, "rb") as file:
                sources.append((file.read(), options.config_path))
        except OSError as error:
            raise ConfigError(f"Invalid path: {options.config_path} ({error.strerror})") from error
    if options.config_yaml:
        sources.append((options.config_yaml, "--config-yaml"))
    if not sources:
        raise ConfigError(
            "At least one of --config-path or --config-yaml should be non-empty; start with -c <config file>"
        )
    return sources


def _apply_node(node: Any, options: Options) -> None:
    """The command line overrides the node of the bootstrap, and the build says what it is, as in Envoy.

    Control planes decide by name and version what they send, so these are those of the Envoy whose place it takes.
    """
    node.user_agent_name = "envoy"
    build = node.user_agent_build_version
    build.Clear()
    build.version.major_number, build.version.minor_number, build.version.patch = ENVOY_VERSION
    build.metadata.update({"outrider.version": VERSION})
    if options.service_node:
        node.id = options.service_node
    if options.service_cluster:
        node.cluster = options.service_cluster
    if options.service_zone:
        node.locality.zone = options.service_zone


def _check_rest(bootstrap: Any, context: CompileContext) -> None:
    """What is compiled again by the controller, which has no place to report problems."""
    from proxy.app.admin_plan import compile_plan  # not needed by the fork server, which shares this module

    compile_plan(bootstrap, context)
    _check_secrets(bootstrap.static_resources.secrets, context)
    _check_dynamic(bootstrap.dynamic_resources, context)
    dynamic = bootstrap.dynamic_resources
    if dynamic.lds_resources_locator or dynamic.cds_resources_locator or bootstrap.node_context_params:
        from proxy.discovery.collections import check_locators  # few bootstraps have any

        check_locators(bootstrap, context)
    check_config_sources(bootstrap, context)
    if bootstrap.cluster_manager.HasField("load_stats_config"):
        load_stats = bootstrap.cluster_manager.load_stats_config
        check_grpc_source(load_stats, "cluster_manager.load_stats_config", context)
    if bootstrap.HasField("hds_config"):
        check_grpc_source(bootstrap.hds_config, "hds_config", context)
    if bootstrap.tracing.HasField("http"):
        from proxy.tracing.config import compile_provider  # few bootstraps name one

        compile_provider(bootstrap.tracing.http, "tracing.http", context)
    event_log_path = bootstrap.cluster_manager.outlier_detection.event_log_path
    if event_log_path:
        from proxy.access_log.descriptors import check_path  # few bootstraps name one

        reason = check_path(event_log_path)
        if reason is not None:
            path = "cluster_manager.outlier_detection.event_log_path"
            context.problem(path, f"unable to open file {event_log_path!r}: {reason}")
    if bootstrap.stats_sinks:
        from proxy.stats_sinks.config import compile_sinks  # few bootstraps have any

        compile_sinks(bootstrap, context)
    if bootstrap.HasField("stats_flush_interval") and bootstrap.stats_flush_on_admin:
        context.problem("stats_flush_on_admin", "stats_flush_interval is set too; only one of them may be")


def _check_dynamic(dynamic: Any, context: CompileContext) -> None:
    for name in ("lds_config", "cds_config"):
        if dynamic.HasField(name):
            checked_source(getattr(dynamic, name), f"dynamic_resources.{name}", context)
    if dynamic.HasField("ads_config"):
        check_api_source(dynamic.ads_config, "dynamic_resources.ads_config", context)


def _check_secrets(secrets: Any, context: CompileContext) -> None:
    """What holds for all static secrets, whether anybody asks for them or not."""
    seen: set[tuple[str, str]] = set()
    for index, secret in enumerate(secrets):
        at = f"static_resources.secrets[{index}]"
        kind = secret.WhichOneof("type")
        if kind is None:
            context.problem(at, "a secret needs a tls_certificate or a validation_context")
        elif (kind, secret.name) in seen:
            context.problem(f"{at}.name", f"Duplicate static {kind} secret name {secret.name}")
        else:
            seen.add((kind, secret.name))


def _compile_listeners(bootstrap: Any, context: CompileContext) -> list[ListenerPlan]:
    plans: dict[str, ListenerPlan] = {}
    places: dict[str, int] = {}
    allows_internal = internal_buffer_bytes(bootstrap) is not None
    for index, message in enumerate(bootstrap.static_resources.listeners):
        path = f"static_resources.listeners[{index}]"
        if message.HasField("internal_listener") and not allows_internal:
            context.problem(f"{path}.internal_listener", NEEDS_EXTENSION)
        config = compile_listener(message, path, context)
        # A listener without a name gets a random one in Envoy; ours is stable, so that stats and logs are.
        key = message.name or f"listener-{index}"
        if key in plans:
            context.warning(
                f"{path}.name", f"replaces static_resources.listeners[{places[key]}], which has the same name"
            )
        plans[key] = plan_of(key, message.SerializeToString(), config)
        places[key] = index
    _refuse_shared_addresses(plans.values(), places, context)
    return list(plans.values())


def _refuse_shared_addresses(
    plans: Iterable[ListenerPlan], places: dict[str, int], context: CompileContext
) -> None:
    bound: dict[str, str] = {}
    for plan in plans:
        for where in plan.addresses:
            address = where.address
            if address.port == 0 and not address.path:
                continue
            other = bound.setdefault(f"{address} udp" if where.udp else address.text, plan.name)
            if other != plan.name:
                context.problem(
                    f"static_resources.listeners[{places[plan.name]}].address",
                    f"error adding listener: '{plan.name}' has duplicate address '{address}' as existing "
                    f"listener '{other}'; give it another address or port",
                )


def _secrets(bootstrap: Any) -> LoadingSecrets | None:
    """What TLS contexts ask for secrets; None where nothing can ask: it costs time to import."""
    if b"transport_sockets.tls" not in bootstrap.static_resources.SerializeToString():
        return None
    from proxy.app.secret_files import LoadingSecrets, static_secrets

    return LoadingSecrets(static_secrets(bootstrap))


def _compile_clusters(
    bootstrap: Any, shared: CompileContext
) -> tuple[
    list[tuple[str, bytes]],
    list[int],
    list[Problem],
    list[Problem],
    dict[str, SecretPlan],
    list[ResourceWant],
    dict[str, bytes],
]:
    """Names with serialised messages, places of DNS clusters, problems, warnings, secrets, wants, DNS caches."""
    from proxy.upstream.cluster import compile_cluster

    context = CompileContext(
        shared.runtime,
        shared.wall_clock,
        shared.known_clusters,
        shared.node,
        True,
        shared.secrets,
        has_ads=shared.has_ads,
        dns_caches=dict(shared.dns_caches),
        config_sources=shared.config_sources,
    )
    clusters: list[tuple[str, bytes]] = []
    resolved: list[int] = []
    first: dict[str, int] = {}
    for index, message in enumerate(bootstrap.static_resources.clusters):
        path = f"static_resources.clusters[{index}]"
        config = compile_cluster(message, path, context)
        if message.name in first:
            context.problem(
                f"{path}.name",
                f"cluster manager: duplicate cluster '{message.name}', "
                f"also static_resources.clusters[{first[message.name]}]",
            )
        first.setdefault(message.name, index)
        if config.dns is not None:
            resolved.append(index)
        clusters.append((message.name, message.SerializeToString()))
    plans = {} if shared.secrets is None else shared.secrets.plans
    wants = list(context.resources.wants.values())
    return clusters, resolved, context.problems, context.warnings, plans, wants, context.dns_caches
