from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.service.health.v3 import hds_pb2
from envoy.service.runtime.v3 import rtds_pb2

from proxy.config import extensions
from proxy.config.ledger import IMPLEMENTED, NO_EFFECT, UNSUPPORTED, entries, support_of
from proxy.config.ledger.table import AREAS, parse


def reachable(through: Container[str] = (IMPLEMENTED, NO_EFFECT)) -> Iterator[Any]:
    """Every message that a bootstrap, resource or extension reaches through fields of these classes, or of none."""
    todo = [
        bootstrap_pb2.Bootstrap.DESCRIPTOR,
        rtds_pb2.Runtime.DESCRIPTOR,
        hds_pb2.HealthCheckSpecifier.DESCRIPTOR,
    ]
    todo += [extensions.message_class(name).DESCRIPTOR for name in extensions.type_names()]
    seen: set[str] = set()
    while todo:
        descriptor = todo.pop()
        if descriptor.full_name in seen or descriptor.full_name.startswith("google.protobuf."):
            continue
        seen.add(descriptor.full_name)
        if not descriptor.GetOptions().map_entry:
            yield descriptor
        fields = entries().get(descriptor.full_name, {})
        todo += [
            field.message_type
            for field in descriptor.fields
            if field.message_type is not None
            and (field.name not in fields or fields[field.name].status in through)
            and not (
                # What has no effect need not be known any further.
                field.name in fields
                and fields[field.name].status == NO_EFFECT
                and field.message_type.full_name not in entries()
            )
        ]


@pytest.mark.parametrize("descriptor", list(reachable()), ids=lambda descriptor: descriptor.full_name)
def test_every_field_has_a_class_and_no_class_is_without_a_field(descriptor: Any) -> None:
    assert descriptor.full_name in entries(), "the message has no entry in the ledger"
    assert set(entries()[descriptor.full_name]) == {field.name for field in descriptor.fields}


def test_no_entry_is_unreachable() -> None:
    assert set(entries()) == {descriptor.full_name for descriptor in reachable()}


def test_what_has_no_effect_says_why() -> None:
    for fields in entries().values():
        assert all(support.reason for support in fields.values() if support.status == NO_EFFECT)


HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

CARRIED_WHOLE = {
    "envoy.config.core.v3.Node": "the admin server and xDS clients show it as it is",
    "envoy.config.core.v3.BuildVersion": "part of Node",
    "envoy.config.core.v3.Extension": "part of Node",
    "envoy.type.v3.SemanticVersion": "part of Node",
    "xds.core.v3.ContextParams": "part of Node",
}
"""Messages that nobody reads field by field, and why."""

READ_BY_OTHER_MEANS = {
    "envoy.config.bootstrap.v3.Bootstrap.default_regex_engine": "RE2 is the only engine, and the only type",
    "xds.type.matcher.v3.RegexMatcher.google_re2": "RE2 is the only engine, and must be named",
    "envoy.config.route.v3.HeaderMatcher.prefix_match": "the kind of the string is cut from the field's name",
    "envoy.config.route.v3.HeaderMatcher.suffix_match": "the kind of the string is cut from the field's name",
    "envoy.config.route.v3.HeaderMatcher.contains_match": "the kind of the string is cut from the field's name",
    "envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig.cleartext_socket_config": "it has no fields",
    "envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig.cleartext_socket_config": (
        "it has no fields"
    ),
}
"""Fields that are read without being named, and why."""


def words_of_code() -> set[str]:
    """Attribute names and the words of text constants in the code that acts on configuration."""
    root = Path(__file__).resolve().parents[5] / "proxy"
    words: set[str] = set()
    for path in (*root.rglob("*.py"), *root.with_name("xds_client").rglob("*.py")):
        generic = path.is_relative_to(root / "config") and path.name not in {
            "http2_options.py",
            "config_source.py",
            "config_sources.py",
        }
        if generic or path.is_relative_to(root / "demo"):
            continue
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                words.add(node.attr)
            elif (
                isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
            ):
                words.update(re.findall(r"\w+", node.value))
    return words


def test_what_counts_as_implemented_is_read_by_code_that_acts_on_it() -> None:
    words = words_of_code()
    unread = {
        field.full_name
        for descriptor in reachable(through={IMPLEMENTED})
        if descriptor.full_name not in CARRIED_WHOLE
        for field in descriptor.fields
        if support_of(field).status == IMPLEMENTED and field.name not in words
    }
    assert unread == set(READ_BY_OTHER_MEANS)


def test_every_carrier_field_says_what_may_stand_in_it() -> None:
    for descriptor in reachable():
        for field in descriptor.fields:
            if (
                field.message_type is not None
                and field.message_type.full_name in extensions.CARRIERS
                and support_of(field).status != UNSUPPORTED
            ):
                assert extensions.categories_at(field.full_name), field.full_name


def test_an_unclassed_field_counts_as_unsupported() -> None:
    from envoy.config.trace.v3 import xray_pb2

    support = support_of(xray_pb2.XRayConfig.DESCRIPTOR.fields[0])
    assert support.status == UNSUPPORTED
    assert support.reason


def test_the_notation() -> None:
    fields = parse("a.B\n  + one two\n  ~ for a reason: three\n  - four\n  - later: five\n")["a.B"]
    assert {name: (support.status, support.reason) for name, support in fields.items()} == {
        "one": (IMPLEMENTED, ""),
        "two": (IMPLEMENTED, ""),
        "three": (NO_EFFECT, "for a reason"),
        "four": (UNSUPPORTED, ""),
        "five": (UNSUPPORTED, "later"),
    }
    with pytest.raises(ValueError, match="classed twice"):
        parse("a.B\n  + one one\n")
    with pytest.raises(ValueError, match="two entries"):
        parse("a.B\na.B\n")


def test_areas_have_titles() -> None:
    assert len({title for title, _ in AREAS}) == len(AREAS)
