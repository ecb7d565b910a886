"""The interface of listener filters: what looks at a connection before its filter chain is chosen.

A listener filter decides at once, or asks to see bytes. Then it gives an `Inspection`, which is fed all bytes so
far each time that enough have come; it does no input or output of its own. What it learns it writes on the
`ConnectionInfo`. See `proxy.downstream.sniffing` for who calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol

from msgspec import Struct

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts


class Decision(Enum):
    """What a filter says that needs no bytes."""

    CONTINUE = 0
    REJECT = 1


#: What `Inspection.feed` gives besides a number of bytes.
DONE: Final = 0
REJECT: Final = -1


class Inspection(Protocol):
    """One connection's bytes in the eyes of one filter.

    `consumed` is how many bytes at the front belonged to the filter alone; nobody after it sees them.
    """

    consumed: int

    def feed(self, data: bytes) -> int:
        """Look at all bytes so far: `DONE`, `REJECT` (close), or how many bytes in total are needed at least."""


class ListenerFilter(Protocol):
    """One listener filter of a listener in a worker."""

    def accept(self, connection: ConnectionInfo, transport: asyncio.BaseTransport) -> Inspection | Decision:
        """Decide on a new connection, or say that bytes are needed."""


class ListenerFilterFactory(Struct, frozen=True):
    """How to make one kind of listener filter.

    `only_detects(config)` says that the filter lets every connection pass and but writes down what it finds.
    """

    name: str
    type_name: str
    compile: Callable[[Any, str, CompileContext], Any]
    create: Callable[[Any, WorkerServices, ListenerFacts], ListenerFilter]
    only_detects: Callable[[Any], bool] | None = None
