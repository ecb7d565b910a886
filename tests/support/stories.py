"""Stories of one request each, told by both proxies at the same time: for behaviour that takes its time.

Each story has a virtual host, a cluster and an origin of its own, so that all can run at once and each can be
compared alone: reply, what reached the origin, numbers of the cluster, log line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import pytest

from tests.support.client import Reply, exchange
from tests.support.compare import Difference, diff_lists, diff_replies
from tests.support.configs import Json, cluster, file_log, http_proxy, virtual_host
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.http_text import Message
from tests.support.origin import Script

#: In the bytes of a request, what is to become its story's own name.
HOST: Final = b"story.test"
#: Of a connection manager that heeds x-envoy-* fields of clients on this machine.
TRUST: Final[Json] = {
    "use_remote_address": True,
    "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
}
_PAUSE: Final = 0.3


class Story(NamedTuple):
    """What a client sends (a list in pieces, 0.3 s apart) to `HOST`, and what the origin answers, turn by turn.

    `routes` go to a cluster that is to be called `{cluster}`; `host` and `cluster` add to virtual host and cluster.
    """

    send: bytes | Sequence[bytes]
    answers: Script
    routes: Sequence[Json]
    host: Json = {}  # noqa: RUF012 - nobody changes it
    cluster: Json = {}  # noqa: RUF012


class Told(NamedTuple):
    """What one side made of a story; `numbers` are those that are not 0."""

    reply: Reply
    upstream: list[Message]
    numbers: dict[str, int]
    line: str


def flags_in_order(line: str) -> str:
    """A line of the log; Envoy names flags in the order in which they came to it, and we in that of their bits."""
    host, code, flags, rest = line.split(" ", 3)
    return f"{host} {code} {','.join(sorted(flags.split(',')))} {rest}"


class Stories:
    """All stories of a module. Use `pair` and `told` as its fixtures of these names, and `same` in the test.

    `counters` begins the names of the numbers that are compared; `log` is a format whose first word is to be
    `%REQ(:AUTHORITY)%`; `mask` takes what may differ out of a line.
    """

    def __init__(
        self,
        stories: Mapping[str, Story],
        *,
        counters: tuple[str, ...],
        log: str,
        mask: Callable[[str], str] = str,
        make_cluster: Callable[..., Json] = cluster,
        origin: Callable[[], Any] | None = None,
        **fields: Any,
    ) -> None:
        self._stories = stories
        self._names = {title: f"story{number}" for number, title in enumerate(stories)}
        self._counters = counters
        self._mask = mask
        hosts = [self._virtual_host(title) for title in stories]
        clusters = [make_cluster(name, **stories[title].cluster) for title, name in self._names.items()]
        names = list(self._names.values())
        self.pair = pair_fixture(
            http_proxy(
                virtual_hosts=hosts, clusters=clusters, hcm={"access_log": [file_log(log)], **TRUST}, **fields
            ),
            origins=names if origin is None else dict.fromkeys(names, origin),
            values={"dead_port": 1},
        )

        @pytest.fixture(scope="module")
        def told(pair: Pair) -> Any:
            return pair.both(self._tell)

        self.told = told

    def name(self, title: str) -> str:
        """The name of a story's origin and cluster, of its virtual host before `.test`."""
        return self._names[title]

    def _virtual_host(self, title: str) -> Json:
        name = self._names[title]
        story = self._stories[title]
        return virtual_host(_named(story.routes, name), [f"{name}.test"], **story.host)

    def _tell(self, side: Side) -> dict[str, Told]:
        def one(title: str) -> Reply:
            story = self._stories[title]
            name = self._names[title]
            side.origins[name].script(story.answers)
            pieces = [story.send] if isinstance(story.send, bytes) else story.send
            mine = [piece.replace(HOST, f"{name}.test".encode()) for piece in pieces]
            return exchange(side.proxy.port, mine, timeout=10.0, pause=_PAUSE)

        with ThreadPoolExecutor(len(self._stories)) as pool:
            replies = list(pool.map(one, self._stories))
        stats = side.proxy.stats("cluster.story")
        lines = {line.split()[0]: line for line in side.proxy.access_log(len(self._stories))}
        found = {}
        for (title, name), reply in zip(self._names.items(), replies, strict=True):
            prefix = f"cluster.{name}."
            numbers = {
                key.removeprefix(prefix): value
                for key, value in stats.items()
                if value and key.startswith(prefix) and key.removeprefix(prefix).startswith(self._counters)
            }
            line = self._mask(lines.get(f"{name}.test", ""))
            found[title] = Told(reply, side.origins[name].requests, numbers, line)
        return found

    def same(self, pair: Pair, told: tuple[dict[str, Told], dict[str, Told]], title: str) -> Told:
        """Both must have told the same; what Outrider told."""
        envoy, outrider = (one[title] for one in told)
        differences = diff_replies(envoy.reply, outrider.reply)
        differences += diff_lists("upstream", envoy.upstream, outrider.upstream)
        # What is left for the tries after the first depends on the clock.
        left = [f"upstream[{number}].field.x-envoy-expected-rq-timeout-ms" for number in range(1, 9)]
        context = f"\n  Envoy's reply:    {envoy.reply.raw!r}\n  Outrider's reply: {outrider.reply.raw!r}"
        differences += [
            Difference(f"stats.{name}", envoy.numbers.get(name, 0), outrider.numbers.get(name, 0))
            for name in sorted({*envoy.numbers, *outrider.numbers})
            if envoy.numbers.get(name) != outrider.numbers.get(name)
        ]
        if envoy.line != outrider.line:
            differences.append(Difference("access_log", envoy.line, outrider.line))
        pair.check(differences, ignore=left, context=context)
        return outrider


def _named(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return value.replace("{cluster}", name)
    if isinstance(value, Mapping):
        return {key: _named(one, name) for key, one in value.items()}
    if isinstance(value, Sequence):
        return [_named(one, name) for one in value]
    return value
