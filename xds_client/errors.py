"""What goes wrong between the client and a control plane. Refused sources are `proxy.base.errors.ConfigError`."""

from __future__ import annotations

from proxy.base.errors import OutriderError


class ConnectError(OutriderError):
    """A control plane cannot be reached, or a stream to it ended; the text tells the operator where to look."""


class RefusedSpecifierError(OutriderError):
    """What a control plane wants checked cannot be; what was checked before still is."""
