"""The extensions of the data plane: importing this module registers and preloads them all."""

from __future__ import annotations

from proxy.filters import network

network.register_all()
