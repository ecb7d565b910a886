from __future__ import annotations

import pytest
from google.protobuf import any_pb2
from udpa.type.v1 import typed_struct_pb2 as udpa_typed_struct
from xds.type.v3 import typed_struct_pb2 as xds_typed_struct

from proxy.config import extensions

ECHO = "envoy.extensions.filters.network.echo.v3.Echo"


@pytest.mark.parametrize("name", extensions.type_names())
def test_every_registered_type_exists(name: str) -> None:
    assert extensions.message_class(name).DESCRIPTOR.full_name == name


def test_an_unknown_type_has_no_class() -> None:
    assert extensions.message_class("envoy.extensions.filters.http.lua.v3.Lua") is None
    assert extensions.message_class("google.protobuf.Nonsense") is None


def test_an_unknown_type_is_answered_with_what_there_is() -> None:
    reason = extensions.unknown_type("envoy.extensions.filters.http.lua.v3.Lua", ["envoy.filters.http"])
    assert "envoy.extensions.filters.http.router.v3.Router" in reason
    assert ECHO not in reason
    assert "did you mean" in extensions.unknown_type(ECHO.replace("network.echo", "netwrk.echo"))


@pytest.mark.parametrize("module", [udpa_typed_struct, xds_typed_struct])
def test_the_type_in_a_typed_struct_is_seen(module: object) -> None:
    message = any_pb2.Any()
    message.Pack(module.TypedStruct(type_url=f"a/{ECHO}"))  # type: ignore[attr-defined]
    assert extensions.carried_type(message) == ECHO
    assert extensions.is_registered(message)


def test_categories() -> None:
    assert ECHO in extensions.in_category("envoy.filters.network")
    assert extensions.in_category("nonsense") == []
    assert extensions.categories_at("envoy.config.listener.v3.Filter.typed_config") == (
        "envoy.filters.network",
    )
    known = extensions.categories()
    for site in extensions._SITES.values():
        assert all(category in known for category in site)
