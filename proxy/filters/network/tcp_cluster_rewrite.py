"""Istio's `envoy.filters.network.tcp_cluster_rewrite`: replaces parts of the name that `sni_cluster` has noted.

Source: istio/proxy, `source/extensions/filters/network/tcp_cluster_rewrite`. Istio matches with the regular
expressions of C++ (ECMAScript), here RE2 does: what RE2 lacks (look-around, back references) is refused.
"""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import Struct

from proxy.base.regex import Regex, Substitution, compile_regex, wire_text
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts, NetworkFilterFactory
from proxy.filters.network.sni_cluster import CLUSTER_KEY

#: What the replacement text of ECMAScript may refer to; any other "$" stands for itself.
_REFERENCE: Final = re.compile(r"\$(\$|&|[0-9]{1,2})")


class ClusterRewrite(Struct, frozen=True):
    """`pattern` None leaves every name as it is."""

    pattern: Regex | None
    replacement: Substitution


class TcpClusterRewriteFilter:
    """The gate; see `proxy.filters.api.ConnectionGate`."""

    reject_delay = 0.0

    def __init__(self, config: ClusterRewrite) -> None:
        self._config = config

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """Rewrite the connection's cluster, if an earlier filter has set one."""
        state = connection.filter_state
        name = state.get(CLUSTER_KEY)
        pattern = self._config.pattern
        if name is not None and pattern is not None:
            connection.filter_state = {**state, CLUSTER_KEY: pattern.sub(name, self._config.replacement)}
        return True


def ecmascript_replacement(text: str, groups: int) -> Substitution:
    """`$1` to `$99` are groups (empty if the pattern has fewer), `$&` is the match, `$$` a dollar sign."""
    parts: list[str | int] = []
    position = 0
    text = wire_text(text)
    for reference in _REFERENCE.finditer(text):
        parts.append(text[position : reference.start()])
        position = reference.end()
        what = reference[1]
        if what == "$":
            parts.append("$")
        elif what == "&":
            parts.append(0)
        elif int(what) <= groups:
            parts.append(int(what))
    parts.append(text[position:])
    return Substitution(tuple(part for part in parts if part != ""))


def _compile(message: Any, path: str, ctx: CompileContext) -> ClusterRewrite:
    pattern = None
    if message.cluster_pattern:
        pattern = compile_regex(message.cluster_pattern, f"{path}.cluster_pattern", ctx)
    groups = 0 if pattern is None else pattern.groups
    return ClusterRewrite(pattern, ecmascript_replacement(message.cluster_replacement, groups))


def _create(
    config: ClusterRewrite, services: WorkerServices, listener: ListenerFacts
) -> TcpClusterRewriteFilter:
    del services, listener
    return TcpClusterRewriteFilter(config)


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.tcp_cluster_rewrite",
    type_name="istio.envoy.config.filter.network.tcp_cluster_rewrite.v2alpha1.TcpClusterRewrite",
    terminal=False,
    compile=_compile,
    create=_create,
)
