"""What proxies do, as lines for whoever develops a config: who came, what they took, what they refused and why."""

from __future__ import annotations

import logging
from typing import Any

from xds_client.resource_types import ResourceType, resource_type

logger = logging.getLogger("proxy.control_plane")


def noun(kind: ResourceType) -> str:
    """The short name of a type."""
    return kind.value.rpartition(".")[2]


class StreamJournal:
    """One stream. The node is known from its first request on."""

    def __init__(self, method: str, peer: str) -> None:
        self._method = method.rpartition("/")[2]
        self._peer = peer
        self._who = ""
        self._versions: dict[str, tuple[ResourceType, str]] = {}

    def sent(self, response: Any) -> None:
        """A response goes out; its nonce is remembered for the answer."""
        kind = resource_type(response.type_url)
        if kind is not None:
            version = getattr(response, "version_info", "") or getattr(response, "system_version_info", "")
            self._versions[response.nonce] = kind, version

    def came(self, request: Any) -> None:
        """A request came: the first one, the answer to a response, or a new subscription."""
        if not self._who:
            node = request.node
            self._who = f"node {node.id or '(without an id)'!s}" + (
                f" of {node.cluster}" if node.cluster else ""
            )
            agent = node.user_agent_name or "an unknown client"
            logger.info("%s connected from %s: %s (%s)", self._who, self._peer, self._method, agent)
        answered = self._versions.pop(request.response_nonce, None)
        if answered is None:
            return
        kind, version = answered
        if request.HasField("error_detail"):
            reason = request.error_detail.message
            logger.warning("%s NACK %s %s: %s", self._who, noun(kind), version, reason)
        else:
            logger.info("%s ACK %s %s", self._who, noun(kind), version)

    def ended(self) -> None:
        """The stream is over."""
        logger.info("%s disconnected: %s", self._who or self._peer, self._method)
