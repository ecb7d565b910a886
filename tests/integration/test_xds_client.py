"""The xDS client with a real gRPC server, a web server and files."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401 - found by its URL when JSON is read
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format

from proxy.base.errors import ConfigError
from proxy.connection.tls_secrets import SecretStore
from proxy.discovery.server_tls import server_tls
from tests.support.certs import Authority
from tests.support.ports import free_port
from tests.support.xds_server import XdsServer
from tests.unit.xds_client.messages import Recorder, cluster, endpoints
from xds_client.api import WILDCARD, Status, Surroundings
from xds_client.client import XdsClient
from xds_client.resource_types import ResourceType

CLUSTER = ResourceType.CLUSTER
ENDPOINT = ResourceType.ENDPOINT
SECONDS = 20

NODE = base_pb2.Node(id="node-1", cluster="tests")


@pytest.fixture
def server() -> Iterator[XdsServer]:
    with XdsServer() as made:
        yield made


def place(*addresses: Any, **fields: Any) -> Any:
    """A cluster of the bootstrap; an address is a port, or the path of a socket."""
    hosts = [
        {"pipe": {"path": one}}
        if isinstance(one, str)
        else {"socket_address": {"address": "127.0.0.1", "port_value": one}}
        for one in addresses
    ]
    assignment = {
        "cluster_name": "xds",
        "endpoints": [
            {"priority": index, "lb_endpoints": [{"endpoint": {"address": host}}]}
            for index, host in enumerate(hosts)
        ],
    }
    message = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": assignment,
        **fields,
    }
    return json_format.ParseDict(message, cluster_pb2.Cluster())


def api(kind: str = "GRPC", **fields: Any) -> dict[str, Any]:
    services = [{"envoy_grpc": {"cluster_name": "xds"}}]
    return {"api_type": kind, "transport_api_version": "V3", "grpc_services": services, **fields}


def source(message: dict[str, Any]) -> Any:
    return json_format.ParseDict(message, config_source_pb2.ConfigSource())


ADS = source({"ads": {}})


def read_response(data: bytes, _path: str) -> bytes:
    try:
        serialized: bytes = json_format.Parse(data, discovery_pb2.DiscoveryResponse()).SerializeToString()
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error
    return serialized


class Session:
    """A client in a test's loop, and what waits for a server that works on another thread."""

    def __init__(self, ads: dict[str, Any] | None = None, **clusters: Any) -> None:
        self.client = XdsClient(
            asyncio.get_running_loop(),
            Surroundings(
                node=NODE,
                ads_config=None
                if ads is None
                else json_format.ParseDict(ads, config_source_pb2.ApiConfigSource()),
                cluster=clusters.get,
                read_response=read_response,
                draw=lambda: 0.1,
                clock=lambda: 1000.0,
                tls=lambda message: server_tls(message, NODE, SecretStore()),
            ),
        )

    def status(self) -> Status:
        return self.client.status()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110 - what is waited for happens on another thread
                await asyncio.sleep(0.01)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 3 * SECONDS))


def with_client(
    scenario: Callable[[Session], Awaitable[None]], ads: dict[str, Any] | None = None, **clusters: Any
) -> None:
    async def run() -> None:
        session = Session(ads, **clusters)
        try:
            await scenario(session)
        finally:
            await session.client.close()

    play(run)


@pytest.mark.parametrize("kind", ["GRPC", "DELTA_GRPC"])
@pytest.mark.parametrize("aggregated", [True, False], ids=["ads", "separate"])
def test_resources_come_are_refused_and_go(server: XdsServer, kind: str, aggregated: bool) -> None:
    config = ADS if aggregated else source({"api_config_source": api(kind)})
    consumer = Recorder()
    consumer.refuse["bad"] = "bad is bad"

    async def scenario(session: Session) -> None:
        server.set(cluster("a"), cluster("b"))
        session.client.subscribe(CLUSTER, config, [WILDCARD], consumer)
        await session.until(lambda: server.acked(CLUSTER))
        await asyncio.to_thread(server.set, cluster("a", 5), cluster("bad"))
        await session.until(lambda: server.nacks(CLUSTER))
        assert "bad is bad" in server.nacks(CLUSTER)[0]
        await asyncio.to_thread(server.remove, CLUSTER, "b", "bad")
        await session.until(lambda: server.acked(CLUSTER))
        assert consumer.events == [("+", "a", "b"), ("+", "a", "bad"), ("+",), ("-", "b")]
        assert [one.connected for one in session.status().streams] == [True]
        assert session.status().streams[0].identifier == "test-server"

    with_client(scenario, api(kind) if aggregated else None, xds=place(server.port))


