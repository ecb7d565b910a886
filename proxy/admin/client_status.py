"""What `/csds` says of each resource: messages of `envoy.service.status.v3`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from envoy.service.status.v3 import csds_pb2

from proxy.admin.config_dump import set_refusal
from proxy.admin.state import AdminState, ConfigResource
from xds_client.api import ClientStatus
from xds_client.resource_types import ResourceType

#: `csds.v3.ConfigStatus` of what the proxy itself says of a resource.
_CONFIG_STATUS: Final = {
    ClientStatus.REQUESTED: csds_pb2.NOT_SENT,
    ClientStatus.DOES_NOT_EXIST: csds_pb2.NOT_SENT,
    ClientStatus.TIMEOUT: csds_pb2.NOT_SENT,
    ClientStatus.ACKED: csds_pb2.SYNCED,
    ClientStatus.NACKED: csds_pb2.ERROR,
    ClientStatus.RECEIVED_ERROR: csds_pb2.ERROR,
}


def xds_configs(state: AdminState) -> Iterator[Any]:
    """`GenericXdsConfig` of each static resource and then of each that a control plane has or was asked for."""
    for kind, resources in (
        (ResourceType.CLUSTER, state.resources("clusters")),
        (ResourceType.LISTENER, state.resources("listeners")),
        (ResourceType.SECRET, state.resources("secrets")),
    ):
        for resource in resources:
            if not resource.dynamic:
                yield _static_config(kind, resource)
    for one in state.discovered():
        entry = csds_pb2.ClientConfig.GenericXdsConfig(
            type_url=one.type.type_url,
            name=one.name,
            version_info=one.version,
            client_status=one.status.value,
            config_status=_CONFIG_STATUS.get(one.status, csds_pb2.UNKNOWN),
        )
        # A list of scopes, or a table with virtual hosts, is put together here: no resource of that type.
        if one.serialized and one.type not in {ResourceType.SCOPED_ROUTE, ResourceType.VIRTUAL_HOST}:
            entry.xds_config.type_url = one.type.type_url
            entry.xds_config.value = one.serialized
        if one.updated:
            entry.last_updated.FromMilliseconds(int(one.updated * 1000))
        if one.refusal is not None:
            set_refusal(entry.error_state, one.refusal, one.type.type_url)
        yield entry


def _static_config(kind: ResourceType, resource: ConfigResource) -> Any:
    entry = csds_pb2.ClientConfig.GenericXdsConfig(
        type_url=kind.type_url, name=resource.name, is_static_resource=True, config_status=csds_pb2.SYNCED
    )
    entry.xds_config.type_url = kind.type_url
    entry.xds_config.value = resource.serialized
    entry.last_updated.FromMilliseconds(int(resource.updated * 1000))
    return entry
