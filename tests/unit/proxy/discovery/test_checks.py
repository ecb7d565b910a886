from __future__ import annotations

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from proxy.base.errors import ConfigError
from proxy.config.context import CompileContext
from proxy.discovery.checks import check
from xds_client.resource_types import ResourceType

VALIDATION = secret_pb2.Secret(name="s", validation_context={})
GENERIC = secret_pb2.Secret(name="s", generic_secret={"secret": {"inline_string": "x"}})


def test_a_secret_is_of_the_kind_that_is_asked_for() -> None:
    body = VALIDATION.SerializeToString()
    terms = frozenset([("validation_context",)])
    checked = check(ResourceType.SECRET, body, "s", CompileContext(), terms)
    assert secret_pb2.Secret.FromString(checked) == VALIDATION


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (GENERIC, "secret s is a generic_secret, a tls_certificate is needed"),
        (VALIDATION, "secret s is a validation_context, a tls_certificate is needed"),
        (secret_pb2.Secret(name="s"), "secret s is empty, a tls_certificate is needed"),
        (secret_pb2.Secret(name="other"), r"Unexpected SDS secret \(expecting s\): other"),
    ],
)
def test_a_secret_of_another_kind_or_name_is_refused(secret: secret_pb2.Secret, reason: str) -> None:
    terms = frozenset([("tls_certificate",)])
    with pytest.raises(ConfigError, match=reason):
        check(ResourceType.SECRET, secret.SerializeToString(), "s", CompileContext(), terms)
