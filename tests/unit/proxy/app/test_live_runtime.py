"""The runtime while it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.app.disk_layers import DiskLayer
from proxy.app.live_runtime import LiveRuntime
from proxy.app.runtime_layers import Layer
from proxy.base.errors import UsageError
from proxy.config.config_sources import GUARD


def test_the_admin_layer_is_written_and_told(tmp_path: Path) -> None:
    told: list[Any] = []
    runtime = LiveRuntime((Layer("s", {"a": "1"}), Layer("admin", {}, admin=True)), told.append)
    runtime.modify({"a": "2", "b": "3"})
    assert runtime.view.values == {"a": "2", "b": "3"}
    runtime.modify({"b": ""})
    assert told == [("runtime", {"a": "2", "b": "3"}), ("runtime", {"a": "2"})]
    assert (runtime.stats.num_layers, runtime.stats.num_keys, runtime.stats.admin_overrides_active) == (
        2,
        1,
        1,
    )


def test_without_an_admin_layer_nothing_is_written() -> None:
    with pytest.raises(UsageError, match="No admin layer"):
        LiveRuntime((), lambda _message: None).modify({"a": "2"})


def test_directories_are_read_whenever_something_changes(tmp_path: Path) -> None:
    disk = DiskLayer(str(tmp_path / "link"), str(tmp_path))
    runtime = LiveRuntime(
        (Layer("d", {}, disk=disk), Layer("gone", {}, disk=disk, missing=True), Layer("a", {}, admin=True)),
        lambda _message: None,
    )
    (tmp_path / "value").write_text("7")
    runtime.modify({"other": "1"})
    assert runtime.view.values == {"value": "7", "other": "1"}
    assert runtime.stats.override_dir_exists == 1
    tmp_path.rename(tmp_path.with_name("moved"))
    runtime.modify({"other": "2"})
    assert runtime.view.values == {"other": "2"}
    assert [layer.name for layer in runtime.present()] == ["a"]


def test_a_reload_brings_other_layers() -> None:
    runtime = LiveRuntime((Layer("s", {"a": "1"}),), lambda _message: None)
    runtime.use((Layer("s", {"c": "1"}),))
    assert runtime.view.values == {"c": "1"}


def test_guards_that_are_set_in_vain_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    fragment = "envoy.reloadable_features.http_reject_path_with_fragment"
    runtime = LiveRuntime(
        (Layer("s", {fragment: "false"}), Layer("a", {}, admin=True)), lambda _message: None
    )
    runtime.modify({"other": "1"})
    assert caplog.messages == []
    for text in ("true", "false", "true", "false"):
        runtime.modify({fragment: text, GUARD: text})
    assert sorted(caplog.messages) == [
        f"{fragment}: false has no effect here; what true stands for is what is done",
        f"{GUARD} is read at the start only; set it in a layer of the bootstrap",
    ]
