from __future__ import annotations

import pytest

from proxy.config import extensions
from proxy.config.v2_rules import RULES, v3_type


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "envoy.config.filter.network.http_connection_manager.v2.HttpConnectionManager",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        ),
        ("envoy.config.filter.http.router.v2.Router", "envoy.extensions.filters.http.router.v3.Router"),
        ("envoy.config.filter.http.rbac.v2.RBAC", "envoy.extensions.filters.http.rbac.v3.RBAC"),
        ("envoy.config.accesslog.v2.FileAccessLog", "envoy.extensions.access_loggers.file.v3.FileAccessLog"),
        (
            "envoy.api.v2.auth.UpstreamTlsContext",
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        ),
        ("envoy.api.v2.Cluster", "envoy.config.cluster.v3.Cluster"),
    ],
)
def test_types_of_v2_have_a_v3_name(old: str, new: str) -> None:
    assert v3_type(old) == new


def test_a_v3_type_is_left_alone() -> None:
    assert all(v3_type(name) is None for name in extensions.type_names())


def test_rules_belong_to_messages_of_the_ledger() -> None:
    from proxy.config.ledger import entries

    assert set(RULES) <= set(entries())
