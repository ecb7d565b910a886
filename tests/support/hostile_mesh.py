"""A proxy under a control plane that sends what no control plane should, and all that a test compares of it."""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import any_pb2

from proxy.control_plane.streams import resource_name
from tests.support.client import get
from tests.support.compare import Difference, DiffersError
from tests.support.envoy import Envoy
from tests.support.known_differences import KNOWN
from tests.support.mesh import (
    ADS,
    cluster,
    endpoints,
    listener,
    mesh_bootstrap,
    route_config,
    stream_of_its_own,
)
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, EDS, LDS, RDS = ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.LISTENER, ResourceType.ROUTE
SDS, RTDS, ECDS = ResourceType.SECRET, ResourceType.RUNTIME, ResourceType.EXTENSION_CONFIG

GARBAGE: Final = b"\xff\xff\xff"

PREFIXES: Final = (
    "control_plane.",
    "cluster_manager.",
    "listener_manager.",
    "cluster.c.",
    "cluster.d.",
    "http.ingress.rds.",
    "sds.",
    "runtime.",
    "extension_config_discovery.",
)
_OF_CLUSTERS: Final = (
    "update_",
    "membership_",
    "version",
    "init_fetch_timeout",
    "assignment_",
    "max_host_weight",
)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_LISTS: Final = ("s.update_attempt", "s.update_success", "s.config_reload")
_QUIET_SECONDS: Final = 0.25
#: In which both sides must come to look alike.
_ALIKE_SECONDS: Final = 8.0
#: Times; what depends on when requests leave; what one of the proxies does not count at all.
_NOT_COMPARED: Final = (
    "update_time",
    "config_reload_time_ms",
    "runtime.num_layers",
    "control_plane.pending_requests",
    "listener_manager.lds.update_failure",
    "cluster_manager.cds.update_failure",
)


def packed(message: Any) -> Any:
    """The message in an Any."""
    wrapper = any_pb2.Any()
    wrapper.Pack(message)
    return wrapper


def of_type(type_url: str, value: bytes = b"") -> Any:
    """An Any of these parts."""
    return any_pb2.Any(type_url=type_url, value=value)


@dataclass
class Entry:
    """One resource of a response: in both protocols, or `bare` in a state-of-the-world one."""

    name: str
    body: Any = None
    version: str = "x"
    ttl: float = 0.0
    aliases: Sequence[str] = ()

    def wrapper(self) -> Any:
        wrapper = discovery_pb2.Resource(name=self.name, version=self.version, aliases=self.aliases)
        if self.body is not None:
            wrapper.resource.CopyFrom(self.body)
        if self.ttl:
            wrapper.ttl.FromNanoseconds(int(self.ttl * 1e9))
        return wrapper


def entry(message: Any, name: str | None = None) -> Entry:
    """A sound resource; in the delta protocol under another `name`, if one is given."""
    return Entry(resource_name(message) if name is None else name, packed(message))


