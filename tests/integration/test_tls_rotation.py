"""Certificates that change under load: no handshake fails, open connections live on."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
import time
from pathlib import Path

from tests.support.certs import Authority, Issued
from tests.support.configs import bootstrap, connection_manager, listener, typed, virtual_host
from tests.support.outrider import subject

TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
ROTATIONS = 3
PATIENCE = 20.0


def replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)


def mount(directory: Path, issued: Issued, version: int) -> None:
    """Put a pair there as Kubernetes does: a new directory, and a link to it that is swapped."""
    target = directory / f"..{version}"
    target.mkdir()
    (target / "tls.crt").write_bytes(issued.certificate.read_bytes())
    (target / "tls.key").write_bytes(issued.key.read_bytes())
    link = directory / "..data_tmp"
    link.symlink_to(target.name)
    os.replace(link, directory / "..data")


def config(directory: Path) -> dict[str, object]:
    files = {
        "certificate_chain": {"filename": str(directory / "..data/tls.crt")},
        "private_key": {"filename": str(directory / "..data/tls.key")},
    }
    replace(
        directory / "sds.json",
        json.dumps({"resources": [{**typed(SECRET, name="server"), "tls_certificate": files}]}).encode(),
    )
    source = {"path_config_source": {"path": str(directory / "sds.json")}, "resource_api_version": "V3"}
    context = {"tls_certificate_sds_secret_configs": [{"name": "server", "sds_config": source}]}
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    made = listener([connection_manager({"name": "r", "virtual_hosts": [virtual_host([answer])]})])
    made["filter_chains"][0]["transport_socket"] = {
        "name": "tls",
        "typed_config": typed(TLS, common_tls_context=context),
    }
    return bootstrap([made], node={"id": "a", "cluster": "b"})


def test_rotation_under_load(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mount(tmp_path, authority.issue("server.test"), 0)
    context = authority.client_context()
    context.check_hostname = False
    stop = threading.Event()
    failures: list[str] = []
    seen: list[bytes] = []

    with subject()(config(tmp_path), listeners=["listener"]) as proxy:

        def connect() -> http.client.HTTPSConnection:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", proxy.port, timeout=PATIENCE, context=context
            )
            connection.connect()
            return connection

        def load() -> None:
            while not stop.is_set():
                try:
                    connection = connect()
                    seen.append(connection.sock.getpeercert(True))
                    connection.request("GET", "/")
                    if connection.getresponse().status != 200:
                        failures.append("status")
                    connection.close()
                except OSError as error:
                    failures.append(repr(error))

        old = connect()
        thread = threading.Thread(target=load)
        thread.start()
        for version in range(1, ROTATIONS + 1):
            issued = authority.issue(f"server-{version}.test")
            mount(tmp_path, issued, version)
            wanted = ssl.PEM_cert_to_DER_cert(issued.certificate.read_text())
            deadline = time.monotonic() + PATIENCE
            while wanted not in seen[-1:] and time.monotonic() < deadline:
                time.sleep(0.02)
            assert seen[-1] == wanted
        stop.set()
        thread.join()
        old.request("GET", "/")
        assert old.getresponse().status == 200
        old.close()
        numbers = proxy.stats("sds.server.")
    assert failures == []
    assert len(set(seen)) == ROTATIONS + 1
    assert numbers["sds.server.update_success"] == ROTATIONS + 1
    assert numbers["sds.server.key_rotation_failed"] == 0
