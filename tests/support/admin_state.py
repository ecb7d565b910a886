"""A proxy that the admin server can be asked about, with fixed answers and a list of what it was told to do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import json_format

from proxy.admin.commands import Commands
from proxy.admin.config import AdminConfig
from proxy.admin.discovered import Discovered, DiscoveredType, Readiness
from proxy.admin.http import AdminResponse, parse_target
from proxy.admin.state import (
    ClusterStatus,
    ConfigResource,
    HostStatus,
    ListenerStatus,
    LoadedCertificate,
    ResourceKind,
    RuntimeLayer,
    ServerFacts,
    Thresholds,
)
from proxy.base.address import Address
from proxy.base.errors import UsageError
from proxy.base.event_log import EventLog
from proxy.base.stats import StatsSum, ZeroGroup
from xds_client.resource_types import ResourceType

_MANAGER = http_connection_manager_pb2.HttpConnectionManager(stat_prefix="in")
_MANAGER.route_config.name = "local_route"

BOOTSTRAP = json_format.ParseDict(
    {
        "node": {"id": "n1"},
        "static_resources": {
            "listeners": [
                {
                    "name": "main",
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "hcm",
                                    "typed_config": {
                                        "@type": "type.googleapis.com/" + _MANAGER.DESCRIPTOR.full_name,
                                        **json_format.MessageToDict(_MANAGER),
                                    },
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [{"name": "dead"}, {"name": "svc", "connect_timeout": "1s"}],
            "secrets": [
                {
                    "name": "mine",
                    "tls_certificate": {
                        "certificate_chain": {"filename": "chain.pem"},
                        "private_key": {"inline_string": "PRIVATE"},
                    },
                }
            ],
        },
    },
    bootstrap_pb2.Bootstrap(),
)


class FakeAdminState:
    """An `AdminState` whose attributes tests set and whose `calls` they read."""

    def __init__(self) -> None:
        self.total = StatsSum()
        self.zero: list[ZeroGroup] = []
        self.facts = ServerFacts("0/1.2.3/Clean/RELEASE/OpenSSL", "LIVE", 12.7, 12.7, node=BOOTSTRAP.node)
        self.loaded_certificates: list[LoadedCertificate] = []
        self.layers = [RuntimeLayer("static", {"a.b": "5", "c": "x"}), RuntimeLayer("admin", {"a.b": "6"})]
        self.levels = {"http": "info", "admin": "info"}
        self.unready: dict[str, list[str]] = {}
        self.ready = Readiness()
        self.versions: dict[ResourceType, str] = {}
        self.types: list[DiscoveredType] = []
        self.found: list[Discovered] = []
        self.dynamic: dict[ResourceKind, list[ConfigResource]] = {}
        self.calls: list[Any] = []
        self.event_log = EventLog(lambda: 1.0)

    def server_facts(self) -> ServerFacts:
        return self.facts

    async def refresh_stats(self) -> StatsSum:
        return self.total

    def zero_groups(self) -> list[ZeroGroup]:
        return self.zero

    async def cluster_statuses(self) -> list[ClusterStatus]:
        return [
            ClusterStatus("dead", [], default=Thresholds(max_connections=7)),
            ClusterStatus(
                "svc",
                [
                    HostStatus(
                        Address("127.0.0.1", 81),
                        {"cx_total": 2, "rq_active": 1},
                        hostname="one",
                        health_flags=("/failed_active_hc", "/failed_eds_health"),
                        weight=3,
                        region="r",
                        zone="z",
                        canary=True,
                        success_rate=98.5,
                    ),
                    HostStatus(Address(path="/run/x.sock"), region="r", zone="z"),
                ],
                outlier=(99, 90, -1, -1),
            ),
        ]

    def listener_statuses(self) -> list[ListenerStatus]:
        return [ListenerStatus("main", [Address("0.0.0.0", 80), Address("::1", 80)])]

    def bootstrap(self) -> tuple[bytes, float]:
        return BOOTSTRAP.SerializeToString(), 1_700_000_000.125

    def resources(self, kind: ResourceKind) -> list[ConfigResource]:
        messages = getattr(BOOTSTRAP.static_resources, kind, ())
        static = [ConfigResource(one.name, one.SerializeToString(), 1_700_000_000) for one in messages]
        return static + self.dynamic.get(kind, [])

    def section_version(self, kind: ResourceType) -> str:
        return self.versions.get(kind, "")

    def readiness(self) -> Readiness:
        return self.ready

    def discovered_types(self) -> list[DiscoveredType]:
        return self.types

    def discovered(self) -> list[Discovered]:
        return self.found

    def unready_targets(self) -> Mapping[str, Sequence[str]]:
        return self.unready

    def runtime_layers(self) -> list[RuntimeLayer]:
        return self.layers

    def modify_runtime(self, values: Mapping[str, str]) -> None:
        if self.layers[-1].name != "admin":
            raise UsageError("no admin layer specified")
        self.calls.append(("modify_runtime", dict(values)))

    def certificates(self) -> list[LoadedCertificate]:
        return self.loaded_certificates

    def log_levels(self) -> dict[str, str]:
        return self.levels

    def set_log_levels(self, levels: Mapping[str, str]) -> None:
        self.levels = {**self.levels, **levels}

    def reset_counters(self) -> None:
        self.total.reset_counters()

    def fail_health_checks(self, failed: bool) -> None:
        self.calls.append(("fail_health_checks", failed))

    def drain_listeners(self, *, graceful: bool, skip_exit: bool, inbound_only: bool) -> None:
        self.calls.append(("drain_listeners", graceful, skip_exit, inbound_only))

    def reopen_logs(self) -> None:
        self.calls.append("reopen_logs")

    def quit(self) -> None:
        self.calls.append("quit")

    def events(self) -> EventLog:
        return self.event_log

    def process_ids(self) -> list[int]:
        return []


def collected(
    counters: dict[str, int] | None = None,
    gauges: dict[str, int] | None = None,
    histograms: dict[str, dict[int, int]] | None = None,
    texts: dict[str, str] | None = None,
) -> dict[str, Any]:
    """What `proxy.base.stats.collect` returns."""
    return {
        "counters": counters or {},
        "gauges": gauges or {},
        "shared_counters": {},
        "shared_gauges": {},
        "histograms": histograms or {},
        "texts": texts or {},
    }


async def text_of(response: AdminResponse) -> str:
    """The whole body."""
    if isinstance(response.body, str):
        return response.body
    return "".join([chunk async for chunk in response.body])


def ask(
    state: FakeAdminState,
    target: str,
    method: str = "GET",
    form: str = "",
    config: AdminConfig | None = None,
) -> tuple[int, str, str]:
    """Status, content type and body of one command."""

    async def run() -> tuple[int, str, str]:
        commands = Commands(config or AdminConfig())
        response = await commands.answer(parse_target(method, target, form), state)
        return response.status, response.content_type, await text_of(response)

    return asyncio.run(run())
