"""`Bootstrap.bootstrap_extensions`."""

from __future__ import annotations

from typing import Any, Final

from proxy.config.extensions import carried_type

_INTERNAL_LISTENER: Final = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
_DEFAULT_BUFFER_KB: Final = 1024

NEEDS_EXTENSION: Final = (
    "needs the bootstrap extension envoy.bootstrap.internal_listener (bootstrap_extensions)"
)
"""Why an internal listener is refused where there may be none."""


def internal_buffer_bytes(bootstrap: Any) -> int | None:
    """How much a connection to an internal listener may hold; None if there may be no internal listeners."""
    for extension in bootstrap.bootstrap_extensions:
        if carried_type(extension.typed_config) == _INTERNAL_LISTENER:
            from proxy.config.any_unpack import unpack_any  # few bootstraps have extensions

            message, _ = unpack_any(extension.typed_config)
            if message is not None:
                given = message.HasField("buffer_size_kb")
                return (message.buffer_size_kb.value if given else _DEFAULT_BUFFER_KB) * 1024
    return None
