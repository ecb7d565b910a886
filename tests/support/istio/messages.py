"""Short ways to write messages as istiod writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support.configs import TYPE, typed

ADS: dict[str, Any] = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}


def typed_struct(type_name: str, **value: Any) -> dict[str, Any]:
    return typed("udpa.type.v1.TypedStruct", type_url=TYPE + type_name, value=value)


def common_tls_context(alpn: Sequence[str], sds: dict[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
    validation = {
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": n}} for n in names]
    }
    return {
        "alpn_protocols": list(alpn),
        "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": sds}],
        "combined_validation_context": {
            "default_validation_context": validation if names else {},
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": sds},
        },
    }


def agent_secrets() -> dict[str, Any]:
    service = {"envoy_grpc": {"cluster_name": "sds-grpc"}}
    return {
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [service],
            "set_node_on_first_message_only": True,
        },
        "initial_fetch_timeout": "0s",
        "resource_api_version": "V3",
    }
