"""DNS clusters over time; the loop's clock jumps to the next timer, so nothing waits."""

import asyncio

import pytest

from proxy.base.stats import StatRegistry
from proxy.upstream.discovery.dns import DnsDiscovery
from proxy.upstream.discovery.schedule import Answer
from tests.support.cluster_messages import compiled, endpoint


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose time is that of its next timer whenever there is nothing else to do."""

    def __init__(self):
        self.now = 0.0
        super().__init__()

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


class Names:
    """Answers by name; changed by tests. `held` names never answer."""

    def __init__(self, **answers):
        self.answers = {f"{name}.test": answer for name, answer in answers.items()}
        self.asked = []
        self.now = {}
        self.busy = 0
        self.most_busy = 0

    def resolve_now(self, name, config):
        return self.now.get(name)

    async def resolve(self, name, config):
        self.asked.append(name)
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            answer = self.answers.get(name, Answer(True))
            await (asyncio.Event().wait() if answer is None else asyncio.sleep(0.001))
        finally:
            self.busy -= 1
        return answer


class Running:
    def __init__(self, loop, names, concurrency=64):
        self.loop = loop
        self.names = names
        self.registry = StatRegistry()
        self.updates = []
        #: Hosts whose health checks pass.
        self.well = set()
        self.discovery = DnsDiscovery(
            loop,
            names,
            lambda: 0,
            lambda *update: self.updates.append(update),
            self.registry,
            concurrency,
            is_well=lambda _name, key: key in self.well,
        )

    def run(self, seconds):
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def stat(self, name):
        return {
            key.rpartition(".")[2]: value
            for group in self.registry.groups()
            for key, value in {**group.counters(), **group.gauges()}.items()
        }[name]


@pytest.fixture
def start():
    loop = JumpingLoop()
    running = []

    def run(names, **options):
        running.append(Running(loop, names, **options))
        return running[-1]

    yield run
    for one in running:
        loop.run_until_complete(one.discovery.close())
    loop.close()


def strict(*hosts, **fields):
    return compiled(*(endpoint(host) for host in hosts), type="STRICT_DNS", **fields)


def logical(host, **fields):
    return compiled(endpoint(host), type="LOGICAL_DNS", **fields)


def good(*addresses, ttl=0):
    return Answer(True, addresses, ttl)


def test_every_address_of_a_name_becomes_a_host(start):
    running = start(Names(a=good("10.0.0.1", "10.0.0.2")))
    ready = running.discovery.add(strict("a.test"))
    assert running.updates == []
    running.run(0.1)
    assert ready.done()
    assert running.updates == [("c", [(0, "10.0.0.1"), (0, "10.0.0.2")])]
    assert running.discovery.resolved("c") == [(0, "10.0.0.1"), (0, "10.0.0.2")]
    assert running.stat("membership_total") == 2
    assert running.stat("membership_change") == 1


def test_names_are_asked_again_at_the_refresh_rate_and_rotation_changes_nothing(start):
    names = Names(a=good("10.0.0.1", "10.0.0.2"))
    running = start(names)
    running.discovery.add(strict("a.test"))
    running.run(1)
    names.answers["a.test"] = good("10.0.0.2", "10.0.0.1")
    running.run(11)
    assert len(names.asked) == 3
    assert len(running.updates) == 1
    assert running.stat("update_no_rebuild") == 2


CHECKED = {
    "health_checks": [
        {
            "timeout": "1s",
            "interval": "1s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "tcp_health_check": {},
        }
    ]
}


@pytest.mark.parametrize(
    ("fields", "stays"),
    [
        (CHECKED, True),
        ({}, False),
        ({**CHECKED, "ignore_health_on_host_removal": True}, False),
    ],
)
def test_an_address_that_is_resolved_no_longer_stays_while_its_checks_pass(start, fields, stays):
    names = Names(a=good("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    running = start(names)
    running.well = {("10.0.0.1:80", 0), ("10.0.0.2:80", 0)}
    running.discovery.add(strict("a.test", **fields))
    running.run(1)
    names.answers["a.test"] = good("10.0.0.2")
    running.run(5)
    kept = [(0, "10.0.0.1")] if stays else []
    assert running.discovery.resolved("c") == [*kept, (0, "10.0.0.2")]
    assert running.discovery.kept("c") == ({("10.0.0.1:80", 0)} if stays else set())
    running.well.clear()
    running.discovery.drop_failed("c")
    assert running.discovery.resolved("c") == [(0, "10.0.0.2")]
    assert running.updates[-1] == ("c", [(0, "10.0.0.2")])


def test_a_kept_address_that_is_resolved_again_is_like_any_other(start):
    names = Names(a=good("10.0.0.1", "10.0.0.2"))
    running = start(names)
    running.well = {("10.0.0.1:80", 0)}
    running.discovery.add(strict("a.test", **CHECKED))
    running.run(1)
    names.answers["a.test"] = good("10.0.0.2")
    running.run(5)
    names.answers["a.test"] = good("10.0.0.1", "10.0.0.2")
    running.run(5)
    assert running.discovery.kept("c") == set()
    running.well.clear()
    running.discovery.drop_failed("c")
    assert running.discovery.resolved("c") == [(0, "10.0.0.1"), (0, "10.0.0.2")]


def test_the_ttl_is_followed_when_asked_to(start):
    names = Names(a=good("10.0.0.1", ttl=60))
    running = start(names)
    running.discovery.add(strict("a.test", respect_dns_ttl=True))
    running.run(59)
    assert len(names.asked) == 1
    running.run(2)
    assert len(names.asked) == 2


def test_a_failure_keeps_the_last_good_hosts(start):
    names = Names(a=good("10.0.0.1"))
    running = start(names)
    running.discovery.add(strict("a.test"))
    running.run(1)
    names.answers["a.test"] = Answer(False, reason="timeout")
    running.run(10)
    assert running.discovery.resolved("c") == [(0, "10.0.0.1")]
    assert running.stat("update_failure") == 2
    assert running.stat("membership_total") == 1


def test_a_name_that_vanishes_empties_a_strict_cluster_but_not_a_logical_one(start):
    names = Names(a=good("10.0.0.1"))
    running = start(names)
    running.discovery.add(strict("a.test"))
    running.run(1)
    names.answers["a.test"] = good()
    running.run(5)
    assert running.updates[-1] == ("c", [])
    names.answers["a.test"] = good("10.0.0.1")
    running.discovery.add(logical("a.test"))
    running.run(1)
    names.answers["a.test"] = good()
    running.run(5)
    assert running.updates[-1] == ("c", [(0, "10.0.0.1")])
    assert running.stat("update_failure") == 1


def test_a_logical_cluster_uses_the_first_address(start):
    names = Names(a=good("10.0.0.2", "10.0.0.1"))
    running = start(names)
    running.discovery.add(logical("a.test"))
    running.run(1)
    assert running.updates == [("c", [(0, "10.0.0.2")])]
    names.answers["a.test"] = good("10.0.0.1", "10.0.0.2")
    running.run(5)
    assert running.updates[-1] == ("c", [(0, "10.0.0.1")])


def test_names_of_one_cluster_are_independent(start):
    running = start(Names(a=good("10.0.0.1"), b=None))
    ready = running.discovery.add(strict("b.test", "a.test"))
    running.run(1)
    assert ready.done()
    assert running.updates == [("c", [(1, "10.0.0.1")])]


def test_a_cluster_is_ready_when_its_first_resolution_has_failed(start):
    running = start(Names(a=Answer(False, reason="timeout")))
    ready = running.discovery.add(strict("a.test"))
    assert not ready.done()
    running.run(0.1)
    assert ready.done()
    assert running.updates == []


def test_nobody_waits_for_a_cluster_that_need_not_warm_or_has_no_names(start):
    running = start(Names(a=None))
    assert running.discovery.add(strict("a.test", wait_for_warm_on_init=False)).done()
    assert running.discovery.add(strict()).done()


def test_failures_back_off_with_jitter(start):
    names = Names(a=Answer(False, reason="timeout"))
    running = start(names)
    running.discovery._draw = lambda: -1
    fields = {"base_interval": "1s", "max_interval": "4s"}
    running.discovery.add(strict("a.test", dns_failure_refresh_rate=fields))
    running.run(8)
    # 1 + 2 + 4 seconds, nearly
    assert len(names.asked) == 4


def test_what_needs_no_server_is_not_asked_for(start):
    names = Names()
    names.now["a.test"] = good("127.0.0.1")
    running = start(names)
    running.discovery.add(strict("a.test"))
    running.run(0.1)
    assert names.asked == []
    assert running.updates == [("c", [(0, "127.0.0.1")])]


def test_no_more_queries_than_allowed_run_at_a_time(start):
    names = Names()
    running = start(names, concurrency=3)
    running.discovery.add(strict(*(f"n{index}.test" for index in range(20))))
    running.run(1)
    assert len(names.asked) == 20
    assert names.most_busy == 3


def test_a_removed_cluster_is_not_heard_of_again(start):
    names = Names(a=good("10.0.0.1"))
    running = start(names)
    ready = running.discovery.add(strict("a.test"))
    running.discovery.remove("c")
    running.run(20)
    assert ready.cancelled()
    assert names.asked == []
    assert running.updates == []
    assert running.discovery.resolved("c") == ()
    assert running.registry.groups() == []


def test_closing_ends_queries_under_way(start):
    names = Names(a=None)
    running = start(names)
    running.discovery.add(strict("a.test"))
    running.run(0.1)
    assert names.busy == 1
    running.loop.run_until_complete(running.discovery.close())
    assert names.busy == 0


def test_a_static_cluster_is_refused(start):
    with pytest.raises(ValueError, match="does not use DNS"):
        start(Names()).discovery.add(compiled(endpoint()))
