from __future__ import annotations

from types import SimpleNamespace

import pytest

from proxy.base.errors import ConfigError
from proxy.discovery.changes import Changes
from proxy.discovery.places import Places


class Names(Changes[str]):
    def discard(self) -> None:
        pass


def test_what_comes_what_changes_and_what_goes_is_told_apart() -> None:
    changes = Names("cluster", Places(9))
    changes.records = ["new", "other"]
    changes.compare(changes.records, static=["gone", "other", "same"], named={"new", "other", "same"})
    assert changes.added == ["new"]
    assert changes.removed == ["gone"]
    assert changes.summary == "1 added, 1 changed, 1 removed"


def test_a_name_of_the_control_plane_is_refused() -> None:
    changes = Names("listener", Places(9))
    changes.refuse_discovered("a", None)
    changes.refuse_discovered("a", SimpleNamespace(dynamic=False))
    with pytest.raises(ConfigError, match="listener 'a' is one of the control plane's"):
        changes.refuse_discovered("a", SimpleNamespace(dynamic=True))