@dataclass
class Side:
    server: XdsServer
    proxy: ProxyProcess
    origin: Origin
    delta: bool
    source: Mapping[str, Any]
    #: Whether requests go to one or another host, so that their statuses tell nothing.
    balances: bool = False
    _sent: int = 0
    _before: Mapping[str, Any] = field(default_factory=dict)

    def start(self) -> None:
        """Serve two clusters by one listener, and have asked for both."""
        self.server.set(
            cluster("c", eds_cluster_config={"eds_config": self.source}),
            cluster("d", eds_cluster_config={"eds_config": self.source}),
            endpoints("c", self.origin.port),
            endpoints("d", self.origin.port),
            route_config("r", {"/d": "d", "/": "c"}),
            listener("l", self.proxy.ports["first"], "r", self.source),
            rtds_pb2.Runtime(name="layer", layer={"a": 1}),
        )
        self.proxy.wait_ready(30)
        deadline = time.monotonic() + 10
        while self.served("first", "/") != 200 or self.served("first", "/d") != 200:
            assert time.monotonic() < deadline, f"{self.proxy.name} does not serve"
            time.sleep(0.05)
        self.settle()
        # A list that is complete only after it was asked for first comes twice.
        self._before = {name: value for name, value in self.stats().items() if name.endswith(_OF_LISTS)}

    def served(self, port: str, target: str) -> int:
        """The status, 0 while nobody listens."""
        try:
            return get(self.proxy.ports[port], target).status
        except (OSError, AssertionError):
            return 0

    def settle(self) -> None:
        """Wait until nothing was asked or answered for a while."""
        count, since = -1, 0.0
        while True:
            now = time.monotonic()
            if count != len(self.server.requests):
                count, since = len(self.server.requests), now
            if now - since > _QUIET_SECONDS:
                return
            time.sleep(0.02)

    def send(
        self,
        kind: ResourceType,
        *entries: Any,
        removed: Sequence[str] = (),
        version: str = "x",
        nonce: str | None = None,
        type_url: str | None = None,
        wrapped: bool = False,
        on: ResourceType | None = None,
    ) -> None:
        """One response. Entries are `Entry`s or messages; `removed` is what only the delta protocol can say.

        It goes to the streams of another type, if one is given with `on`.
        """
        parts = [one if isinstance(one, Entry) else entry(one) for one in entries]
        self._sent += 1
        number = f"raw{self._sent}" if nonce is None else nonce
        url = kind.type_url if type_url is None else type_url
        if self.delta:
            message = discovery_pb2.DeltaDiscoveryResponse(
                system_version_info=version,
                type_url=url,
                nonce=number,
                resources=[one.wrapper() for one in parts],
                removed_resources=removed,
            )
        else:
            message = discovery_pb2.DiscoveryResponse(version_info=version, type_url=url, nonce=number)
            for one in parts:
                whole = wrapped or one.body is None or one.ttl or one.aliases
                message.resources.append(packed(one.wrapper()) if whole else one.body)
        self.server.push_raw(message, on)
        self.settle()

    def answers(self) -> dict[str, list[str]]:
        """By type: what was said to each response with a nonce of `send`, in order."""
        found: dict[str, list[str]] = {}
        for seen in list(self.server.requests):
            nonce = seen.message.response_nonce
            if nonce.startswith("raw") and seen.kind is not None:
                said = found.setdefault(seen.kind.name, [])
                one = f"{nonce} {'NACK' if seen.error else 'ACK'}"
                # A state-of-the-world request that only changes names repeats the nonce.
                if one not in said:
                    said.append(one)
        return found

    def errors(self) -> list[str]:
        """The reasons of all NACKs."""
        return [seen.error for seen in list(self.server.requests) if seen.error]

    def stats(self) -> dict[str, Any]:
        """What counts discovery."""
        found: dict[str, Any] = {}
        for line in self.proxy.admin("/stats")[1].splitlines():
            name, _, value = line.partition(": ")
            if (
                not name.startswith(PREFIXES)
                or name.endswith(_NOT_COMPARED)
                or "No recorded" in value
                or "P0(" in value
            ):
                continue
            prefix, _, last = name.rpartition(".")
            if prefix.startswith("cluster.") and not last.startswith(_OF_CLUSTERS):
                continue
            if before := self._before.get(name):
                value = str(int(value) - int(before))
            found[name] = value
        return found

    def dump(self) -> Any:
        """`/config_dump` with endpoints, without times and ports and words."""
        names = {port: name for name, port in self.proxy.ports.items()}
        names |= {self.server.port: "xds", self.origin.port: "origin"}

        def plain(value: Any) -> Any:
            if isinstance(value, list):
                found = [plain(one) for one in value]
                return sorted(found, key=lambda one: json.dumps(one, sort_keys=True))
            if not isinstance(value, dict):
                if isinstance(value, str):
                    return _UUID.sub("<uuid>", value)
                return names.get(value, value) if isinstance(value, int) else value
            left = {"last_updated", "last_update_attempt", "client_status", "details"}
            result = {key: plain(one) for key, one in value.items() if key not in left}
            if "failed_configuration" in result or "endpoint_config" in result:
                result.pop("version_info", None)
            # Of these, Envoy does not show what it has refused.
            if result.keys() & {"endpoint_config", "route_config", "secret", "ecds_filter"}:
                result.pop("error_state", None)
            # Which of what is refused has a name here depends on where Envoy finds the mistake.
            if result.keys() == {"name", "error_state"}:
                result.pop("name")
            return result

        found: dict[str, Any] = {}
        for section in json.loads(self.proxy.admin("/config_dump?include_eds")[1])["configs"]:
            kind = section.pop("@type").rpartition(".")[2]
            if kind != "BootstrapConfigDump":
                found[kind] = plain(section)
        # Of clusters, Envoy does not show what it has refused.
        for name, entries in found.get("ClustersConfigDump", {}).items():
            if isinstance(entries, list):
                left = [{key: one[key] for key in one if key != "error_state"} for one in entries]
                found["ClustersConfigDump"][name] = [one for one in left if one] or None
        return found

    def look(self) -> dict[str, Any]:
        """Everything."""
        return {
            "answers": self.answers(),
            "stats": self.stats(),
            "dump": self.dump(),
            "served": {
                f"{port} {target}": self.served(port, target)
                for port in ("first", "second")
                for target in ("/", "/d")
                if not self.balances
            },
            "asked": {
                kind.name: sorted(self.server.subscribed(kind))
                for kind in (CDS, EDS, LDS, RDS, SDS, ECDS, RTDS)
            },
        }


