"""`outrider control-plane` and a proxy, the example as it stands: files change, traffic follows."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support.client import get
from tests.support.origin import Origin
from tests.support.outrider import ROOT, Outrider
from tests.support.ports import free_port

EXAMPLE = ROOT / "examples" / "mesh"
CLUSTER = """\
"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: odd
type: LOGICAL_DNS
connect_timeout: 1s
load_assignment:
  cluster_name: odd
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: a.test, port_value: 1}}}
    - endpoint: {address: {socket_address: {address: b.test, port_value: 1}}}
"""


class ControlPlane:
    """The verb as a process of its own."""

    def __init__(self, directory: Path, log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*Outrider.command(), "control-plane", str(directory), "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={"PYTHONUNBUFFERED": "1", "PATH": "/usr/bin:/bin"},
            )
        try:
            self.port = int(self.wait_for(r"serving .* on 127\.0\.0\.1:(\d+)")[1])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def wait_for(self, pattern: str, seconds: float = 20.0) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self._log.read_text())) is None:
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self._log.read_text()}"
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.02)
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "mesh")
    return tmp_path / "mesh" / "resources"


@pytest.fixture
def origins() -> Iterator[tuple[Origin, Origin]]:
    with Origin() as first, Origin() as second:
        yield first, second


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def eventually(check: object, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
def test_files_change_and_traffic_follows(
    folder: Path, origins: tuple[Origin, Origin], tmp_path: Path, api_type: str
) -> None:
    first, second = origins
    port = free_port()
    edit(folder / "listener.yaml", ("10000", str(port)))
    edit(folder / "endpoints.yaml", ("9001", str(first.port)), ("9002", str(second.port)))
    with ControlPlane(folder, tmp_path / "log") as plane:
        bootstrap = (EXAMPLE / "bootstrap.yaml").read_text()
        bootstrap = bootstrap.replace("18000", str(plane.port)).replace("9901", "{{admin_port}}")
        with Outrider(bootstrap.replace("DELTA_GRPC", api_type)) as proxy:
            plane.wait_for("node front of example connected")
            for kind in ("Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"):
                plane.wait_for(f"node front of example ACK {kind} [0-9a-f]+")
            assert get(port).status == 200
            assert (len(first.requests), len(second.requests)) == (1, 0)

            edit(folder / "routes.yaml", ("cluster: service_1", "cluster: service_2"))
            plane.wait_for("RouteConfiguration [0-9a-f]+: ~public")
            eventually(lambda: get(port).status == 200 and second.requests)

            edit(folder / "routes.yaml", ("prefix:", "prefx:"))
            plane.wait_for(r"routes\.yaml:8:13: virtual_hosts\[0\]\.routes\[0\]\.match\.prefx: unknown field")
            assert get(port).status == 200

            (folder / "odd.yaml").write_text(CLUSTER)
            plane.wait_for("node front of example NACK Cluster [0-9a-f]+: .*odd.*LOGICAL_DNS")
            assert get(port).status == 200
            (folder / "odd.yaml").unlink()
            plane.wait_for("Cluster [0-9a-f]+: -odd")

            (folder / "listener.yaml").unlink()
            plane.wait_for("Listener [0-9a-f]+: -ingress")
            eventually(lambda: proxy.stats()["listener_manager.total_listeners_active"] == 0)
        plane.wait_for("node front of example disconnected")
        plane.process.terminate()
        assert plane.process.wait(10) == 0


def test_a_port_that_is_taken_is_told(folder: Path, tmp_path: Path) -> None:
    with ControlPlane(folder, tmp_path / "log") as plane:
        done = subprocess.run(
            [*Outrider.command(), "control-plane", str(folder), "--port", str(plane.port)],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=ROOT,
            check=False,
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{plane.port}" in done.stderr
