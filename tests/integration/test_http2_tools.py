"""curl, nghttp and h2load through the proxy, in every way to speak HTTP/2; Envoy shows that a test is sound."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certs import Authority, Issued
from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    http2_cluster,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.envoy import Envoy
from tests.support.http2_origin import Http2Answer, Http2Origin
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess

_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
LISTENERS = {"auto": "AUTO", "two": "HTTP2", "tls": "AUTO", "tls_two": "HTTP2"}
UPLOAD = 1_000_000
ANSWER = Http2Answer(body=b"y" * 200_000, trailers=[("x-trailer", "1")])


def _listener(name: str, issued: Issued) -> Json:
    table = {"name": name, "virtual_hosts": [virtual_host([route("one", "/one"), route("two", "/")])]}
    made = listener([connection_manager(table, codec_type=LISTENERS[name])], name)
    made["address"]["socket_address"]["port_value"] = f"{{{{{name}_listener_port}}}}"
    if name.startswith("tls"):
        certificate = {
            "certificate_chain": {"filename": str(issued.certificate)},
            "private_key": {"filename": str(issued.key)},
        }
        alpn = ["h2", "http/1.1"] if LISTENERS[name] == "AUTO" else ["h2"]
        context = typed(_TLS, common_tls_context={"tls_certificates": [certificate], "alpn_protocols": alpn})
        made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": context}
    return made


@pytest.fixture(scope="module", params=["envoy", "outrider"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    issued = Authority(tmp_path_factory.mktemp("certificates")).issue("localhost", "127.0.0.1")
    config = bootstrap(
        [_listener(name, issued) for name in LISTENERS], [http2_cluster("two"), cluster("one")]
    )
    kind = Envoy if request.param == "envoy" else subject()
    listeners = [f"{name}_listener" for name in LISTENERS]
    with Http2Origin(ANSWER) as two, Origin() as one:
        values = {"two_port": two.port, "one_port": one.port}
        with kind(config, listeners=listeners, values=values) as running:
            yield running


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upload") / "body"
    path.write_bytes(b"z" * UPLOAD)
    return path


def run(*command: Any) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def url(proxy: ProxyProcess, name: str, path: str = "/") -> str:
    scheme = "https" if name.startswith("tls") else "http"
    return f"{scheme}://127.0.0.1:{proxy.ports[name + '_listener']}{path}"


@pytest.mark.parametrize("path", ["/", "/one"])
@pytest.mark.parametrize(
    ("name", "option", "version"),
    [
        ("auto", "--http2-prior-knowledge", "2"),
        ("auto", "--http2", "1.1"),
        ("auto", "--http1.1", "1.1"),
        ("two", "--http2-prior-knowledge", "2"),
        ("tls", "--http2", "2"),
        ("tls", "--http1.1", "1.1"),
        ("tls_two", "--http2", "2"),
    ],
)
def test_curl(proxy: ProxyProcess, upload: Path, name: str, option: str, version: str, path: str) -> None:
    body = ANSWER.body if path == "/" else b"hello"
    assert isinstance(body, bytes)
    options = ["-s", "-k", "-o", "/dev/null", option]
    write = "%{http_version} %{http_code} %{size_download} %{size_upload}"
    target = url(proxy, name, path)
    assert run("curl", *options, "-w", write, target) == f"{version} 200 {len(body)} 0"
    sent = run("curl", *options, "-w", write, "--data-binary", f"@{upload}", target)
    assert sent == f"{version} 200 {len(body)} {UPLOAD}"


@pytest.mark.parametrize("name", LISTENERS)
def test_nghttp(proxy: ProxyProcess, name: str) -> None:
    shown = run("nghttp", "-v", "-m3", url(proxy, name))
    assert shown.count(":status: 200") == 3
    assert shown.count("x-trailer: 1") == 3


@pytest.mark.parametrize("size", [0, UPLOAD])
@pytest.mark.parametrize("name", LISTENERS)
def test_h2load(proxy: ProxyProcess, upload: Path, name: str, size: int) -> None:
    data = ["-d", upload] if size else []
    count = 20 if size else 200
    shown = run("h2load", f"-n{count}", "-c4", "-m10", *data, url(proxy, name))
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in shown
    assert f"status codes: {count} 2xx" in shown
