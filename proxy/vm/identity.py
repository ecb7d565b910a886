"""Who this VM is to the control plane: from `sidecar.env`, and from the metadata server for what is not there."""

from __future__ import annotations

import http.client
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from proxy.vm.env_file import Settings
from proxy.vm.errors import VmError

DEFAULT_METADATA_HOST: Final = "metadata.google.internal"
_ROOT: Final = "/computeMetadata/v1/"
_SECONDS: Final = 1.0
_MOST_BYTES: Final = 4096

Metadata = Callable[[str], str]
"""A value of the metadata server by its path below `computeMetadata/v1/`, "" if it has none."""


class Identity(Struct, frozen=True):
    """`zone` is "" where the machine does not know it; `ip` is that of the route to others."""

    project_number: str
    network_name: str
    zone: str
    ip: str
    unique: str

    @property
    def node_id(self) -> str:
        """As Traffic Director wants it."""
        return f"projects/{self.project_number}/networks/{self.network_name}/nodes/{self.unique}"


def find(settings: Settings, metadata: Metadata, ip: str, origin: str) -> Identity:
    """Raises `VmError` if the project or the network is known to neither."""
    number = settings.project_number or metadata("project/numeric-project-id")
    if not number:
        raise VmError(f"{origin}: GCP_PROJECT_NUMBER is not set, and no metadata server tells it; set it")
    name = settings.network_name
    if not name:
        # projects/<number>/networks/<name>
        name = metadata("instance/network-interfaces/0/network").rpartition("/")[2]
    if not name:
        raise VmError(f"{origin}: VPC_NETWORK_NAME is not set, and no metadata server tells it; set it")
    # projects/<number>/zones/<zone>
    zone = metadata("instance/zone").rpartition("/")[2]
    return Identity(number, name, zone, ip, str(uuid.uuid4()))


class MetadataServer:
    """Asks the metadata server; GCE_METADATA_HOST is its address. One that does not answer is asked once."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._host = environment.get("GCE_METADATA_HOST") or DEFAULT_METADATA_HOST
        self._there = True

    def __call__(self, path: str) -> str:
        """See `Metadata`."""
        if not self._there:
            return ""
        host, _, port = self._host.partition(":")
        connection = http.client.HTTPConnection(host, int(port) if port.isdigit() else 80, timeout=_SECONDS)
        try:
            connection.request("GET", _ROOT + path, headers={"Metadata-Flavor": "Google"})
            response = connection.getresponse()
            text = response.read(_MOST_BYTES).decode("ascii", "replace").strip()
            # Captive portals answer too; the real one says who it is.
            genuine = response.getheader("Metadata-Flavor") == "Google"
            return text if response.status == 200 and genuine and _plain(text) else ""
        except (OSError, http.client.HTTPException):
            self._there = False
            return ""
        finally:
            connection.close()


def _plain(text: str) -> bool:
    return all(char.isalnum() or char in "-_./:" for char in text)


def own_ip() -> str:
    """The address that others see this machine at, "127.0.0.1" if there is no route; sends nothing."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
            except OSError:
                continue
            ip: str = probe.getsockname()[0]
            return ip
    return "127.0.0.1"
