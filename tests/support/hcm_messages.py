"""Connection managers for unit tests, compiled from dictionaries."""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.config.extensions import message_class, type_name_of
from proxy.hcm.config import HcmConfig, compile_hcm
from tests.support.configs import route, typed, virtual_host

#: Named by its descriptor, so that the message is known to the parser.
_ROUTER = router_pb2.Router.DESCRIPTOR.full_name


def manager(**fields: Any) -> tuple[HcmConfig, list[str]]:
    """A compiled HttpConnectionManager with one route to `origin`, and what was wrong with it."""
    message = {
        "stat_prefix": "ingress",
        "route_config": {"name": "local", "virtual_hosts": [virtual_host([route()])]},
        "http_filters": [{"name": "router", "typed_config": typed(_ROUTER)}],
        **fields,
    }
    _import_types(message)
    context = CompileContext()
    parsed = json_format.ParseDict(message, hcm_pb2.HttpConnectionManager())
    return compile_hcm(parsed, "hcm", context), [str(problem) for problem in context.problems]


def _import_types(value: Any) -> None:
    """`json_format` finds only messages that have been imported."""
    if isinstance(value, dict):
        message_class(type_name_of(value.get("@type", "")))
    for one in value.values() if isinstance(value, dict) else value:
        if isinstance(one, dict | list):
            _import_types(one)
