"""Envoy and Outrider side by side: same config, same bytes, compared.

A module starts one `Pair` per config (see `pair_fixture`) and runs many cases through it. Each side has its
own origins, so that what reached the upstream is known per side.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import pytest

from tests.support.client import Reply, exchange
from tests.support.compare import Difference, DiffersError, diff_lists, diff_replies
from tests.support.envoy import Envoy
from tests.support.http2_origin import Http2Origin
from tests.support.http_text import Message
from tests.support.known_differences import KNOWN
from tests.support.origin import HELLO, Origin, Script
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess

# How long stats and logs may take to agree after the reply was seen.
_SETTLE_SECONDS = 2.0

# Names of origins, HTTP/1 ones unless a mapping says how each is made.
Origins = Sequence[str] | Mapping[str, Callable[[], Origin | Http2Origin]]


@dataclass
class Outcome:
    """What one side did: the client's view and, per origin, the requests that arrived."""

    reply: Reply
    upstream: dict[str, list[Message]]

    @property
    def status(self) -> int:
        return self.reply.status

    @property
    def all_requests(self) -> list[Message]:
        """What reached any origin, one origin after the other."""
        return [message for messages in self.upstream.values() for message in messages]

    @property
    def request(self) -> Message:
        """The only request that reached any origin."""
        found = self.all_requests
        assert len(found) == 1, f"{len(found)} requests reached the origins"
        return found[0]


class Side:
    """One proxy with its own origins."""

    def __init__(
        self,
        kind: type[ProxyProcess],
        config: str | Mapping[str, Any],
        origins: Origins,
        listeners: Sequence[str],
        values: Mapping[str, str | int],
        arguments: Sequence[str],
        environment: Mapping[str, str] | None,
    ) -> None:
        made = origins if isinstance(origins, Mapping) else dict.fromkeys(origins, Origin)
        self.origins: dict[str, Any] = {name: make() for name, make in made.items()}
        ports = {f"{name}_port": origin.port for name, origin in self.origins.items()}
        try:
            self.proxy = kind(
                config,
                listeners=listeners,
                values={**ports, **values},
                arguments=arguments,
                environment=environment,
            )
        except BaseException:
            self.close_origins()
            raise

    @property
    def origin(self) -> Any:
        """The first origin: an `Origin`, or an `Http2Origin` if the test asked for one."""
        return next(iter(self.origins.values()))

    def run(
        self, send: bytes | Sequence[bytes], script: Script, listener: str | None, options: Mapping[str, Any]
    ) -> Outcome:
        """One exchange on a new connection."""
        for origin in self.origins.values():
            origin.script(script)
        port = self.proxy.ports[listener] if listener else self.proxy.port
        reply = exchange(port, send, **options)
        return Outcome(reply, {name: origin.requests for name, origin in self.origins.items()})

    def close_origins(self) -> None:
        for origin in self.origins.values():
            origin.close()

    def close(self) -> None:
        self.proxy.close()
        self.close_origins()


