"""What a bootstrap takes listeners and clusters from: everything, or the collection of an `xdstp://` locator.

Source: `Bootstrap.DynamicResources.lds_resources_locator`, `Bootstrap.node_context_params`; xDS TP1,
"xDS.NodeContextParams".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Final

from google.protobuf import json_format

from xds_client.api import WILDCARD
from xds_client.names import SCHEME, parse
from xds_client.resource_types import ResourceType

#: Type and fields of `dynamic_resources`: source and locator.
LISTS: Final = (
    (ResourceType.LISTENER, "lds_config", "lds_resources_locator"),
    (ResourceType.CLUSTER, "cds_config", "cds_resources_locator"),
)


def list_names(bootstrap: Any) -> dict[ResourceType, str]:
    """The name that stands for all listeners, and for all clusters, of a bootstrap that was checked."""
    context = node_context(bootstrap.node, bootstrap.node_context_params)
    dynamic = bootstrap.dynamic_resources
    return {
        kind: str(parse(locator).within(context)) if (locator := getattr(dynamic, field)) else WILDCARD
        for kind, _, field in LISTS
    }


def check_locators(bootstrap: Any, context: Any) -> None:
    """What is wrong with the locators of a bootstrap and with what goes into them goes to a `CompileContext`."""
    for index, param in enumerate(bootstrap.node_context_params):
        if param not in _PARAMETERS:
            context.warning(
                f"node_context_params[{index}]", f"{param!r} is nothing of a node; it is left out"
            )
    dynamic = bootstrap.dynamic_resources
    for kind, source, field in LISTS:
        locator = getattr(dynamic, field)
        if locator:
            for reason in _problems(locator, kind, getattr(dynamic, source), source):
                context.problem(f"dynamic_resources.{field}", reason)


def _problems(locator: str, kind: ResourceType, source: Any, field: str) -> Iterator[str]:
    if not locator.startswith(SCHEME):
        yield f"only locators that begin with {SCHEME} are supported"
        return
    if "#" in locator:
        yield "directives, after '#', are not supported"
        return
    try:
        name = parse(locator)
    except ValueError as error:
        yield str(error)
        return
    if name.type != kind.value:
        yield f"xdstp:// type does not match {kind.value} in {locator}"
    api = source.api_config_source
    delta = source.HasField("api_config_source") and api.api_type == api.DELTA_GRPC
    if not source.HasField("ads") and not delta:
        yield f"a collection comes from ads, or from an api_config_source of DELTA_GRPC; {field} is neither"


def node_context(node: Any, params: Iterable[str]) -> dict[str, str]:
    """The context parameters that tell of a `core.v3.Node`; names that mean nothing are left out, as in Envoy."""
    context: dict[str, str] = {}
    for param in params:
        read = _PARAMETERS.get(param)
        if read is not None:
            found = read(node)
            key = f"xds.node.{param}"
            context |= {key: found} if isinstance(found, str) else _metadata(found, key)
    return context


def _build_version(node: Any) -> str:
    version = node.user_agent_build_version.version
    return f"{version.major_number}.{version.minor_number}.{version.patch}"


#: What of a node a parameter tells: a text, or metadata whose fields are parameters of their own.
_PARAMETERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **{
        path: attrgetter(path)
        for path in (
            *("id", "cluster", "user_agent_name", "user_agent_version"),
            *("locality.region", "locality.zone", "locality.sub_zone"),
            *("metadata", "user_agent_build_version.metadata"),
        )
    },
    "user_agent_build_version.version": _build_version,
}


def _metadata(metadata: Any, key: str) -> dict[str, str]:
    return {f"{key}.{name}": _json(value) for name, value in metadata.fields.items()}


def _json(value: Any) -> str:
    tree = json_format.MessageToDict(value)
    text = json.dumps(_plain(tree), separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    # As the JSON of protobuf is written in C++.
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _plain(tree: Any) -> Any:
    """Numbers without a needless fraction."""
    match tree:
        case float() if tree.is_integer():
            return int(tree)
        case dict():
            return {name: _plain(value) for name, value in tree.items()}
        case list():
            return [_plain(value) for value in tree]
        case _:
            return tree
