"""Secrets in files: when a change is taken, and when the former pair stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from proxy.app.secret_watch import SecretWatch
from proxy.base.stats import StatRegistry, collect
from proxy.connection.tls_secrets import CERTIFICATE, SecretPlan
from tests.support.certs import Authority, Issued

SDS = """
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: {name}
  tls_certificate:
    certificate_chain: {{filename: {directory}/tls.crt}}
    private_key: {{filename: {directory}/tls.key}}
"""


class Mounted:
    """A directory as Kubernetes mounts a secret: `tls.crt` and `tls.key` below a link that is swapped."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.directory = directory
        self.count = 0
        self.swap(self.authority.issue("first.test"))
        for name in ("tls.crt", "tls.key"):
            (directory / name).symlink_to(Path("..data") / name)
        self.sds = directory / "sds.yaml"
        self.sds.write_text(SDS.format(name="server", directory=directory))
        self.changes: list[bytes] = []
        self.stats = StatRegistry()
        plan = SecretPlan("k", "server", CERTIFICATE, str(self.sds))
        self.watch = SecretWatch([plan], self.stats, lambda _key, value: self.changes.append(value))

    def swap(self, issued: Issued) -> None:
        self.count += 1
        version = self.directory / f"..version-{self.count}"
        version.mkdir()
        (version / "tls.crt").write_bytes(issued.certificate.read_bytes())
        (version / "tls.key").write_bytes(issued.key.read_bytes())
        new = self.directory / "..data_tmp"
        new.symlink_to(version.name)
        os.replace(new, self.directory / "..data")

    def key_in_use(self) -> bytes:
        secret = secret_pb2.Secret.FromString(self.changes[-1])
        return bytes(secret.tls_certificate.private_key.inline_bytes)

    def numbers(self) -> dict[str, int]:
        found = collect(self.stats)["counters"]
        names = ("update_success", "update_rejected", "key_rotation_failed")
        return {name: found.get(f"sds.server.{name}", 0) for name in names}


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path)


def test_a_swapped_link_is_a_change(mounted: Mounted) -> None:
    mounted.watch.look()
    assert len(mounted.changes) == 1
    second = mounted.authority.issue("second.test")
    mounted.swap(second)
    mounted.watch.look()
    assert len(mounted.changes) == 2
    assert mounted.key_in_use() == second.key.read_bytes()


def test_a_pair_written_in_place_is_taken_when_it_fits(mounted: Mounted) -> None:
    second = mounted.authority.issue("second.test")
    before = mounted.key_in_use()
    (mounted.directory / "tls.crt").write_bytes(second.certificate.read_bytes())
    mounted.watch.look()
    assert mounted.key_in_use() == before
    assert mounted.numbers()["key_rotation_failed"] == 0
    (mounted.directory / "tls.key").write_bytes(second.key.read_bytes())
    mounted.watch.look()
    assert mounted.key_in_use() == second.key.read_bytes()
    assert mounted.numbers() == {"update_success": 2, "update_rejected": 0, "key_rotation_failed": 0}


def test_a_pair_that_stays_bad_is_counted_once(mounted: Mounted) -> None:
    (mounted.directory / "tls.key").write_bytes(mounted.authority.issue("other.test").key.read_bytes())
    for _ in range(4):
        mounted.watch.look()
    assert len(mounted.changes) == 1
    assert mounted.numbers() == {"update_success": 1, "update_rejected": 0, "key_rotation_failed": 1}


def test_a_resource_of_another_name_is_rejected(mounted: Mounted) -> None:
    renamed = mounted.directory / "new.yaml"
    renamed.write_text(SDS.format(name="other", directory=mounted.directory))
    os.replace(renamed, mounted.sds)
    mounted.watch.look()
    mounted.watch.look()
    assert len(mounted.changes) == 1
    assert mounted.numbers()["update_rejected"] == 1


def test_a_file_that_goes_leaves_the_pair_in_use(mounted: Mounted) -> None:
    (mounted.directory / "..data").unlink()
    mounted.watch.look()
    mounted.watch.look()
    assert len(mounted.changes) == 1
    assert mounted.watch.values()
