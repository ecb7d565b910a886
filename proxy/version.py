"""The one place that holds the version of the distribution."""

from typing import Final

VERSION: Final = "0.1.0"
#: The Envoy whose configuration and behaviour this version has: (major, minor, patch).
ENVOY_VERSION: Final = (1, 40, 0)


def build_text() -> str:
    """What Envoy prints as its version: revision/version/status/type/TLS library."""
    return f"outrider/{VERSION}/Clean/RELEASE/OpenSSL"


def version_number() -> int:
    """`server.version`: major * 65536 + minor * 256 + patch."""
    major, minor, patch = (int(part) for part in VERSION.split(".")[:3])
    return major << 16 | minor << 8 | patch
