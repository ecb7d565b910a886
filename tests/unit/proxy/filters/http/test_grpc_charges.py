"""The numbers of gRPC requests."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from proxy.base.stats import StatRegistry
from proxy.filters.http import grpc_charges
from proxy.filters.http.grpc_charges import GrpcCharges, charges_of


def test_outcomes_by_method() -> None:
    charges = GrpcCharges("cluster.x.")
    method = charges.method("grpc", ("a.B", "C"))
    for status in ("0", "0", "7", "x", None):
        method.charge(status)
    charges.method("grpc-web", None).charge("0")
    assert charges.counters() == {
        "cluster.x.grpc.a.B.C.0": 2,
        "cluster.x.grpc.a.B.C.7": 1,
        "cluster.x.grpc.a.B.C.x": 1,
        "cluster.x.grpc.a.B.C.success": 2,
        "cluster.x.grpc.a.B.C.failure": 2,
        "cluster.x.grpc.a.B.C.total": 4,
        "cluster.x.grpc-web.0": 1,
        "cluster.x.grpc-web.success": 1,
        "cluster.x.grpc-web.total": 1,
    }


def test_times() -> None:
    charges = GrpcCharges("cluster.x.")
    charges.method("grpc", ("a.B", "C")).record_time(12)
    assert {name: one.counts for name, one in charges.histograms().items()} == {
        "cluster.x.grpc.a.B.C.upstream_rq_time": {12: 1}
    }


def test_clients_cannot_make_any_number_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_charges, "MAX_METHODS", 2)
    charges = GrpcCharges("cluster.x.")
    for number in range(4):
        charges.method("grpc", ("a", str(number))).charge("0")
    assert {name for name in charges.counters() if name.endswith("total")} == {
        "cluster.x.grpc.a.0.total",
        "cluster.x.grpc.a.1.total",
        "cluster.x.grpc.total",
    }


def test_servers_cannot_make_any_number_of_statuses() -> None:
    method = GrpcCharges("cluster.x.").method("grpc", None)
    for number in range(1000):
        method.charge(str(number))
    assert method.counts["total"] == 1000
    assert len(method.counts) < 70


def test_filters_share_the_numbers_of_a_cluster() -> None:
    registry = StatRegistry()
    cluster = SimpleNamespace(stats=SimpleNamespace(prefix="cluster.x."))
    assert charges_of(registry, cluster) is charges_of(registry, cluster)
    assert registry.groups() == [charges_of(registry, cluster)]
