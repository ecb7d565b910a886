"""What a measure runs on: the scenario's origin and certificate, and its proxies in front of them."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.load import configs
from bench.load.certificate import Certificate, client_context, make_certificate
from bench.load.children import running
from bench.load.generator import HOST
from bench.load.peers import peer
from bench.load.scenario import PEERS, Config, Scenario
from bench.load.subjects import Launcher, Probe, Subject, envoy_like

#: What a gRPC server does to a plain GET ends as 503 at the proxy.
_GRPC_READY: Final = 503


class Bed:
    """Starts proxies for a scenario; all of them end with it."""

    def __init__(
        self, scenario: Scenario, origin_port: int, directory: Path, certificate: Certificate | None
    ) -> None:
        self.origin_port = origin_port
        self._scenario = scenario
        self._directory = directory
        self._certificate = certificate
        self._stack = contextlib.ExitStack()

    def start(
        self, name: str, config: Config | None = None, *, workers: int = 1, cpu_set: set[int] | None = None
    ) -> Subject:
        """A proxy that is ready; it runs the scenario's config unless another is given."""
        config = config or self._scenario.config
        log_path = str(self._directory / f"{name}.log")
        launcher: Launcher
        if name in PEERS:
            launcher = peer(name, config, self.origin_port, self._certificate, log_path)
        else:
            make = configs.bootstrap(config, self.origin_port, self._certificate, log_path)
            launcher = envoy_like(name, make, workers)
        return self.launch(name, launcher, self._probe(config), cpu_set)

    def start_mesh(self, name: str, make: Callable[[int, int], str], host: str) -> Subject:
        """Outrider or Envoy with a bootstrap made elsewhere, ready when it answers for `host`."""
        return self.launch(name, envoy_like(name, make), Probe(host=host))

    def launch(self, name: str, launcher: Launcher, probe: Probe, cpu_set: set[int] | None = None) -> Subject:
        """Start it, and end it with this."""
        subject = Subject(name, launcher, probe, cpu_set)
        self._stack.callback(subject.close)
        return subject

    def _probe(self, config: Config) -> Probe:
        tls: ssl.SSLContext | None = None
        if self._certificate is not None:
            tls = client_context(self._certificate)
        return Probe(
            host=HOST,
            ready=_GRPC_READY if self._scenario.origin.kind == "grpc" else 200,
            tls=tls,
            name=configs.PASSED_NAME if config.kind == "tls_passthrough" else "127.0.0.1",
            path=self._scenario.load.path,
        )

    def close(self) -> None:
        """End all proxies that were started."""
        self._stack.close()


@contextlib.contextmanager
def bed(scenario: Scenario) -> Iterator[Bed]:
    """The bed of a scenario, with its origin running."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-bed-")))
        origin = scenario.origin
        kind = scenario.config.certificate or ("p256" if origin.kind == "tls" else "")
        certificate = make_certificate(directory, rsa=kind == "rsa") if kind else None
        arguments: tuple[str, ...] = ()
        module = "http2_origin" if origin.kind == "http2" else "origin"
        if origin.kind == "grpc":
            module = "grpc_server"
        else:
            arguments = ("--size", str(origin.size))
        if origin.kind == "tls" and certificate is not None:
            arguments += ("--certificate", str(certificate.certificate), "--key", str(certificate.key))
        port = stack.enter_context(running(module, *arguments))
        made = Bed(scenario, port, directory, certificate)
        stack.callback(made.close)
        yield made
