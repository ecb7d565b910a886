"""One bad resource among good ones of a response: what of it is in force, and what is said of it, beside Envoy."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from tests.support.certs import Authority
from tests.support.configs import typed
from tests.support.envoy import Envoy
from tests.support.mesh import ADS, cluster, endpoints, listener, mesh, parsed, route_config
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

EDS, RDS, SDS = ResourceType.ENDPOINT, ResourceType.ROUTE, ResourceType.SECRET
TLS = "envoy.extensions.transport_sockets.tls.v3"


@dataclass
class Side:
    server: XdsServer
    proxy: ProxyProcess
    delta: bool
    authority: Authority

    def respond(self, kind: ResourceType, entries: list[tuple[str, any_pb2.Any]], version: str) -> bool:
        """Send these; whether they were refused."""
        url = kind.type_url
        message: Any
        if self.delta:
            message = discovery_pb2.DeltaDiscoveryResponse(
                system_version_info=version, type_url=url, nonce=version
            )
            for name, entry in entries:
                message.resources.add(name=name, version=version, resource=entry)
        else:
            message = discovery_pb2.DiscoveryResponse(version_info=version, type_url=url, nonce=version)
            message.resources.extend(entry for _, entry in entries)
        self.server.push_raw(message)
        answer = self.server.wait_for(
            lambda: [one for one in self.server.seen(kind) if one.message.response_nonce == version]
        )[0]
        return bool(answer.error)

    def in_use(self, kind: ResourceType) -> dict[str, str]:
        """What tells versions of the two resources apart."""
        if kind is EDS:
            lines = self.proxy.admin("/clusters")[1].splitlines()
            hosts = [line.split("::") for line in lines if line.endswith("::healthy")]
            return {host[0]: host[1].rpartition(":")[2] for host in hosts if host[0] in "cd"}
        if kind is SDS:
            return {name: self._served(port) for name, port in (("c", "first"), ("d", "second"))}
        found = {}
        for section in json.loads(self.proxy.admin("/config_dump")[1])["configs"]:
            for one in section.get("dynamic_route_configs", ()):
                found[one["route_config"]["name"]] = one["version_info"]
        return found

    def _served(self, port: str) -> str:
        """The name in the certificate that a listener shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.proxy.ports[port]), 10) as raw,
            context.wrap_socket(raw) as connection,
        ):
            shown = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
        return str(shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


@pytest.fixture(scope="module", params=[False, True], ids=["sotw", "delta"])
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Side]]:
    authority = Authority(tmp_path_factory.mktemp("certs"))
    with ExitStack() as stack:
        made = []
        for kind in (Envoy, subject()):
            server, proxy = stack.enter_context(mesh(kind, delta=request.param))
            side = Side(server, proxy, request.param, authority)
            server.set(
                *(cluster(name) for name in "cd"),
                *(good(EDS, name, 1, authority) for name in "cd"),
                *(good(RDS, name, 1, authority) for name in "cd"),
                *(good(SDS, name, 1, authority) for name in "cd"),
                *(tls_listener(name, proxy.ports[port]) for name, port in (("c", "first"), ("d", "second"))),
                version="0",
            )
            proxy.wait_ready(20)
            made.append(side)
        yield made


def tls_listener(name: str, port: int) -> Any:
    message = listener(name, port, name)
    secret = {"name": name, "sds_config": ADS}
    context = typed(
        f"{TLS}.DownstreamTlsContext", common_tls_context={"tls_certificate_sds_secret_configs": [secret]}
    )
    chain = parsed(
        message, {"filter_chains": [{"transport_socket": {"name": "tls", "typed_config": context}}]}
    )
    message.filter_chains[0].transport_socket.CopyFrom(chain.filter_chains[0].transport_socket)
    return message


def good(kind: ResourceType, name: str, number: int, authority: Any) -> Any:
    if kind is EDS:
        return endpoints(name, 1000 + number)
    if kind is RDS:
        return route_config(name, "c", (f"v{number}.example.com",))
    certificate = authority.issue(f"v{number}.example.com")
    secret = secret_pb2.Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_string = certificate.certificate.read_text()
    secret.tls_certificate.private_key.inline_string = certificate.key.read_text()
    return secret


