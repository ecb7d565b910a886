"""The units of deploy/systemd, and what the proxy tells systemd."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.configs import bootstrap
from tests.support.outrider import ROOT, Outrider

INSTALL = ROOT / "deploy" / "systemd" / "install.sh"
UNITS = ("outrider.service", "outrider-rules.service")
WORST_EXPOSURE = 3.0


def install(destination: Path, *words: str, prefix: str = "/usr") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(INSTALL), *words],
        env={**os.environ, "DESTDIR": str(destination), "PREFIX": prefix},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def files(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    assert tool is not None, "this needs the Debian package systemd"
    return subprocess.run([tool, *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    program = tmp_path / "prefix" / "bin" / "outrider"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    done = install(tmp_path / "root", prefix=str(tmp_path / "prefix"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "root" / "etc" / "systemd" / "system"


def test_units_are_clean(units: Path) -> None:
    done = analyze("verify", *(str(units / unit) for unit in UNITS))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_hardened(units: Path, unit: str) -> None:
    done = analyze("security", "--offline=true", str(units / unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= WORST_EXPOSURE


def test_installing_twice_and_uninstalling_leaves_nothing(tmp_path: Path) -> None:
    expected = ["etc/logrotate.d/outrider", *(f"etc/systemd/system/{unit}" for unit in sorted(UNITS))]
    for _ in range(2):
        assert install(tmp_path).returncode == 0
        assert files(tmp_path) == sorted(expected)
    service = (tmp_path / "etc/systemd/system/outrider.service").read_text()
    assert "\nExecStart=/usr/bin/outrider -c /etc/outrider/envoy.yaml " in service
    assert "@" not in service.replace("@system-service", "").replace("@privileged", "").replace(
        "@resources", ""
    )
    (tmp_path / "etc/outrider/envoy.yaml").write_text("kept")
    assert install(tmp_path, "--uninstall").returncode == 0
    assert files(tmp_path) == ["etc/outrider/envoy.yaml"]
    assert install(tmp_path, "--uninstall").returncode == 0


def test_a_wrong_call_of_the_installer_changes_nothing(tmp_path: Path) -> None:
    done = install(tmp_path, "--remove")
    assert (done.returncode, done.stderr) == (
        1,
        "install.sh: unknown argument --remove; usage: install.sh [--uninstall]\n",
    )
    assert install(tmp_path, prefix="usr").returncode == 1
    assert files(tmp_path) == []


def test_the_proxy_tells_systemd_how_it_fares(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(30)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}

        def until(key: str) -> dict[str, str]:
            """The next message with a key; signs of life come in between."""
            while True:
                lines = notices.recv(4096).decode().splitlines()
                message = dict(line.split("=", 1) for line in lines)
                if key in message:
                    return message

        with Outrider(bootstrap([]), environment=environment) as proxy:
            assert until("READY") == {"READY": "1", "STATUS": "serving 0 listener(s), 0 cluster(s)"}
            assert until("WATCHDOG") == until("WATCHDOG") == {"WATCHDOG": "1"}
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            proxy.signal(signal.SIGHUP)
            assert int(until("RELOADING")["MONOTONIC_USEC"]) >= before
            assert until("READY")["STATUS"] == "serving 0 listener(s), 0 cluster(s)"
            proxy.config_path.write_text("admin: 5\n")
            proxy.signal(signal.SIGHUP)
            until("RELOADING")
            assert until("READY")["STATUS"].startswith(f"not reloaded: {proxy.config_path}:1:")
            proxy.signal(signal.SIGTERM)
            assert until("STOPPING")["STOPPING"] == "1"
            assert proxy.process.wait(10) == 0
