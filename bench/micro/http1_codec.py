"""Heads of HTTP/1: what parsing and writing them costs, apart from everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.micro.timing import microseconds
from proxy.codec.http1_request import RequestParser
from proxy.codec.http1_response import ResponseParser

_SMALL: Final = b"GET / HTTP/1.1\r\nHost: bench.example.com\r\n\r\n"
_BROWSER: Final = (
    b"GET /catalogue/items/%d?page=2 HTTP/1.1\r\nHost: shop.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Referer: https://shop.example.com/catalogue\r\nCookie: session=%d; theme=dark\r\n"
    b"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nX-Trace: %d\r\n\r\n"
)
_RESPONSE: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 312\r\n"
    b"date: Tue, 04 Jun 2024 10:11:12 GMT\r\nx-served-by: %d\r\n\r\n"
)
_VARIANTS: Final = 5000


def _each(parse: Callable[[bytes], object], blocks: list[bytes]) -> Callable[[], object]:
    turns = 0

    def run() -> object:
        nonlocal turns
        turns += 1
        return parse(blocks[turns % len(blocks)])

    return run


def figures() -> dict[str, float]:
    """Microseconds of one head: always the same bytes, and with values that are new each time."""
    browser = [_BROWSER % (number, number * 7919, number) for number in range(_VARIANTS)]
    responses = [_RESPONSE % number for number in range(_VARIANTS)]
    return microseconds(
        {
            "us_small_request": _each(RequestParser().parse, [_SMALL]),
            "us_browser_request": _each(RequestParser().parse, browser[:1]),
            "us_browser_request_new_values": _each(RequestParser().parse, browser),
            "us_response": _each(ResponseParser().parse, responses[:1]),
            "us_response_new_values": _each(ResponseParser().parse, responses),
        }
    )