def violating(kind: ResourceType, name: str, number: int, authority: Any) -> Any:
    """Breaks a rule of its proto."""
    message = good(kind, name, number, authority)
    if kind is EDS:
        message.endpoints[0].priority = 129
    elif kind is RDS:
        message.virtual_hosts[0].ClearField("domains")
    else:
        message.tls_certificate.private_key.Clear()
        message.tls_certificate.private_key.SetInParent()
    return message


def packed(message: Any) -> any_pb2.Any:
    entry = any_pb2.Any()
    entry.Pack(message)
    return entry


def meaningless(kind: ResourceType, name: str, number: int, authority: Any) -> Any:
    """Keeps the rules of its proto, and cannot be used."""
    message = good(kind, name, number, authority)
    if kind is EDS:
        message.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "no.ip.address"
    elif kind is RDS:
        message.virtual_hosts.add().CopyFrom(message.virtual_hosts[0])
    else:
        message.tls_certificate.private_key.inline_string = "no key"
    return message


def entries(fault: str, kind: ResourceType, number: int, authority: Any) -> list[tuple[str, any_pb2.Any]]:
    """A good one of `d`, and a bad one of `c`."""
    fine = packed(good(kind, "d", number, authority))
    match fault:
        case "violation":
            bad = packed(violating(kind, "c", number, authority))
        case "meaningless":
            bad = packed(meaningless(kind, "c", number, authority))
        case "undecodable":
            bad = any_pb2.Any(type_url=kind.type_url, value=b"\xff\xff")
        case "type":
            bad = packed(cluster("c"))
        case "unknown type":
            bad = any_pb2.Any(type_url="type.googleapis.com/no.such.Type")
        case "unasked":
            return [("d", fine), ("x", packed(violating(kind, "x", number, authority)))]
        case "unasked meaningless":
            return [("d", fine), ("x", packed(meaningless(kind, "x", number, authority)))]
        case "duplicate":
            first = packed(good(kind, "c", number, authority))
            return [("c", first), ("d", fine), ("c", packed(good(kind, "c", number + 1, authority)))]
        case "bad duplicate":
            first = packed(good(kind, "c", number, authority))
            return [("c", first), ("d", fine), ("c", packed(meaningless(kind, "c", number, authority)))]
    return [("c", bad), ("d", fine)]


#: What is wrong, and whether the entries come in reverse order.
CASES = (
    ("violation", False),
    ("violation", True),
    ("meaningless", False),
    ("undecodable", False),
    ("undecodable", True),
    ("type", False),
    ("unknown type", True),
    ("duplicate", False),
    ("duplicate", True),
    ("bad duplicate", False),
    ("bad duplicate", True),
    ("unasked meaningless", False),
    ("unasked", False),
)
#: Envoy stops at a bad one, and which it has applied by then is chance (a hash table). Here the good ones are.
BY_CHANCE = ("meaningless", "bad duplicate")


@pytest.mark.parametrize(("fault", "reverse"), CASES)
@pytest.mark.parametrize("kind", [EDS, RDS, SDS])
def test_one_bad_resource_among_good_ones(
    sides: list[Side], kind: ResourceType, fault: str, reverse: bool
) -> None:
    number = 2 + 2 * CASES.index((fault, reverse))
    version = f"{kind.name} {fault} {reverse}"

    def work(side: Side) -> Any:
        sent = entries(fault, kind, number, side.authority)
        return side.respond(kind, sent[::-1] if reverse else sent, version)

    def told(side: Side) -> dict[str, str]:
        found = side.in_use(kind)
        return {"c": found["c"]} if fault in BY_CHANCE else found

    with ThreadPoolExecutor(2) as pool:
        envoy, outrider = pool.map(work, sides)
        if fault == "unasked" and not sides[0].delta:
            # Envoy reads in state-of-the-world responses what nobody asked for, too; here it is passed over.
            assert (envoy, outrider) == (True, False)
            return
        deadline = time.monotonic() + 5
        while True:
            theirs, ours = pool.map(told, sides)
            if theirs == ours or time.monotonic() > deadline:
                break
            time.sleep(0.05)
    assert (outrider, ours) == (envoy, theirs)
    if fault in BY_CHANCE:
        # What chance has left of it must not meet the next test.
        for side in sides:
            again = [(name, packed(good(kind, name, number + 1, side.authority))) for name in ("c", "d")]
            side.respond(kind, again, f"{version} mended")
