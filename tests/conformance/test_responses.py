"""Origins that answer badly: the client sees, the log says and the stats count what they would with Envoy."""

from __future__ import annotations

import pytest

from tests.conformance.response_corpus import TABLES, Exchange
from tests.support.batch import BATCH_FIELDS, BATCH_LOG
from tests.support.configs import cluster, file_log, http_proxy, route
from tests.support.corpus import CorpusPair, corpus_fixture, note_corpus
from tests.support.http_text import Message
from tests.support.origin import Answer

EXCHANGES: list[Exchange] = []
FIRST: dict[str, int] = {}
for _name, _table in TABLES.items():
    FIRST[_name] = len(EXCHANGES)
    EXCHANGES.extend(_table())


def answer(request: Message) -> Answer:
    exchange = EXCHANGES[int(request.target[1:])]
    return Answer(exchange.answer, exchange.end, pause=0.05)


corpus = corpus_fixture(
    http_proxy(
        routes=[route(timeout="1s")],
        route_config={"request_headers_to_add": BATCH_FIELDS},
        hcm={"access_log": [file_log(BATCH_LOG)]},
        # Bytes behind a response would meet whatever request comes next on the connection.
        clusters=[cluster(max_requests_per_connection=1)],
    ),
    answer,
)


@pytest.mark.parametrize("table", TABLES)
def test_responses_are_read_as_by_envoy(corpus: CorpusPair, table: str) -> None:
    exchanges = list(TABLES[table]())
    found = [
        (exchange.name, [exchange.request(FIRST[table] + number)])
        for number, exchange in enumerate(exchanges)
    ]
    note_corpus("Responses of HTTP/1", TABLES[table], corpus.same(found, patience=2.5))