Play = Callable[[Side], None]
Plays = dict[str, Play]


def in_one_protocol(plays: Iterable[str]) -> Any:
    """Parametrizes a test over the fixture `both`, which is told whether to speak delta, and `name`.

    Two proxies and a control plane for each play in each protocol take a quarter of the time of all tests, and few
    plays look different in the other one: each is played in one, in both with OUTRIDER_TEST_LOAD=1.
    """
    everything = bool(os.environ.get("OUTRIDER_TEST_LOAD"))
    told = [
        pytest.param(delta, name, id=f"{'delta' if delta else 'sotw'}-{name}")
        for name in plays
        for delta in (False, True)
        if everything or delta == bool(zlib.crc32(name.encode()) & 1)
    ]
    return pytest.mark.parametrize(("both", "name"), told, indirect=["both"])


@contextmanager
def hostile_sides(*, delta: bool, apart: bool = False, **fields: Any) -> Iterator[tuple[Side, Side]]:
    """Envoy and Outrider, each with a control plane of its own.

    With `apart` each type has a stream of its own in place of the aggregated one; `fields` go into the bootstrap.
    """
    source = stream_of_its_own(delta=delta) if apart else ADS
    if apart:
        fields["dynamic_resources"] = {"cds_config": source, "lds_config": source}
    with ExitStack() as stack:
        made = []
        for kind in (Envoy, subject()):
            origin = stack.enter_context(Origin())
            server = stack.enter_context(XdsServer())
            bootstrap = mesh_bootstrap(server.port, delta=delta, **fields)
            proxy = kind(bootstrap, listeners=("first", "second"), wait=False)
            stack.enter_context(proxy)
            made.append(Side(server, proxy, origin, delta, source))
        yield made[0], made[1]


def _name_of(value: Any) -> str:
    """What an element of a dump is called."""
    if not isinstance(value, dict):
        return ""
    for key in ("name", "cluster_name"):
        if key in value:
            return str(value[key])
    parts = (
        value.get(key)
        for key in (
            "cluster",
            "route_config",
            "endpoint_config",
            "error_state",
            "failed_configuration",
            "ecds_filter",
        )
    )
    return next((name for part in parts if (name := _name_of(part))), "")


def _flat(where: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for number, one in enumerate(value):
            _flat(f"{where}.{_name_of(one) or number}", one, found)
    elif isinstance(value, dict) and value:
        for name, one in value.items():
            _flat(f"{where}.{name}" if where else name, one, found)
    else:
        found[where] = value


def differences(sides: tuple[Side, Side]) -> list[Difference]:
    """Where the two look different now."""
    flat: list[dict[str, Any]] = [{}, {}]
    for side, found in zip(sides, flat, strict=True):
        _flat("", side.look(), found)
    envoy, ours = flat
    return [
        Difference(name, envoy.get(name), ours.get(name))
        for name in sorted({*envoy, *ours})
        if envoy.get(name) != ours.get(name)
    ]


def same_ends(sides: tuple[Side, Side], play: Play) -> None:
    """Both sides end a play alike, but for what known_differences.yaml lists."""

    def perform(side: Side) -> None:
        side.start()
        play(side)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(perform, sides))
    deadline = time.monotonic() + _ALIKE_SECONDS
    while (unexpected := KNOWN.unexpected(differences(sides))) and time.monotonic() < deadline:
        time.sleep(0.1)
    if unexpected:
        envoy, ours = sides
        raise DiffersError(unexpected, f"\n  Envoy:    {envoy.errors()}\n  Outrider: {ours.errors()}")
