"""Configs in the form that Envoy's documentation and sandboxes give them: both proxies load them and act alike.

The files in documentation/ keep the addresses and ports of the documents. A test changes nothing but those.
"""

from __future__ import annotations

import json
import ssl
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from proxy.app.command_line import Options
from proxy.app.config_loading import load
from tests.support.certs import Authority
from tests.support.client import Client, Reply
from tests.support.configs import address
from tests.support.differential import Pair, Side
from tests.support.envoy import Envoy
from tests.support.http_text import Message
from tests.support.origin import Origin, OriginConnection
from tests.support.outrider import subject

FOLDER: Final = Path(__file__).parent / "documentation"
V2: Final = "front-proxy-v2"
NAMES: Final = sorted(path.stem for path in FOLDER.glob("*.yaml"))
WEBSOCKET: Final = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
PRIVATE: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Powered-By: origin\r\nX-CamelCase: 1\r\n\r\nok"
TLS_UPSTREAM: Final = frozenset(
    {"websocket-tls", "tls-http-https", "tls-https-https", "tls-sni-client", "quick-start"}
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secrets(authority: Authority) -> dict[str, str]:
    """What the files hold inline where the documents have a certificate of their own."""
    issued = authority.issue("front-envoy")
    return {"certificate": issued.certificate.read_text(), "key": issued.key.read_text()}


def as_written(name: str, secrets: Mapping[str, str]) -> str:
    text = (FOLDER / f"{name}.yaml").read_text()
    for key, value in secrets.items():
        text = text.replace(f'"{{{{{key}}}}}"', json.dumps(value))
    return text


def adapted(name: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """The config with addresses of this machine; its listeners and its origins, by their documented places."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    resources = config["static_resources"]
    listeners, origins = [], []
    for listener in resources["listeners"]:
        listeners.append(f"listener_{listener['address']['socket_address']['port_value']}")
        listener["address"] = address(f"{{{{{listeners[-1]}_port}}}}")
    for cluster in resources.get("clusters", ()):
        for endpoint in endpoints_of(cluster):
            place = endpoint["socket_address"]
            origin = f"{place['address']}_{place['port_value']}".replace("-", "_").replace(".", "_")
            if origin not in origins:
                origins.append(origin)
            endpoint["socket_address"] = {"address": "127.0.0.1", "port_value": f"{{{{{origin}_port}}}}"}
    config["admin"] = {**config.get("admin", {}), "address": address("{{admin_port}}")}
    return config, listeners, origins


def endpoints_of(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from cluster.get("hosts", ())
    for group in cluster.get("load_assignment", {}).get("endpoints", ()):
        for entry in group["lb_endpoints"]:
            yield entry["endpoint"]["address"]


class Started:
    """One document in both proxies. TLS origins are shared by them, plain ones are each side's own."""

    def __init__(self, name: str, secrets: dict[str, str], authority: Authority) -> None:
        config, self.listeners, names = adapted(name)
        self.seen_names: list[str | None] = []
        self.shared: Origin | None = None
        values: dict[str, str | int] = {**secrets}
        if name in TLS_UPSTREAM:
            context = authority.issue("service").server_context()
            context.sni_callback = self._note_name
            self.shared = Origin(tls=context)
            values |= {f"{origin}_port": self.shared.port for origin in names}
            names = []
        self.pair = Pair(config, origins=names, listeners=self.listeners, values=values)

    def _note_name(self, _socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self.seen_names.append(name)

    def close(self) -> None:
        self.pair.close()
        if self.shared is not None:
            self.shared.close()

    def get(self, target: str, fields: str = "", host: str = "a.test", **options: Any) -> None:
        """A GET on which both must agree."""
        request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode()
        script = options.pop("script", PRIVATE)
        if self.shared is not None:
            self.shared.script(script)
        self.pair.same(request, script, **options)


@pytest.fixture(scope="module")
def started(
    request: pytest.FixtureRequest, secrets: dict[str, str], authority: Authority
) -> Iterator[Started]:
    one = Started(request.param, secrets, authority)
    yield one
    one.close()


def document(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("started", [name], indirect=True)


@pytest.fixture
def client_tls() -> dict[str, Any]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return {"tls": context, "server_name": "front-envoy"}


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_as_written(name: str, secrets: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(as_written(name, secrets))
    loaded = load(Options(config_path=str(path)))
    assert bool(loaded.warnings) == (name == V2), loaded.warnings


def test_present_envoy_has_forgotten_v2() -> None:
    assert not Envoy.validate_file(FOLDER / f"{V2}.yaml")[0]


def test_v2_is_served_with_a_warning_for_each_old_construct() -> None:
    config, listeners, origins = adapted(V2)
    ours = Side(subject(), config, origins, listeners, {}, (), None)
    try:
        for number, origin in enumerate(origins, 1):
            reply = ours.run(f"GET /service/{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), PRIVATE, None, {})
            assert reply.status == 200
            assert [name for name, messages in reply.upstream.items() if messages] == [origin]
        warned = [line for line in ours.proxy.log().splitlines() if "v2" in line]
        for old in ("http_connection_manager.v2", "hosts", "access_log_path"):
            assert any(old in line for line in warned), (old, warned)
    finally:
        ours.close()


@document("front-proxy")
def test_the_front_proxy_serves_both_listeners(started: Started, client_tls: dict[str, Any]) -> None:
    for target in ("/service/1", "/service/2?x=1", "/service/3", "/"):
        started.get(target, listener="listener_8080")
        started.get(target, listener="listener_8443", **client_tls)
    _, runtime = started.pair.outrider.proxy.admin("/runtime")
    assert "envoy.resource_limits.listener.example_listener_name.connection_limit" in runtime


@document("service-envoy")
def test_the_sidecar_passes_on_what_is_its_own(started: Started) -> None:
    started.get("/service/1")
    started.get("/service/2")


@document("redirects")
@pytest.mark.parametrize(
    "host", ["www.yourcompany.com", "wwww.yourcompany.net", "api.yourcompany.net", "other"]
)
@pytest.mark.parametrize("target", ["/", "/foo/bar?a=1", "/old/page?a=1", "/users/42/x?a=1", "/scheme?a=1"])
def test_redirects(started: Started, host: str, target: str) -> None:
    started.get(target, host=host)
    started.get(target, "x-forwarded-proto: https\r\n", host=host + ":10000")


@document("headers")
@pytest.mark.parametrize("target", ["/weighted", "/plain?q=1"])
def test_headers_are_changed_at_every_level(started: Started, target: str) -> None:
    started.get(target, "x-secret: 1\r\nUser-Agent: curl\r\n")
    started.get(target, "x-absent: here\r\nx-level: client\r\n")


@document("local-reply")
@pytest.mark.parametrize("target", ["/something", "/teapot", "/missing"])
def test_local_replies_are_mapped(started: Started, target: str) -> None:
    started.get(target)
    started.pair.same(f"GET {target} HTTP/1.1\r\n\r\n".encode())


@document("preserve-case")
def test_names_keep_their_case(started: Started) -> None:
    started.get("/", "X-CamelCase: a\r\nLOUD: b\r\nquiet: c\r\n")


@document("cors")
@pytest.mark.parametrize("target", ["/cors/disabled", "/cors/restricted", "/cors/open", "/"])
@pytest.mark.parametrize("origin", ["http://localhost", "https://www.envoyproxy.io", None])
def test_cors(started: Started, target: str, origin: str | None) -> None:
    fields = f"Origin: {origin}\r\n" if origin else ""
    started.get(target, fields)
    asked = "Access-Control-Request-Method: GET\r\n"
    started.pair.same(f"OPTIONS {target} HTTP/1.1\r\nHost: a\r\n{fields}{asked}\r\n".encode())


@document("local-ratelimit")
def test_rates_are_limited(started: Started) -> None:
    for _ in range(4):
        started.get("/", listener="listener_10000")
    with started.pair.same_stats("http_local_rate_limiter."):
        for client in ("foo", "bar", "baz", "foo"):
            for target in ("/foo/bar", "/foo/bar2", "/foo/other", "/"):
                started.get(
                    target, f"x-envoy-downstream-service-cluster: {client}\r\n", listener="listener_10001"
                )


@document("route-mirror")
def test_mirrors_get_their_copy(started: Started) -> None:
    def mirrored(side: Side, target: str, fields: str, mirror: str) -> list[Message]:
        side.run(f"GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode(), PRIVATE, None, {})
        return side.origins[mirror].wait_for_requests(1)

    for copies in started.pair.both(
        lambda side: (
            mirrored(side, "/service/1", "", "service1_mirror_8080")
            + mirrored(side, "/service/2", "x-mirror-cluster: service2-mirror\r\n", "service2_mirror_8080")
        )
    ):
        assert [dict(copy.fields)["host"] for copy in copies] == ["a-shadow", "a-shadow"]


def counts(side: Side, host: str, total: int) -> Counter[str]:
    """How many of `total` requests reached each origin."""
    for origin in side.origins.values():
        origin.script(PRIVATE)
    with Client(side.proxy.port) as client:
        for _ in range(total):
            assert client.request(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status == 200
    return Counter({name: len(origin.requests) for name, origin in side.origins.items()})


@document("traffic-shifting")
def test_traffic_shifts_with_the_runtime(started: Started) -> None:
    def set_runtime(side: Side, **values: str) -> None:
        query = "&".join(f"routing.{key.replace('__', '.')}={value}" for key, value in values.items())
        assert side.proxy.admin(f"/runtime_modify?{query}", method="POST")[0] == 200
        time.sleep(0.1)  # workers learn of it a moment later

    # Five standard deviations around what the weights ask for.
    for found in started.pair.both(lambda side: counts(side, "shift", 300)):
        assert 107 <= found["helloworld_v1_80"] <= 193
    for found in started.pair.both(lambda side: counts(side, "split", 300)):
        assert all(58 <= found[f"helloworld_v{number}_80"] <= 143 for number in (1, 2, 3))

    def shifted(side: Side) -> tuple[int, int]:
        set_runtime(side, traffic_shift__helloworld="100", traffic_split__helloworld__helloworld_v1="0")
        all_of_them = counts(side, "shift", 20)["helloworld_v1_80"]
        return all_of_them, counts(side, "split", 50)["helloworld_v1_80"]

    assert started.pair.both(shifted) == ((20, 0), (20, 0))


def tunnel(side: Side, origin: Origin, request: str, tls: Mapping[str, Any]) -> tuple[Reply, bytes]:
    """An upgrade, then bytes both ways until the origin closes."""

    def echo(_: Message, connection: OriginConnection) -> None:
        connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
        )
        connection.send(b"echo:" + connection.receive())
        connection.close()

    origin.script(echo)
    with Client(side.proxy.port, **tls) as client:
        reply = client.request(request.encode())
        client.send(b"frames")
        return reply, client.read(until="close").raw


@pytest.mark.parametrize(
    ("started", "target"),
    [("websocket", "/"), ("websocket-route", "/ws"), ("websocket-tls", "/")],
    indirect=["started"],
)
def test_websockets_pass_bytes_both_ways(started: Started, target: str, client_tls: dict[str, Any]) -> None:
    tls = client_tls if started.shared is not None else {}
    upgrade = f"GET {target} HTTP/1.1\r\nHost: a\r\n{WEBSOCKET}Sec-WebSocket-Version: 13\r\n\r\n"
    outcomes = []
    for side in (started.pair.envoy, started.pair.outrider):
        origin = started.shared or side.origin
        reply, received = tunnel(side, origin, upgrade, tls)
        assert reply.status == 101
        assert received == b"echo:frames"
        (arrived,) = origin.requests
        outcomes.append([name for name, _ in arrived.fields])
    assert outcomes[0] == outcomes[1]
    started.get("/else", **tls)


@document("websocket-route")
def test_another_route_does_not_upgrade(started: Started) -> None:
    started.get("/", WEBSOCKET)


@pytest.mark.parametrize(
    "started", ["tls-http-https", "tls-https-http", "tls-https-https", "quick-start"], indirect=True
)
def test_tls_is_ended_and_begun(
    started: Started, client_tls: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    tls = client_tls if "tls-https" in request.node.callspec.id else {}
    for target in ("/", "/a?b=c"):
        started.get(target, **tls)
    if started.shared is not None:
        # What both sent last.
        assert len({message.start + dict(message.fields)["host"] for message in started.shared.requests}) == 1


@document("tls-sni-client")
def test_each_cluster_sends_its_server_name(started: Started) -> None:
    started.get("/domain1")
    started.get("/domain2")
    assert Counter(started.seen_names) == {"domain1.example.com": 2, "domain2.example.com": 2}


@document("quick-start")
def test_the_quick_start_logs_to_stdout(started: Started) -> None:
    started.get("/logged", "x-request-id: 1\r\n")

    def line(side: Side) -> list[str]:
        deadline = time.monotonic() + 5
        while True:
            found = [one for one in side.proxy.stdout().splitlines() if '"GET /logged HTTP/1.1"' in one]
            if found or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        # Without the time, the durations and the id.
        parts = found[-1].split() if found else []
        return parts[1:8] + parts[10:12] + parts[-2:]

    assert started.pair.same_value("stdout", line)
