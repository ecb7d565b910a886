"""Requests that hide another one: nothing goes upstream that Envoy keeps back, and answers belong to requests."""

from __future__ import annotations

import pytest

from tests.conformance.request_corpus import cases
from tests.conformance.request_smuggling import TABLES
from tests.support.batch import BATCH_FIELDS, BATCH_LOG
from tests.support.configs import file_log, http_proxy
from tests.support.corpus import CorpusPair, corpus_fixture, note_corpus, told_target
from tests.support.http_text import Message

_ANSWERS = {
    "/101": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "/426": b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n",
}


def answer(request: Message) -> bytes:
    told = _ANSWERS.get(request.target)
    if told is not None and request.get("upgrade"):
        return told
    return told_target(request)


corpus = corpus_fixture(
    http_proxy(
        route_config={"request_headers_to_add": BATCH_FIELDS},
        hcm={
            "access_log": [file_log(BATCH_LOG)],
            "normalize_path": True,
            "merge_slashes": True,
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http_protocol_options": {"accept_http_10": True, "enable_trailers": True},
        },
    ),
    answer,
)


@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_left_behind_that_envoy_does_not_leave(corpus: CorpusPair, table: str) -> None:
    results = corpus.same([(case.name, [case.data]) for case in cases(TABLES[table])])
    note_corpus("Requests that hide another one", TABLES[table], results)
