"""HTTP/2 requests in front of an HTTP/1 origin: what reaches it is one request, the one that Envoy sends."""

from __future__ import annotations

import pytest

from tests.conformance.http2_downgrade import TABLES
from tests.support.batch import BATCH_FIELDS, BATCH_LOG, run_http2_batch
from tests.support.configs import file_log, http_proxy
from tests.support.corpus import CorpusPair, corpus_fixture, note_corpus, told_target

corpus = corpus_fixture(
    http_proxy(
        route_config={"request_headers_to_add": BATCH_FIELDS},
        hcm={
            "access_log": [file_log(BATCH_LOG)],
            "codec_type": "HTTP2",
            "delayed_close_timeout": "0.1s",
            "normalize_path": True,
            "http_protocol_options": {"enable_trailers": True},
        },
    ),
    told_target,
    batch=run_http2_batch,
)


@pytest.mark.parametrize("table", TABLES)
def test_what_goes_on_in_http1_is_what_envoy_makes_of_it(corpus: CorpusPair, table: str) -> None:
    results = corpus.same([(name, [frames]) for name, frames in TABLES[table]()])
    note_corpus("Requests of HTTP/2 that HTTP/1 would read otherwise", TABLES[table], results)
