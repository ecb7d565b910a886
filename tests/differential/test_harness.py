"""The comparison itself: it must see a difference, keep to the list of known ones, and be quiet otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import known_differences
from tests.support.client import get
from tests.support.compare import Difference, DiffersError
from tests.support.configs import cluster, http_proxy, route
from tests.support.differential import Pair, pair_fixture
from tests.support.known_differences import Entry, KnownDifferences
from tests.support.origin import Answer

# A connection that was kept is given up and the request sent again when it is reset, so what resets stands apart.
pair = pair_fixture(
    http_proxy(routes=[route("resetting", "/reset"), route()], clusters=[cluster(), cluster("resetting")]),
    origins=("origin", "resetting"),
)

REQUEST = b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n"


def test_a_plain_request_is_forwarded_alike(pair: Pair) -> None:
    with pair.same_stats("http.ingress.downstream_rq_2xx", "cluster.origin.upstream_rq_total"):
        outcome = pair.same(REQUEST)
    assert outcome.status == 200
    assert outcome.reply.response.body == b"hello"
    assert outcome.request.target == "/a"


def test_bytes_that_arrive_one_by_one_change_nothing(pair: Pair) -> None:
    assert pair.same([bytes([byte]) for byte in REQUEST], pause=0).status == 200


def test_different_answers_are_told_apart(pair: Pair) -> None:
    pair.outrider.origin.script(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")
    with pytest.raises(DiffersError, match="status"):
        pair.same_value("status", lambda side: get(side.proxy.port).status, settle=0)


def test_an_origin_that_resets_is_answered_alike(pair: Pair) -> None:
    request = REQUEST.replace(b"/a", b"/reset")
    outcome = pair.same(request, Answer(b"", end="reset"))
    assert outcome.status == 503
    assert outcome.request.target == "/reset"


def test_every_entry_of_the_list_names_a_test() -> None:
    here = Path(__file__).parent
    for entry in known_differences.load():
        file, _, name = entry.test.partition("::")
        # Tests of other folders stand there with their path in the tree.
        path = here.parents[1] / file if "/" in file else here / file
        assert f"def {name.split('[')[0]}(" in path.read_text(), entry.test


def test_a_listed_difference_is_accepted_and_missed_when_gone() -> None:
    here = known_differences.current_test()
    known = KnownDifferences([Entry(here, ("response.field.server",), "ours differs")])
    listed = Difference("response.field.server", "envoy", "outrider")
    other = Difference("response.start", "a", "b")
    assert known.unexpected([other]) == [other]
    assert known.no_longer_needed(here) == [f"{here}: response.field.server"]
    assert known.unexpected([listed]) == []
    assert known.no_longer_needed(here) == []