@pytest.mark.parametrize("kind", ["GRPC", "DELTA_GRPC"])
def test_types_share_the_aggregated_stream_and_it_comes_back(server: XdsServer, kind: str) -> None:
    async def scenario(session: Session) -> None:
        server.set(cluster("a"), endpoints("a"))
        clusters, hosts = Recorder(), Recorder()
        watch = session.client.subscribe(CLUSTER, ADS, [WILDCARD], clusters)
        session.client.subscribe(ENDPOINT, ADS, ["a"], hosts)
        await session.until(lambda: server.acked(CLUSTER) and server.acked(ENDPOINT))
        assert server.streams_opened == 1
        await asyncio.to_thread(server.cut)
        await session.until(lambda: server.streams_opened == 2 and server.open_streams == 1)
        await asyncio.to_thread(server.set, cluster("b"))
        await session.until(lambda: server.acked(CLUSTER))
        await asyncio.to_thread(server.stop)
        await session.until(lambda: not session.status().streams[0].connected)
        server.resources.set([cluster("c")])
        await asyncio.to_thread(server.start)
        await session.until(lambda: clusters.events[-1] == ("+", "c"))
        assert [event for event in hosts.events if event[0] == "+" and event[1:]] == [("+", "a")]
        assert watch.counters.update_failure >= 2
        second = next(seen.message for seen in server.seen(CLUSTER) if seen.stream == 2)
        if kind == "GRPC":
            assert second.version_info == "1"
        else:
            assert dict(second.initial_resource_versions) == {"a": "1"}

    with_client(scenario, api(kind), xds=place(server.port))


def test_node_metadata_and_rate_limit(server: XdsServer) -> None:
    config = api(
        set_node_on_first_message_only=True,
        rate_limit_settings={"max_tokens": 1, "fill_rate": 50},
        grpc_services=[
            {
                "envoy_grpc": {"cluster_name": "xds", "authority": "xds.example"},
                "initial_metadata": [{"key": "X-Token", "value": "secret"}],
            }
        ],
    )

    async def scenario(session: Session) -> None:
        session.client.subscribe(CLUSTER, ADS, [WILDCARD], Recorder())
        session.client.subscribe(ENDPOINT, ADS, ["a"], Recorder())
        await session.until(lambda: len(server.requests) >= 2)
        assert [seen.message.node.id for seen in server.requests[:2]] == ["node-1", ""]
        assert server.requests[0].metadata["x-token"] == "secret"
        counters = session.client.stream_counters()["ads"]
        assert (counters.connected_state, counters.rate_limit_enforced > 0) == (1, True)

    with_client(scenario, config, xds=place(server.port))


def test_a_response_bigger_than_grpcs_own_limit(server: XdsServer) -> None:
    async def scenario(session: Session) -> None:
        consumer = Recorder()
        big = cluster_pb2.Cluster(name="big", alt_stat_name="x" * 6_000_000)
        await asyncio.to_thread(server.set, big)
        session.client.subscribe(CLUSTER, ADS, [WILDCARD], consumer)
        await session.until(lambda: consumer.events == [("+", "big")])

    with_client(scenario, api(), xds=place(server.port))


