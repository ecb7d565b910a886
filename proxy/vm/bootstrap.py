"""The text of a VM's bootstrap: a template with the values of its settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from proxy.vm.env_file import Settings
from proxy.vm.errors import VmError
from proxy.vm.identity import Identity

TEMPLATE: Final = Path(__file__).with_name("bootstrap_template.yaml")
_PLACE: Final = re.compile(r"\{([A-Z][A-Z_]+)\}")


def render(template: str, settings: Settings, identity: Identity, server_cert: str, origin: str) -> str:
    """The bootstrap; raises `VmError` for a place that nothing belongs to."""
    values = {
        "NODE_ID": identity.node_id,
        "ENVOY_ZONE": identity.zone,
        "INSTANCE_IP": identity.ip,
        "GCP_PROJECT_NUMBER": identity.project_number,
        "VPC_NETWORK_NAME": identity.network_name,
        "ENVOY_PORT": str(settings.port),
        "ENVOY_ADMIN_PORT": str(settings.admin_port),
        "XDS_SERVER_CERT": server_cert,
        "TRACING_ENABLED": str(settings.tracing).lower(),
        "ACCESSLOG_PATH": settings.access_log,
    }
    lines = template.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        for name in _PLACE.findall(line):
            if name not in values:
                known = ", ".join(sorted(values))
                raise VmError(f"{origin}:{number}: nothing is known as {{{name}}}; use {known}")
    return "".join(_PLACE.sub(lambda found: values[found[1]], line) for line in lines)
