"""The other proxies, each told to do what the scenario's config says, with one worker and no log.

Where one is not installed the run says so and goes on.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.load.certificate import Certificate
from bench.load.scenario import Config
from bench.load.subjects import Launch, Launcher

_NGINX: Final = """\
daemon off; master_process on; worker_processes 1; pid {directory}/nginx.pid; error_log stderr error;
events {{ worker_connections 20000; }}
http {{
  access_log {log}; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  keepalive_requests 1000000000;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} {tls};
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
_HAPROXY: Final = """\
global
  nbthread 1
  maxconn 20000
defaults
  mode {mode}
  timeout connect 1s
  timeout client 60s
  timeout server 60s
frontend ingress
  bind 127.0.0.1:{port} {tls}
  default_backend origin
backend origin
  server one 127.0.0.1:{origin}
"""


def _nginx(config: Config, origin: int, certificate: Certificate | None, log_path: str) -> Launcher:
    def launch(port: int, _admin_port: int, directory: Path) -> Launch:
        path = directory / "nginx.conf"
        tls = ""
        if certificate:
            tls = f"ssl; ssl_certificate {certificate.certificate}; ssl_certificate_key {certificate.key}"
        log = log_path if config.access_log else "off"
        path.write_text(_NGINX.format(directory=directory, port=port, origin=origin, tls=tls, log=log))
        return Launch(["nginx", "-p", str(directory), "-e", "stderr", "-c", str(path)])

    return launch


def _haproxy(config: Config, origin: int, certificate: Certificate | None, _log_path: str) -> Launcher:
    def launch(port: int, _admin_port: int, directory: Path) -> Launch:
        path = directory / "haproxy.cfg"
        tls = ""
        if certificate:
            both = directory / "both.pem"
            both.write_bytes(certificate.certificate.read_bytes() + certificate.key.read_bytes())
            tls = f"ssl crt {both} alpn h2,http/1.1"
        mode = "tcp" if config.kind == "tcp" else "http"
        path.write_text(_HAPROXY.format(port=port, origin=origin, tls=tls, mode=mode))
        return Launch(["haproxy", "-f", str(path)])

    return launch


def _nghttpx(config: Config, origin: int, certificate: Certificate | None, _log_path: str) -> Launcher:
    def launch(port: int, _admin_port: int, directory: Path) -> Launch:
        protocol = ";;proto=h2" if config.upstream_http2 else ""
        command = [
            *("nghttpx", "--workers=1", f"--conf={directory}/none", "--accesslog-file=/dev/null"),
            *(f"--frontend=127.0.0.1,{port}{'' if certificate else ';no-tls'}", "--log-level=ERROR"),
            *(f"--backend=127.0.0.1,{origin}{protocol}", f"--pid-file={directory}/pid"),
        ]
        (directory / "none").touch()
        return Launch(
            [*command, str(certificate.key), str(certificate.certificate)] if certificate else command
        )

    return launch


def _mitmproxy(_config: Config, origin: int, _certificate: Certificate | None, _log_path: str) -> Launcher:
    def launch(port: int, _admin_port: int, directory: Path) -> Launch:
        return Launch(
            [
                *(
                    "mitmdump",
                    "-q",
                    "--mode",
                    f"reverse:http://127.0.0.1:{origin}",
                    "--listen-host",
                    "127.0.0.1",
                ),
                *("-p", str(port), "--set", f"confdir={directory}", "--set", "flow_detail=0"),
            ]
        )

    return launch


def _aiohttp(_config: Config, origin: int, _certificate: Certificate | None, _log_path: str) -> Launcher:
    def launch(port: int, _admin_port: int, _directory: Path) -> Launch:
        command = [sys.executable, "-m", "bench.load.aiohttp_proxy", "--port", str(port)]
        return Launch([*command, "--origin", str(origin)])

    return launch


_Make = Callable[[Config, int, Certificate | None, str], Launcher]
_MAKERS: Final[dict[str, _Make]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "nghttpx": _nghttpx,
    "mitmproxy": _mitmproxy,
    "aiohttp": _aiohttp,
}
_PROGRAMS: Final = {"mitmproxy": "mitmdump"}
_VERSION_FLAGS: Final = {"nginx": "-v", "haproxy": "-v", "nghttpx": "--version", "mitmproxy": "--version"}


def peer(name: str, config: Config, origin: int, certificate: Certificate | None, log_path: str) -> Launcher:
    """How to start a peer that does what `config` says towards the origin on this port of 127.0.0.1."""
    return _MAKERS[name](config, origin, certificate, log_path)


def installed(name: str) -> bool:
    """Whether this peer can be run here."""
    if name == "aiohttp":
        return importlib.util.find_spec("aiohttp") is not None
    return shutil.which(_PROGRAMS.get(name, name)) is not None


def version(name: str) -> str:
    """What the program says of itself, as short as `1.22.1`."""
    if name == "aiohttp":
        from importlib import metadata

        return metadata.version("aiohttp")
    done = subprocess.run(
        [_PROGRAMS.get(name, name), _VERSION_FLAGS[name]], capture_output=True, text=True, check=False
    )
    found = re.search(r"\d+\.\d+[\w.-]*", done.stdout + done.stderr)
    return found[0] if found else "?"
