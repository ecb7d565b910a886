"""Secrets are looked at from the first one on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2

from proxy.app.followed_secrets import FollowedSecrets
from proxy.base.stats import StatRegistry
from proxy.connection.tls_secrets import CERTIFICATE, SecretPlan
from tests.support.certs import Authority


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    issued = Authority(tmp_path).issue("a.test")
    path = tmp_path / "sds.yaml"
    path.write_text(
        "resources:\n"
        '- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n'
        "  name: s\n"
        "  tls_certificate:\n"
        f"    certificate_chain: {{filename: {issued.certificate}}}\n"
        f"    private_key: {{filename: {issued.key}}}\n"
    )
    return str(path)


def test_without_secrets_nobody_looks() -> None:
    loop: Any = SimpleNamespace()
    secrets = FollowedSecrets(loop, bootstrap_pb2.Bootstrap(), StatRegistry(), (), lambda *_: None)
    secrets.start()
    assert (secrets.watch, dict(secrets.values()), secrets.resources()) == (None, {}, [])
    secrets.close()


def test_those_of_the_bootstrap_are_told_at_once(secret_file: str) -> None:
    told: list[str] = []
    plan = SecretPlan("key of s", "s", CERTIFICATE, file=secret_file)
    loop: Any = SimpleNamespace()
    secrets = FollowedSecrets(
        loop, bootstrap_pb2.Bootstrap(), StatRegistry(), (plan,), lambda key, _: told.append(key)
    )
    assert told == [plan.key]
    assert list(secrets.values()) == [plan.key]
