"""A corpus through Envoy and Outrider: thousands of cases, each compared with what Envoy made of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from tests.support.batch import BatchOrigin, Talk, case_address, run_batch
from tests.support.compare import Difference, DiffersError
from tests.support.conformance_results import note
from tests.support.envoy import Envoy
from tests.support.http_text import Message
from tests.support.known_differences import KNOWN
from tests.support.origin import Answer
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess

# A log is complete when nothing was added for this long.
_QUIET_LOG_SECONDS = 0.15
# How patient a second look is, at the cases that differed: one by one the machine is not the cause.
_SECOND_LOOK = {"parallel": 8, "patience": 3.0, "quiet": 1.0}


def told_target(request: Message) -> bytes:
    """An origin's answer that tells which request it is to."""
    body = b"" if request.method == "HEAD" else request.target.encode("latin-1")
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@dataclass
class _Side:
    proxy: ProxyProcess
    origin: BatchOrigin
    log_lines: int = 0
    log: dict[str, list[str]] = field(default_factory=dict)

    def read_log(self) -> None:
        """Collect the lines since the last call, by case address."""
        deadline = time.monotonic() + 5
        lines = self.proxy.access_log(0)
        while time.monotonic() < deadline:
            time.sleep(_QUIET_LOG_SECONDS)
            more = self.proxy.access_log(0)
            if len(more) == len(lines):
                break
            lines = more
        self.log = {}
        for line in lines[self.log_lines :]:
            address, _, rest = line.partition(" ")
            self.log.setdefault(address, []).append(rest)
        self.log_lines = len(lines)


@dataclass(frozen=True)
class Result:
    """One case on both sides: what was seen, and the raw talks behind it."""

    name: str
    envoy: Mapping[str, object]
    outrider: Mapping[str, object]
    envoy_talk: Talk
    outrider_talk: Talk

    @property
    def differences(self) -> list[str]:
        """The places that differ: responses, rest, end, upstream, log."""
        return [place for place in self.envoy if self.envoy[place] != self.outrider[place]]


class CorpusPair:
    """Both proxies, each in front of an origin that answers by `answer`. Use as a context manager.

    `batch` has the conversations: `run_batch` or `run_http2_batch`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        answer: Callable[[Message], bytes | Answer],
        batch: Callable[..., list[list[Talk]]] = run_batch,
    ) -> None:
        self._batch = batch
        with contextlib.ExitStack() as stack:
            self._sides = []
            for kind in (Envoy, subject()):
                origin = stack.enter_context(BatchOrigin(answer))
                proxy = stack.enter_context(kind(config, values={"origin_port": origin.port}))
                self._sides.append(_Side(proxy, origin))
            self._cleanup = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def outrider(self) -> ProxyProcess:
        return self._sides[1].proxy

    def run(self, cases: Sequence[tuple[str, Sequence[bytes]]], **options: Any) -> list[Result]:
        """Every case (name, pieces) through both."""
        pieces = [one for _, one in cases]
        ports = [side.proxy.port for side in self._sides]
        talks = self._batch(ports, pieces, **options)
        for side, of_side in zip(self._sides, talks, strict=True):
            side.read_log()
            upstream = side.origin.take()
            assert not upstream.get(""), f"{side.proxy.name} sent what belongs to no case: {upstream['']}"
            for index, talk in enumerate(of_side):
                talk.upstream = upstream.get(case_address(index), [])
                talk.log = side.log.get(case_address(index), [])
        results = []
        for (name, sent), theirs, ours in zip(cases, *talks, strict=True):
            joined = b"".join(sent)
            results.append(Result(name, theirs.view(joined), ours.view(joined), theirs, ours))
        return results

    def same(self, cases: Sequence[tuple[str, Sequence[bytes]]], **options: Any) -> list[Result]:
        """Both must agree on every case, except for those that known_differences.yaml lists by name.

        Never allowed, listed or not: a request that Envoy refuses and that reaches our upstream whole.
        """
        results = self.run(cases, **options)
        different = [index for index, result in enumerate(results) if result.differences]
        if different:
            again = self.run([cases[index] for index in different], **{**options, **_SECOND_LOOK})
            for index, result in zip(different, again, strict=True):
                results[index] = result
        leaked = [result.name for result in results if _leaked(result)]
        assert not leaked, f"refused by Envoy, forwarded by Outrider: {leaked}"
        found = [
            Difference(
                result.name,
                {place: result.envoy[place] for place in result.differences},
                {place: result.outrider[place] for place in result.differences},
            )
            for result in results
            if result.differences
        ]
        unexpected = KNOWN.unexpected(found)
        if unexpected:
            raise DiffersError(unexpected)
        return results

    def stats(self, prefix: str) -> list[dict[str, int]]:
        """Counters and gauges of both sides."""
        return [side.proxy.stats(prefix) for side in self._sides]

    @contextlib.contextmanager
    def same_stats(self, prefix: str, ignore: Sequence[str] = ()) -> Iterator[None]:
        """What happens inside must change all stats with the prefix equally."""
        before = self.stats(prefix)
        yield
        deadline = time.monotonic() + 2
        while True:
            changes = [
                {name: new[name] - old.get(name, 0) for name in new if new[name] != old.get(name, 0)}
                for old, new in zip(before, self.stats(prefix), strict=True)
            ]
            names = {name for one in changes for name in one} - {prefix + name for name in ignore}
            wrong = [name for name in sorted(names) if changes[0].get(name, 0) != changes[1].get(name, 0)]
            if not wrong or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if wrong:
            raise DiffersError(
                [
                    Difference(f"stats.{name}", changes[0].get(name, 0), changes[1].get(name, 0))
                    for name in wrong
                ]
            )


def _leaked(result: Result) -> bool:
    return len(result.outrider_talk.forwarded) > len(result.envoy_talk.forwarded)


def note_corpus(group: str, table: Callable[[], object], results: Sequence[Result]) -> None:
    """Note a table by what it says of itself."""
    suite = (table.__doc__ or "").splitlines()[0].removesuffix(".")
    note(group, suite, cases=len(results), alike=sum(not result.differences for result in results))


def corpus_fixture(
    config: Mapping[str, Any], answer: Callable[[Message], bytes | Answer], **options: Any
) -> Any:
    """A module-scoped fixture with both proxies; `options` are those of `CorpusPair`."""

    @pytest.fixture(scope="module")
    def corpus() -> Iterator[CorpusPair]:
        with CorpusPair(config, answer, **options) as started:
            yield started

    return corpus
