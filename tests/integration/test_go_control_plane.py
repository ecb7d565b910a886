"""go-control-plane's own integration test drives Outrider in Envoy's place, in every mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.support import go_control_plane
from tests.support.outrider import subject

# Two snapshots; it passes if after each of them every listener answered in one of the batches. All of them together
# have to take longer than polling for a listener, its secrets and its routes, each of which may wait for a second.
PACE = {"rest": ("-u", "2", "-r", "16", "-delay", "400ms")}
USUAL = ("-u", "2", "-r", "12", "-delay", "200ms")

#: They wait for nearly all of their time.
AT_A_TIME = 4

Result = tuple[int, str, str]


def _run(mode: str, tls: bool) -> Result:
    options = [*PACE.get(mode, USUAL), *(["-tls"] if tls else [])]
    return go_control_plane.run(subject(), mode, *options)


@pytest.fixture(scope="module")
def result(request: pytest.FixtureRequest) -> Iterator[Callable[[str, bool], Result]]:
    """What came of a run; all that are chosen begin together, and one that is asked for again runs again."""
    go_control_plane.build()
    begun: dict[tuple[str, bool], Future[Result]] = {}

    def result_of(mode: str, tls: bool) -> Result:
        run = begun.pop((mode, tls), None)
        return _run(mode, tls) if run is None else run.result()

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for item in request.session.items:
            if isinstance(item, pytest.Function) and item.function is test_it_passes:
                mode, tls = item.callspec.params["mode"], item.callspec.params["tls"]
                begun[mode, tls] = pool.submit(_run, mode, tls)
        yield result_of


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("mode", ["ads", "xds", "rest", "delta", "delta-ads"])
def test_it_passes(mode: str, tls: bool, result: Callable[[str, bool], Result]) -> None:
    status, said, log = result(mode, tls)
    assert status == 0, f"{said}\n{log}"
    assert f"Test for {mode} passed!" in said
