"""Requests of every kind, most of them broken: Outrider sees in them what Envoy sees, and forwards no more."""

from __future__ import annotations

import pytest

from tests.conformance.request_corpus import TABLES, cases
from tests.support.batch import BATCH_FIELDS, BATCH_LOG
from tests.support.configs import file_log, http_proxy
from tests.support.corpus import CorpusPair, corpus_fixture, note_corpus
from tests.support.http_text import Message

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
#: Tables with known differences, whose numbers cannot agree either.
UNEQUAL = {"codings", "chunks", "hosts"}


def answer(request: Message) -> bytes:
    return HEAD if request.method == "HEAD" else HEAD + b"hello"


corpus = corpus_fixture(
    http_proxy(
        route_config={"request_headers_to_add": BATCH_FIELDS}, hcm={"access_log": [file_log(BATCH_LOG)]}
    ),
    answer,
)


@pytest.mark.parametrize("table", TABLES)
def test_requests_are_read_as_by_envoy(corpus: CorpusPair, table: str) -> None:
    found = [(case.name, [case.data]) for case in cases(TABLES[table])]
    if table in UNEQUAL:
        results = corpus.same(found)
    else:
        # Bytes sent depend on the digits of a duration.
        with corpus.same_stats("http.ingress.", ignore=["downstream_cx_tx_bytes_total"]):
            results = corpus.same(found)
    note_corpus("Requests of HTTP/1", TABLES[table], results)


def test_a_head_seen_before_is_treated_alike(corpus: CorpusPair) -> None:
    found = [(case.name, [case.data]) for case in cases(TABLES["fields"])]
    for _ in range(2):
        corpus.same(found)


@pytest.mark.parametrize("table", ["lengths", "codings", "chunks", "trailers", "folds"])
def test_byte_by_byte_is_the_same_as_all_at_once(corpus: CorpusPair, table: str) -> None:
    small = [case for case in cases(TABLES[table]) if len(case.data) < 150][::2]
    whole = corpus.run([(case.name, [case.data]) for case in small])
    accepted = [
        case
        for case, result in zip(small, whole, strict=True)
        if any(message.complete for message in result.outrider_talk.upstream)
    ]
    expected = {result.name: result.outrider for result in whole}
    bytewise = [(case.name, [case.data[at : at + 1] for at in range(len(case.data))]) for case in accepted]
    for result in corpus.run(bytewise, parallel=100, pause=0.001):
        assert result.outrider["responses"] == expected[result.name]["responses"], result.name
        assert len(result.outrider_talk.upstream) == len(result.envoy_talk.upstream), result.name
