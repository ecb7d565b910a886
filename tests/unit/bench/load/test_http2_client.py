from __future__ import annotations

import hpack

from bench.load.http2_client import frames, header_block


def fields(mode: str, number: int, decoder: hpack.Decoder | None = None) -> list[tuple[str, str]]:
    decoded = (decoder or hpack.Decoder()).decode(header_block(mode, number))
    return [(str(name), str(value)) for name, value in decoded]


def test_constant_requests_are_all_the_same() -> None:
    assert fields("constant", 0)[:4] == [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "bench.example.com"),
    ]
    assert len(frames("constant")) == 1


def test_paths_differ() -> None:
    assert dict(fields("paths", 7))[":path"] == "/path/7/item"
    assert len({after for _, after in frames("paths")}) == 5000


def test_unique_requests_have_thirteen_fields_with_new_values() -> None:
    decoder = hpack.Decoder()
    seen: set[tuple[str, str]] = set()
    for number in range(50):
        found = set(fields("unique", number, decoder)[4:])
        assert len(found) == 13
        assert not found & seen
        seen |= found
    assert len(decoder.header_table.dynamic_entries) > 10
