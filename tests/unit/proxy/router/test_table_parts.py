"""Route tables in parts: what a worker makes of slices must be what the whole table would be."""

from __future__ import annotations

import random
from typing import Any

import pytest
from envoy.config.route.v3 import route_pb2

from proxy.config.context import CompileContext
from proxy.config.resources import ResourceSource
from proxy.router.discovered_table import discovered_table
from proxy.router.domain_index import DomainIndex
from proxy.router.route_table import RouteTable, compile_route_table
from proxy.router.table_parts import CutTable, Slice, TableParts, TableUpdates, cut

SLICE_BYTES = 200


def table_of(*hosts: tuple[str, list[str], str], **fields: Any) -> Any:
    """A `RouteConfiguration` of (name, domains, cluster)."""
    table = route_pb2.RouteConfiguration(name="t", **fields)
    for name, domains, cluster in hosts:
        host = table.virtual_hosts.add(name=name, domains=domains)
        route = host.routes.add()
        route.match.prefix = "/"
        route.route.cluster = cluster
    return table


class Worker:
    """A worker's source of the table, fed with the slices of the controller's side."""

    def __init__(self) -> None:
        self.updates = TableUpdates()
        self.source = ResourceSource("ROUTE/0/t")
        self.sent: list[Slice] = []

    def take(self, slices: Any) -> RouteTable:
        for one in slices:
            self.sent.append(one)
            parts = self.updates.take("t", one)
            if parts is not None:
                self.source.set(parts)
        return discovered_table(self.source, CompileContext())


def names(table: RouteTable, *authorities: str) -> list[str | None]:
    found = [table.virtual_host(authority) for authority in authorities]
    return [None if host is None else host.name for host in found]


def test_the_head_and_the_virtual_hosts_make_the_table_again() -> None:
    table = table_of(("a", ["a.example"], "c"), ("b", ["*"], "d"), ignore_port_in_host_matching=True)
    table.internal_only_headers.append("x-internal")
    head, hosts = cut(table.SerializeToString())
    joined = route_pb2.RouteConfiguration.FromString(head)
    assert not joined.virtual_hosts
    for host in hosts:
        joined.virtual_hosts.add().ParseFromString(host)
    assert joined == table


def test_a_table_in_slices_finds_the_same_virtual_hosts() -> None:
    hosts = [(f"v{number}", [f"V{number}.example", f"*.v{number}.example"], "c") for number in range(40)]
    message = table_of(*hosts, ("prefix", ["prefix.*"], "c"), ("rest", ["*"], "c"))
    worker = Worker()
    table = worker.take(CutTable().update(message.SerializeToString(), SLICE_BYTES))
    assert len(worker.sent) > 5
    whole = compile_route_table(message, "", CompileContext())
    asked = ["v3.example", "V39.EXAMPLE", "x.v7.example", "prefix.org", "unknown", "v3.example:80"]
    assert names(table, *asked) == names(whole, *asked)


def test_an_update_sends_only_what_has_changed_and_keeps_what_was_compiled() -> None:
    hosts = [(f"v{number}", [f"v{number}.example"], "c") for number in range(40)]
    cut_table, worker = CutTable(), Worker()
    first = worker.take(cut_table.update(table_of(*hosts).SerializeToString(), SLICE_BYTES))
    kept, changed = first.virtual_host("v1.example"), first.virtual_host("v2.example")
    worker.sent.clear()
    hosts[2] = ("v2", ["v2.example", "other.example"], "d")
    second = worker.take(cut_table.update(table_of(*hosts).SerializeToString(), SLICE_BYTES))
    assert sum(len(added) for _removed, added, _head, _ids in worker.sent) == 1
    assert second.virtual_host("v1.example") is kept
    assert second.virtual_host("v2.example") is not changed
    assert names(second, "other.example") == ["v2"]
    # Requests under way go on with the former table.
    assert first.virtual_host("v2.example") is changed
    assert names(first, "other.example") == [None]


