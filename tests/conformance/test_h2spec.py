"""h2spec in strict mode: Outrider fails nothing that Envoy passes."""

from __future__ import annotations

import pytest

from tests.support import h2spec
from tests.support.configs import http_proxy
from tests.support.conformance_results import note
from tests.support.differential import Pair, pair_fixture

# A short grace after GOAWAY, so that no case mistakes it for a connection that stays.
pair = pair_fixture(http_proxy(hcm={"codec_type": "HTTP2", "delayed_close_timeout": "0.05s"}))


@pytest.fixture(scope="module", autouse=True)
def program() -> None:
    h2spec.build()


def test_nothing_fails_that_envoy_passes(pair: Pair) -> None:
    envoy, outrider = pair.both(lambda side: h2spec.run(side.proxy.port))
    assert len(envoy) > 140
    assert sum(not failure for failure in envoy.values()) > 130
    assert envoy.keys() == outrider.keys()
    worse = {name: failure for name, failure in outrider.items() if failure and not envoy[name]}
    assert not worse
    passed = [sum(not failure for failure in side.values()) for side in (envoy, outrider)]
    note("Protocol suites", "h2spec, strict", cases=len(envoy), envoy=passed[0], outrider=passed[1])