def test_the_next_host_and_the_next_service_are_tried(server: XdsServer) -> None:
    services = [{"envoy_grpc": {"cluster_name": name}} for name in ("down", "xds")]

    async def scenario(session: Session) -> None:
        server.set(cluster("a"))
        consumer = Recorder()
        session.client.subscribe(CLUSTER, ADS, [WILDCARD], consumer)
        await session.until(lambda: consumer.events)
        assert session.client.stream_counters()["ads"].connected_state == 2

    dead = free_port()
    with_client(scenario, api(grpc_services=services), down=place(dead), xds=place(dead, server.port))


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "xds.sock")

    async def scenario(session: Session) -> None:
        consumer = Recorder()
        session.client.subscribe(CLUSTER, ADS, [WILDCARD], consumer)
        await session.until(lambda: consumer.events)

    with XdsServer(address=path) as server:
        server.set(cluster("a"))
        with_client(scenario, api("DELTA_GRPC"), xds=place(path))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls_server(authority: Authority, *names: str) -> XdsServer:
    issued = authority.issue(*names)
    pair = (issued.key.read_bytes(), issued.certificate.read_bytes())
    return XdsServer(credentials=grpc.ssl_server_credentials([pair]))


def tls_socket(authority: Authority, name: str) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "control.example",
            "common_tls_context": {
                "validation_context": {
                    "trusted_ca": {"filename": str(authority.certificate)},
                    "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": name}}],
                }
            },
        },
    }


def test_tls_checks_names_as_the_cluster_says(authority: Authority) -> None:
    name = "spiffe://mesh/control"

    async def accepted(session: Session) -> None:
        consumer = Recorder()
        session.client.subscribe(CLUSTER, ADS, [WILDCARD], consumer)
        await session.until(lambda: consumer.events)

    async def refused(session: Session) -> None:
        session.client.subscribe(CLUSTER, ADS, [WILDCARD], Recorder())
        await session.until(lambda: session.status().streams[0].last_error)
        assert not session.status().streams[0].connected

    with tls_server(authority, name) as server:
        server.set(cluster("a"))
        good = place(server.port, transport_socket=tls_socket(authority, name))
        with_client(accepted, api(), xds=good)
        seen = len(server.requests)
        wrong = place(server.port, transport_socket=tls_socket(authority, "spiffe://mesh/other"))
        with_client(refused, api(), xds=wrong)
        assert len(server.requests) == seen


class _Metadata(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        good = self.headers["Metadata-Flavor"] == "Google" and self.path.endswith("/default/token")
        body = json.dumps(
            {"access_token": "from-metadata", "token_type": "Bearer", "expires_in": 60}
        ).encode()
        self.send_response(200 if good else 403)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Rest(http.server.BaseHTTPRequestHandler):
    answer: dict[str, Any]
    asked: list[Any]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.path, self.headers["host"], body))
        data = json.dumps(self.answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(request: pytest.FixtureRequest) -> Iterator[http.server.ThreadingHTTPServer]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), request.param)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize("web", [_Metadata], indirect=True)