def test_fields_of_the_table_itself_concern_every_virtual_host() -> None:
    cut_table, worker = CutTable(), Worker()
    before = table_of(("a", ["a.example"], "c"))
    first = worker.take(cut_table.update(before.SerializeToString(), SLICE_BYTES)).virtual_host("a.example")
    before.max_direct_response_body_size_bytes.value = 7
    second = worker.take(cut_table.update(before.SerializeToString(), SLICE_BYTES)).virtual_host("a.example")
    assert second is not first


def test_half_an_update_changes_nothing() -> None:
    hosts = [(f"v{number}", [f"v{number}.example"], "c") for number in range(40)]
    cut_table, worker = CutTable(), Worker()
    worker.take(cut_table.update(table_of(*hosts[:20]).SerializeToString(), SLICE_BYTES))
    slices = list(cut_table.update(table_of(*hosts[20:]).SerializeToString(), SLICE_BYTES))
    assert names(worker.take(slices[:-1]), "v0.example", "v30.example") == ["v0", None]
    assert names(worker.take(slices[-1:]), "v0.example", "v30.example") == [None, "v30"]


def test_a_new_worker_gets_the_whole_table() -> None:
    cut_table = CutTable()
    hosts = [(f"v{number}", [f"v{number}.example"], "c") for number in range(10)]
    Worker().take(cut_table.update(table_of(*hosts).SerializeToString(), SLICE_BYTES))
    late = Worker().take(cut_table.whole(SLICE_BYTES))
    assert names(late, "v0.example", "v9.example") == ["v0", "v9"]


@pytest.mark.parametrize("reads", [True, False])
def test_whether_anything_reads_request_ids_is_told(reads: bool) -> None:
    message = table_of(("a", ["*"], "c"))
    if reads:
        message.virtual_hosts[0].request_headers_to_remove.append("X-Request-Id")
    table = Worker().take(CutTable().update(message.SerializeToString(), SLICE_BYTES))
    assert table.reads_ids is reads


def test_any_sequence_of_updates_ends_like_the_last_table_alone() -> None:
    chance = random.Random(5)
    cut_table, worker = CutTable(), Worker()
    forms = [*(f"d{number}.example" for number in range(12)), "*", "*.example", "d1.*", "*d3.example", "d*"]
    for _ in range(150):
        domains = chance.sample(forms, chance.randint(1, len(forms)))
        hosts = []
        while domains:
            size = chance.randint(1, 3)
            hosts.append((f"v{chance.randint(0, 5)}", domains[:size], f"c{chance.randint(0, 1)}"))
            domains = domains[size:]
        message = table_of(*hosts)
        table = worker.take(cut_table.update(message.SerializeToString(), SLICE_BYTES))
        whole = compile_route_table(message, "", CompileContext())
        asked = [
            *(f"d{number}.example" for number in range(12)),
            "x.example",
            "d1.org",
            "xd3.example",
            "dx",
            "y",
        ]
        assert names(table, *asked) == names(whole, *asked)


def test_a_forgotten_table_begins_anew() -> None:
    cut_table, worker = CutTable(), Worker()
    worker.take(cut_table.update(table_of(("a", ["*"], "c")).SerializeToString(), SLICE_BYTES))
    worker.updates.forget("t")
    parts = [worker.updates.take("t", one) for one in CutTable().whole(SLICE_BYTES)]
    assert isinstance(parts[-1], TableParts)
    assert not parts[-1].hosts


def test_a_domain_that_comes_twice_is_told_and_the_first_stays() -> None:
    index = DomainIndex()
    assert [index.add(domain, 1) for domain in ("a", "*.b", "c.*", "*")] == [False] * 4
    assert [index.add(domain, 2) for domain in ("a", "*.b", "c.*", "*")] == [True] * 4
    assert [index.find(host) for host in ("a", "x.b", "c.x", "z")] == [1] * 4
    for domain in ("a", "*.b", "c.*", "*"):
        index.remove(domain)
    assert [index.find(host) for host in ("a", "x.b", "c.x", "z")] == [None] * 4
    assert not index.any
