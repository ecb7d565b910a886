from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from msgspec.structs import replace

from proxy.hcm.config import UpgradeConfig
from proxy.hcm.discovered_filter import CompiledHttpFilter, DiscoveredHttpFilter, MissingConfigFilter
from proxy.hcm.filter_makers import FilterMakers
from proxy.router.per_filter_config import FilterOverride
from tests.support.listeners import services
from tests.unit.proxy.hcm.test_discovered_filter import BUFFER, ROUTER, brought, compiled, discovered, router

PLAIN = cast("Any", SimpleNamespace(upgrade=""))
CONNECT = cast("Any", SimpleNamespace(upgrade="connect"))


def buffer(size: int) -> Any:
    message = buffer_pb2.Buffer()
    message.max_request_bytes.value = size
    return message


def static(name: str, *, disabled: bool = False) -> CompiledHttpFilter:
    one, _, _ = compiled(discovered(BUFFER, default=buffer(9)), router())
    default = one.found.default
    return CompiledHttpFilter(name, default.factory, default.config, disabled)


def dynamic() -> DiscoveredHttpFilter:
    one, _, _ = compiled(discovered(BUFFER), router())
    return cast("DiscoveredHttpFilter", one)


def makers(*filters: Any, **upgrades: Any) -> FilterMakers:
    config = SimpleNamespace(
        filters=filters, upgrades={name: UpgradeConfig(True, chain) for name, chain in upgrades.items()}
    )
    return FilterMakers(cast("Any", config), services(), "http.in.")


def names(of: FilterMakers, plan: Any = PLAIN, **overrides: FilterOverride) -> list[str]:
    return [name for name, _ in of.chosen(plan, overrides)]


def test_a_route_switches_filters_off_and_on() -> None:
    of = makers(static("a"), static("b", disabled=True))
    assert names(of) == ["a"]
    assert names(of, a=FilterOverride(disabled=True), b=FilterOverride()) == ["b"]
    assert of.any
    assert not makers().any


def test_filters_without_anything_to_do_cost_a_route_nothing() -> None:
    factory = replace(static("a").factory, idle=lambda config: True)
    idle = CompiledHttpFilter("idle", factory, static("a").config, False)
    of = makers(idle)
    assert names(of) == []
    assert not of.any_on({})
    assert names(of, idle=FilterOverride()) == ["idle"]
    assert names(makers(static("a"), idle)) == ["a", "idle"]


def test_an_upgrade_may_have_filters_of_its_own() -> None:
    of = makers(static("a"), connect=(static("c"),))
    assert names(of, CONNECT) == ["c"]
    assert names(of) == ["a"]
    assert makers(connect=(static("c"),)).any


def test_a_new_config_makes_new_filters_and_leaves_the_others_their_makers() -> None:
    one = dynamic()
    of = makers(static("a"), one)
    overrides: dict[str, FilterOverride] = {}
    (before, (_, missing)) = of.chosen(PLAIN, overrides)
    assert isinstance(missing(cast("Any", None)), MissingConfigFilter)
    assert list(of.sources()) == [one.source]
    one.source.set(brought(buffer(1)))
    of.use()
    (after, (name, make)) = of.chosen(PLAIN, overrides)
    assert after[1] is before[1]
    assert name == "f"
    assert not isinstance(make(cast("Any", None)), MissingConfigFilter)
    assert of.factory("f") is of.factory("a")


def test_one_answer_stands_for_all_configs_that_are_missing() -> None:
    of = makers(dynamic(), dynamic(), static("a"))
    assert names(of) == ["f", "a"]
    assert of.factory("f") is None


def test_a_router_that_has_come_is_no_filter_of_the_chain() -> None:
    one, _, _ = compiled(discovered(ROUTER))
    of = makers(static("a"), one)
    assert names(of) == ["a", "f"]
    message = extension_pb2.TypedExtensionConfig(name="f")
    message.typed_config.Pack(router_pb2.Router(suppress_envoy_headers=True))
    one.source.set(message.SerializeToString())
    of.use()
    assert names(of) == ["a"]
    assert of.router.suppress_envoy_headers
