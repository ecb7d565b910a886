"""The container image: built by buildah without a registry, run as its user with a read-only root."""

from __future__ import annotations

import contextlib
import errno
import http.client
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.image import Image, build
from tests.support.namespaces import Network
from tests.support.origin import Origin
from tests.support.outrider import ROOT
from tests.support.ports import free_port

UID = 1337


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    folder = tmp_path_factory.mktemp("image")
    try:
        yield build(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_it_is_the_proxys_user_and_has_no_tools_to_build(image: Image) -> None:
    assert image.config["User"] == f"{UID}:{UID}"
    assert image.config["Entrypoint"] == ["outrider"]
    assert image.config["StopSignal"] == "SIGTERM"
    assert image.run("id", "-u").strip() == str(UID)
    assert "outrider  version: " in image.run("outrider", "--version")
    found = image.run("sh", "-c", "for tool in pip cc gcc make; do command -v $tool; done; true")
    assert found == ""
    assert not list((image.mount / "opt/outrider").rglob("site-packages/pip"))
    assert not (image.mount / "src/proxy").exists()


def test_it_prints_rules_without_any_privilege(image: Image) -> None:
    printed = image.run("outrider", "iptables", "plan", "--print", "-b", "*", "-i", "*")
    assert f"-A ISTIO_OUTPUT -m owner --uid-owner {UID} -j RETURN" in printed


def test_as_an_init_container_it_puts_the_rules_in_place(image: Image) -> None:
    with Network() as network:
        pod = network.host("pod")
        flags = [
            "iptables",
            "-p",
            "15001",
            "-z",
            "15006",
            "-u",
            str(UID),
            "-m",
            "REDIRECT",
            "-i",
            "*",
            "-b",
            "*",
        ]
        done = pod.run(*image.command(*flags, user="0:0"))
        assert "rules installed" in done.stderr
        assert "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001" in pod.saved()
        refused = pod.run(*image.command(*flags, "--reconcile"), check=False)
        assert refused.returncode == 1
        assert "needs the capability NET_ADMIN" in refused.stderr


def test_it_serves_with_a_read_only_root_and_drains_without_a_failed_request(
    image: Image, tmp_path: Path
) -> None:
    port, admin = free_port(), free_port()
    with Origin() as first, Origin() as second:
        config = (ROOT / "examples/static_http.yaml").read_text()
        changes = {"10000}": port, "9901}": admin, "9001}": first.port, "9002}": second.port}
        for old, new in changes.items():
            assert f"port_value: {old}" in config
            config = config.replace(f"port_value: {old}", f"port_value: {new}}}")
        (tmp_path / "envoy.yaml").write_text(config)
        tmp_path.chmod(0o755)
        with open(tmp_path / "log", "wb") as log:
            words = ["-c", "/etc/outrider/envoy.yaml", "--drain-time-s", "3"]
            process = subprocess.Popen(
                image.command(*words, binds={tmp_path: "/etc/outrider"}), stdout=log, stderr=log
            )
        try:
            _until_ready(admin, process, tmp_path / "log")
            _is_confined(process.pid)
            probe = list(image.config["Healthcheck"]["Test"])[1:]  # type: ignore[index]
            probe = ["env", f"ADMIN_PORT={admin}", *probe]
            assert subprocess.run(image.inside(*probe), check=False, timeout=30).returncode == 0
            failures, served = _drain_under_load(process, port)
            assert (failures, process.returncode) == ([], 0), (tmp_path / "log").read_text()
            assert served > 8
            assert subprocess.run(
                image.inside(*probe), check=False, timeout=30, stderr=subprocess.DEVNULL
            ).returncode
        finally:
            process.kill()
            process.wait()


def _until_ready(admin: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _is_confined(pid: int) -> None:
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in status
    with pytest.raises(OSError, match=r".") as caught:
        Path(f"/proc/{pid}/root/opt/outrider/new").touch()
    assert caught.value.errno == errno.EROFS


def _drain_under_load(process: subprocess.Popen[bytes], port: int) -> tuple[list[str], int]:
    """SIGTERM while eight clients ask; what failed, and how many requests did not."""
    failures: list[str] = []
    served: list[int] = []

    def ask_until_refused() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while True:
            try:
                client.connect()
            except OSError:
                return
            try:
                while client.sock is not None:
                    client.request("GET", "/")
                    response = client.getresponse()
                    response.read()
                    served.append(response.status)
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                client.close()

    threads = [threading.Thread(target=ask_until_refused) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(served) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    for thread in threads:
        thread.join(20)
    return [*failures, *(str(status) for status in served if status != 200)], len(served)
