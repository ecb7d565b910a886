"""Request ids are proper random UUIDs, drawn in blocks."""

from __future__ import annotations

import uuid

from proxy.hcm.request_id import RequestIds


def test_ids_are_uuids_of_version_4_and_all_differ() -> None:
    source = RequestIds()
    ids = [source.new() for _ in range(600)]
    assert len(set(ids)) == 600
    for text in ids:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_entropy_is_drawn_in_blocks() -> None:
    drawn = []

    def entropy(size: int) -> bytes:
        drawn.append(size)
        return bytes(size)

    source = RequestIds(entropy)
    for _ in range(256):
        assert source.new() == "00000000-0000-4000-8000-000000000000"
    assert len(drawn) == 1
    source.new()
    assert len(drawn) == 2
