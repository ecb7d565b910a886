"""go-control-plane's own integration test drives Outrider in Envoy's place, in every mode."""

from __future__ import annotations

import pytest

from tests.support import go_control_plane
from tests.support.outrider import subject

# Two snapshots; it passes if after each of them every listener answered in one of the batches. All of them together
# have to take longer than polling for a listener, its secrets and its routes, each of which may wait for a second.
PACE = {"rest": ("-u", "2", "-r", "16", "-delay", "400ms")}
USUAL = ("-u", "2", "-r", "12", "-delay", "200ms")


@pytest.fixture(scope="module", autouse=True)
def program() -> None:
    go_control_plane.build()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("mode", ["ads", "xds", "rest", "delta", "delta-ads"])
def test_it_passes(mode: str, tls: bool) -> None:
    status, said, log = go_control_plane.run(
        subject(), mode, *PACE.get(mode, USUAL), *(["-tls"] if tls else [])
    )
    assert status == 0, f"{said}\n{log}"
    assert f"Test for {mode} passed!" in said
