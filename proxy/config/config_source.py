"""`core.v3.ConfigSource`: checked where it stands, and brought into one form, so that equal ones are equal."""

from __future__ import annotations

import os
from typing import Any, Final

_VERSION_2: Final = 1  # core.v3.ApiVersion
_API_TYPES: Final = ("REST", "GRPC", "DELTA_GRPC")
AGGREGATED: Final = ("AGGREGATED_GRPC", "AGGREGATED_DELTA_GRPC")
"""The kinds of `ApiConfigSource` that carry every type, for `Bootstrap.config_sources`."""


def checked_source(message: Any, path: str, ctx: Any) -> bytes:
    """The serialised source; what is wrong with it goes to `ctx`, a `CompileContext`."""
    refuse_version_2(message, path, ctx)
    which = message.WhichOneof("config_source_specifier")
    match which:
        case "ads":
            if ctx.has_ads is False:
                ctx.problem(f"{path}.ads", "the bootstrap has no dynamic_resources.ads_config")
        case "path" | "path_config_source":
            file = message.path if which == "path" else message.path_config_source.path
            if not os.path.exists(file):
                ctx.problem(
                    f"{path}.{which}",
                    f"paths must refer to an existing path in the system: '{file}' does not exist",
                )
        case "api_config_source":
            check_api_source(message.api_config_source, f"{path}.api_config_source", ctx)
        case None:
            ctx.problem(path, "needs ads, api_config_source or path_config_source")
    serialized: bytes = message.SerializeToString(deterministic=True)
    return serialized


def refuse_version_2(message: Any, path: str, ctx: Any) -> None:
    """What is wrong with the version of a `ConfigSource` goes to `ctx`, a `CompileContext`."""
    if message.resource_api_version == _VERSION_2:
        ctx.problem(f"{path}.resource_api_version", "V2 is no longer spoken; set V3")


def check_grpc_source(api: Any, path: str, ctx: Any) -> None:
    """Check an `ApiConfigSource` that is a gRPC service of any kind; problems go to `ctx`, a `CompileContext`."""
    kind = api_type(api)
    if kind not in {"GRPC", "DELTA_GRPC"}:
        ctx.problem(f"{path}.api_type", f"{kind} is not gRPC; use GRPC")
        return
    check_api_source(api, path, ctx)


def check_api_source(api: Any, path: str, ctx: Any) -> None:
    """Check an `ApiConfigSource`; problems go to `ctx`, a `CompileContext`."""
    kind = api_type(api)
    if kind not in _API_TYPES:
        ctx.problem(f"{path}.api_type", f"{kind} is not for a single resource type; use GRPC or DELTA_GRPC")
    check_server(api, path, ctx)


def api_type(api: Any) -> str:
    """The name of the kind of an `ApiConfigSource`."""
    name: str = api.DESCRIPTOR.fields_by_name["api_type"].enum_type.values_by_number[api.api_type].name
    return name


def check_server(api: Any, path: str, ctx: Any) -> None:
    """Check where an `ApiConfigSource` of any kind leads; problems go to `ctx`, a `CompileContext`."""
    kind = api_type(api)
    if api.transport_api_version == _VERSION_2:
        ctx.problem(f"{path}.transport_api_version", "V2 is no longer spoken; set V3")
    if kind == "REST":
        if len(api.grpc_services):
            ctx.problem(f"{path}.grpc_services", "REST takes its servers from cluster_names")
        if len(api.cluster_names) != 1:
            ctx.problem(f"{path}.cluster_names", "REST needs exactly one cluster")
        names = list(api.cluster_names)
    else:
        if len(api.cluster_names):
            ctx.problem(f"{path}.cluster_names", f"{kind} takes its servers from grpc_services")
        if not len(api.grpc_services):
            ctx.problem(f"{path}.grpc_services", f"{kind} needs a gRPC service")
        names = [one.envoy_grpc.cluster_name for one in api.grpc_services if one.HasField("envoy_grpc")]
    for name in names:
        if ctx.known_clusters is not None and name not in ctx.known_clusters:
            ctx.problem(path, f"the cluster {name!r} of the control plane is not a static cluster")