@pytest.mark.parametrize(
    ("credentials", "token"),
    [
        ([{"access_token": "mine"}], "Bearer mine"),
        ([{"google_compute_engine": {}}], "Bearer from-metadata"),
    ],
    ids=["access_token", "compute_engine"],
)
def test_google_grpc_with_tokens(
    web: http.server.ThreadingHTTPServer,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    credentials: list[dict[str, Any]],
    token: str,
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{web.server_address[1]}")

    async def scenario(session: Session) -> None:
        consumer = Recorder()
        session.client.subscribe(CLUSTER, ADS, [WILDCARD], consumer)
        await session.until(lambda: consumer.events)

    with tls_server(authority, "localhost", "127.0.0.1") as server:
        server.set(cluster("a"))
        google = {
            "target_uri": f"127.0.0.1:{server.port}",
            "stat_prefix": "xds",
            "channel_credentials": {
                "ssl_credentials": {"root_certs": {"filename": str(authority.certificate)}}
            },
            "call_credentials": credentials,
        }
        with_client(scenario, api(grpc_services=[{"google_grpc": google}]))
        assert server.requests[0].metadata["authorization"] == token


@pytest.mark.parametrize("web", [_Rest], indirect=True)
def test_polling(web: http.server.ThreadingHTTPServer) -> None:
    _Rest.asked = []
    _Rest.answer = answer("1", "a", "b")
    config = source(
        {"api_config_source": {"api_type": "REST", "cluster_names": ["xds"], "refresh_delay": "0.05s",
                               "request_timeout": "5s"}}
    )  # fmt: skip

    async def scenario(session: Session) -> None:
        consumer = Recorder()
        watch = session.client.subscribe(CLUSTER, config, [WILDCARD], consumer)
        await session.until(lambda: len(_Rest.asked) > 2)
        path, host, body = _Rest.asked[0]
        assert (path, host, body["node"]["id"]) == ("/v3/discovery:clusters", "xds", "node-1")
        assert _Rest.asked[2][2]["version_info"] == "1"
        _Rest.answer = answer("2", "b")
        await session.until(lambda: ("-", "a") in consumer.events)
        assert consumer.events[0] == ("+", "a", "b")
        _Rest.answer = {"nonsense": 1}
        await session.until(lambda: watch.counters.update_rejected)

    with_client(scenario, xds=place(web.server_address[1]))


def answer(version: str, *names: str) -> dict[str, Any]:
    resources = [{"@type": CLUSTER.type_url, "name": name} for name in names]
    return {"version_info": version, "resources": resources}


@pytest.mark.parametrize("how", ["moved", "written", "directory"])
def test_files(tmp_path: Path, how: str) -> None:
    """A file is read again when one is moved over it, when it was written, or when its directory was swapped."""
    directory = tmp_path / "resources"
    (tmp_path / "v1").mkdir()
    (tmp_path / "v2").mkdir()
    directory.symlink_to("v1")
    file = directory / "cds.json"
    file.write_text(json.dumps(answer("1", "a", "b")))
    path_source: dict[str, Any] = {"path": str(file)}
    if how == "directory":
        path_source["watched_directory"] = {"path": str(tmp_path)}

    async def scenario(session: Session) -> None:
        consumer = Recorder()
        watch = session.client.subscribe(
            CLUSTER, source({"path_config_source": path_source}), [WILDCARD], consumer
        )
        await session.until(lambda: consumer.events == [("+", "a", "b")])
        text = json.dumps(answer("2", "b", "c"))
        match how:
            case "written":
                file.write_text(text)
            case "moved":
                (tmp_path / "new").write_text(text)
                os.replace(tmp_path / "new", file)
            case _:
                (tmp_path / "v2" / "cds.json").write_text(text)
                (tmp_path / "swap").symlink_to("v2")
                os.replace(tmp_path / "swap", directory)
        await session.until(lambda: ("-", "a") in consumer.events)
        assert ("+", "c") in consumer.events
        (directory / "cds.tmp").write_text("{")
        os.replace(directory / "cds.tmp", file)
        if how != "directory":
            await session.until(lambda: watch.counters.update_rejected)
            assert watch.counters.version_text == "2"

    with_client(scenario)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"api_config_source": api(grpc_services=[{"envoy_grpc": {"cluster_name": "no"}}])}, "'no'"),
        ({"ads": {}}, "no dynamic_resources.ads_config"),
        ({"self": {}}, "self: not supported"),
        ({"api_config_source": {"api_type": "REST", "cluster_names": ["xds"]}}, "refresh_delay is required"),
        (
            {"api_config_source": api(grpc_services=[{"google_grpc": {
                "target_uri": "x", "stat_prefix": "x", "channel_credentials": {"google_default": {}},
                "call_credentials": [{"google_refresh_token": "x"}]}}])},
            "call_credentials[0].google_refresh_token: not supported",
        ),
        (
            {"api_config_source": api(grpc_services=[{"google_grpc": {
                "target_uri": "x", "stat_prefix": "x", "call_credentials": [{"access_token": "x"}]}}])},
            "needs channel_credentials",
        ),
    ],
)  # fmt: skip
def test_a_source_that_can_never_work_is_refused_at_once(config: dict[str, Any], reason: str) -> None:
    async def scenario(session: Session) -> None:
        with pytest.raises(ConfigError) as caught:
            session.client.subscribe(CLUSTER, source(config), [WILDCARD], Recorder())
        assert reason in str(caught.value)

    with_client(scenario, xds=place(1))
