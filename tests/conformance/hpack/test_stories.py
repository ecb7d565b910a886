"""The HPACK stories of http2jp/hpack-test-case: recorded traffic as other encoders wrote it."""

import json
import lzma
from pathlib import Path

import pytest

from proxy.codec.hpack_decoder import HpackDecoder
from proxy.codec.hpack_encoder import encode_fields
from tests.support.conformance_results import note

STORIES = json.loads(lzma.decompress((Path(__file__).parent / "stories.json.xz").read_bytes()))
#: Some stories are beyond the default limits of a proxy.
NO_LIMIT = 1 << 30


def fields_of(story):
    return [[(name, value) for name, value in fields] for fields in STORIES["fields"][story]]


@pytest.mark.parametrize("encoder", STORIES["blocks"])
def test_the_blocks_of_other_encoders_decode(encoder):
    cases = 0
    for story, blocks in STORIES["blocks"][encoder].items():
        decoder = HpackDecoder()
        for (table_size, block), fields in zip(blocks, fields_of(story), strict=True):
            if table_size is not None:
                decoder.set_max_table_size(table_size)
            assert decoder.decode(bytes.fromhex(block), NO_LIMIT) == fields, story
            cases += 1
    note("Protocol suites", f"HPACK stories of {encoder}", cases=cases, outrider=cases)


def test_our_blocks_decode():
    for story in STORIES["fields"]:
        decoder = HpackDecoder()
        for fields in fields_of(story):
            assert decoder.decode(encode_fields(fields), NO_LIMIT) == fields, story
            assert decoder.memoisable
