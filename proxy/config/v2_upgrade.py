"""Configuration in the spelling of Envoy's v2 API, rewritten to v3 in the node tree before it is read.

Present Envoy refuses v2, yet much published material is written in it. The tree is walked along the v3
message types; `v2_rules` has the rewrites. Files in v3 are not walked unless something in them looks like v2.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from proxy.config import extensions
from proxy.config.faults import WARNING, Fault
from proxy.config.node_edit import get, items_of, put, text
from proxy.config.v2_rules import RULES, v3_type

_MARKERS = (
    ".v2.",
    ".v2alpha",
    "envoy.http_connection_manager",
    "envoy.router",
    "envoy.file_access_log",
    "envoy.echo",
    "envoy.cors",
    "envoy.buffer",
    "envoy.tcp_proxy",
    "access_log_path",
    "accessLogPath",
)


def may_be_v2(source: str) -> bool:
    """Whether a text names something that v2 named; reading finds v2 field names, they are not looked for."""
    return any(marker in source for marker in _MARKERS)


def upgrade(root: Node, descriptor: Descriptor) -> list[Fault]:
    """Rewrite what is v2 in a tree that is to become a message of `descriptor`; one warning per construct."""
    walk = _Walk()
    walk.message(root, descriptor)
    return [
        Fault(node, f"v2 spelling: {construct}" + (f" ({count} places)" if count > 1 else ""), WARNING)
        for construct, (node, count) in walk.found.items()
    ]


class _Walk:
    """One pass over a tree. `found` keeps, for each construct, where it was first and how often."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[Node, int]] = {}

    def note(self, construct: str, node: Node) -> None:
        first, count = self.found.get(construct, (node, 0))
        self.found[construct] = (first, count + 1)

    def message(self, node: Any, descriptor: Any) -> None:
        if not isinstance(node, MappingNode):
            return
        if descriptor.full_name == "google.protobuf.Any":
            self._any(node)
            return
        if descriptor.full_name.startswith("google.protobuf."):
            return
        for rule in RULES.get(descriptor.full_name, ()):
            rule(node, self.note)
        find, find_camel_case = descriptor.fields_by_name.get, descriptor.fields_by_camelcase_name.get
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                field = find(key.value) or find_camel_case(key.value)
                if field is not None and field.message_type is not None:
                    self._field(value, field)

    def _field(self, node: Any, field: Any) -> None:
        if field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"].message_type
            if inner is not None and isinstance(node, MappingNode):
                for _, value in node.value:
                    self.message(value, inner)
            return
        for item in items_of(node):
            if isinstance(item, SequenceNode):
                for nested in item.value:
                    self.message(nested, field.message_type)
            else:
                self.message(item, field.message_type)

    def _any(self, node: MappingNode) -> None:
        type_node = get(node, "@type")
        if not isinstance(type_node, ScalarNode):
            return
        prefix, _, name = type_node.value.rpartition("/")
        carried: Any = node
        if name in extensions.TYPED_STRUCTS:
            type_node, carried = get(node, "type_url"), get(node, "value")
            if not isinstance(type_node, ScalarNode):
                return
            prefix, _, name = type_node.value.rpartition("/")
        upgraded = v3_type(name)
        if upgraded is not None:
            self.note(f"type {name}; read as {upgraded}", type_node)
            key = "@type" if carried is node else "type_url"
            put(node, key, text(f"{prefix}/{upgraded}" if prefix else upgraded, type_node))
            name = upgraded
        found_class = extensions.message_class(name)
        if found_class is not None:
            self.message(carried, found_class.DESCRIPTOR)