class Pair:
    """Both sides of one config. Use as a context manager.

    `config` is a template (`tests.support.template`); each name in `origins` and `listeners` is a placeholder
    `{{<name>_port}}`; further `values` are the same on both sides.
    """

    def __init__(
        self,
        config: str | Mapping[str, Any],
        *,
        origins: Origins = ("origin",),
        listeners: Sequence[str] = ("listener",),
        values: Mapping[str, str | int] | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        kinds = (Envoy, subject())
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
            futures = [
                pool.submit(Side, kind, config, origins, listeners, values or {}, arguments, environment)
                for kind in kinds
            ]
            sides = []
            for future in futures:
                if future.exception() is None:
                    side = future.result()
                    stack.callback(side.close)
                    sides.append(side)
            for future in futures:
                future.result()
            self._cleanup = stack.pop_all()
        self.envoy, self.outrider = sides
        self._pool = ThreadPoolExecutor(2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.shutdown()
        self._cleanup.close()

    def both(self, action: Callable[[Side], Any]) -> tuple[Any, Any]:
        """`action` on both sides at the same time: (Envoy's result, Outrider's)."""
        futures = [self._pool.submit(action, side) for side in (self.envoy, self.outrider)]
        concurrent.futures.wait(futures)
        return futures[0].result(), futures[1].result()

    def run(
        self,
        send: bytes | Sequence[bytes],
        script: Script = HELLO,
        *,
        listener: str | None = None,
        **options: Any,
    ) -> tuple[Outcome, Outcome]:
        """The same bytes to both, on new connections, without comparing: (Envoy's outcome, Outrider's).

        `send` as a list is sent in pieces. `script` is what the origins answer. `options` are those of
        `tests.support.client.exchange` (timeout, until, half_close, pause, methods, source, ...).
        """
        return self.both(lambda side: side.run(send, script, listener, options))

    def same(
        self,
        send: bytes | Sequence[bytes],
        script: Script = HELLO,
        *,
        ignore: Sequence[str] = (),
        any_origin: bool = False,
        **options: Any,
    ) -> Outcome:
        """Like `run`, and both must agree on replies, on the end of the connection and on upstream requests.

        `ignore` names places (`response.field.server`) that this test does not look at; with `any_origin` it
        does not matter which origin a request reached. The result is Outrider's. DiffersError tells every
        place where they disagree.
        """
        envoy, outrider = self.run(send, script, **options)
        differences = diff_replies(envoy.reply, outrider.reply)
        if any_origin or len(envoy.upstream) == 1:
            differences += diff_lists("upstream", envoy.all_requests, outrider.all_requests)
        else:
            for name in envoy.upstream:
                differences += diff_lists(f"upstream.{name}", envoy.upstream[name], outrider.upstream[name])
        context = (
            f"\n  sent: {send!r}\n  Envoy's reply:    {envoy.reply.raw!r}"
            f"\n  Outrider's reply: {outrider.reply.raw!r}"
        )
        self.check(differences, ignore=ignore, context=context)
        return outrider

    def check(self, differences: list[Difference], *, ignore: Sequence[str] = (), context: str = "") -> None:
        """Raise DiffersError for whatever neither `ignore` nor known_differences.yaml lists."""
        relevant = [difference for difference in differences if difference.where not in ignore]
        unexpected = KNOWN.unexpected(relevant)
        if unexpected:
            raise DiffersError(unexpected, context)

    def same_value(self, where: str, read: Callable[[Side], Any], settle: float = _SETTLE_SECONDS) -> Any:
        """Both sides must come to give the same value within `settle` seconds; the value."""
        deadline = time.monotonic() + settle
        while True:
            envoy, outrider = self.both(read)
            if envoy == outrider or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self.check([] if envoy == outrider else [Difference(where, envoy, outrider)])
        return outrider

    def lines_logged(self) -> int:
        """How many lines `{{access_log}}` has by now, on the side that has more."""
        envoy, outrider = self.both(lambda side: side.proxy.access_log(0))
        return max(len(envoy), len(outrider))

    def logged_since(self, before: int, lines: int) -> tuple[list[str], list[str]]:
        """What each side logged after its first `before` lines, once that is `lines` lines; Envoy's come first."""
        self.both(lambda side: side.proxy.access_log(before + lines))
        return self.both(lambda side: side.proxy.access_log(0)[before:])

    def same_log(self, lines: int = 1, mask: Callable[[str], str] = lambda line: line) -> list[str]:
        """The last `lines` lines of `{{access_log}}` must agree after `mask`; those of Outrider."""
        self.both(lambda side: side.proxy.access_log(lines))
        result: list[str] = self.same_value(
            "access_log", lambda side: [mask(line) for line in side.proxy.access_log(lines)[-lines:]]
        )
        return result

    @contextlib.contextmanager
    def same_stats(self, *names: str, ignore: Sequence[str] = ()) -> Iterator[None]:
        """What happens inside must change the named stats equally on both sides.

        A name that ends with a dot stands for everything below it: counters and gauges that neither side
        changed count as equal, even where one side lacks them.
        """

        def chosen(side: Side) -> dict[str, int]:
            return {
                name: value
                for name, value in side.proxy.stats().items()
                if name not in ignore
                and any(name == wanted or (wanted[-1] == "." and name.startswith(wanted)) for wanted in names)
            }

        before = dict(zip(("envoy", "outrider"), self.both(chosen), strict=True))

        def changes(side: Side) -> dict[str, int]:
            old = before["envoy" if side is self.envoy else "outrider"]
            new = chosen(side)
            return {name: new[name] - old.get(name, 0) for name in new if new[name] != old.get(name, 0)}

        yield
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            envoy, outrider = self.both(changes)
            if envoy == outrider or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self.check(
            [
                Difference(f"stats.{name}", envoy.get(name, 0), outrider.get(name, 0))
                for name in sorted({*envoy, *outrider})
                if envoy.get(name, 0) != outrider.get(name, 0)
            ]
        )


def pair_fixture(config: str | Mapping[str, Any], **options: Any) -> Any:
    """A module-scoped fixture that starts both proxies once: `pair = pair_fixture(http_proxy())`."""

    @pytest.fixture(scope="module")
    def pair() -> Iterator[Pair]:
        with Pair(config, **options) as started:
            yield started

    return pair


def same_verdict(
    config: str | Mapping[str, Any], values: Mapping[str, str | int] | None = None
) -> tuple[bool, str]:
    """Both must accept or both must refuse the config in `--mode validate`; Outrider's verdict, text."""
    kinds = (Envoy, subject())
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(kind.validate, config, values) for kind in kinds]
        envoy, outrider = (future.result() for future in futures)
    if envoy[0] != outrider[0]:
        difference = Difference("validate", envoy, outrider)
        unexpected = KNOWN.unexpected([difference])
        if unexpected:
            raise DiffersError(unexpected)
    return outrider
