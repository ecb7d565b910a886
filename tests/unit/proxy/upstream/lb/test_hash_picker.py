"""What serves while a ring or table is built, and bounded loads."""

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.hash_picker import HashPicker
from proxy.upstream.lb.hash_weights import HashGroups


class List:
    """Takes hosts in turn by hash."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.numbers = {"size": len(hosts)}

    def pick(self, request_hash, attempt=0):
        return self.hosts[(request_hash + attempt) % len(self.hosts)]

    def retire(self):
        self.hosts = []
        yield


class Later:
    """Keeps what is deferred until it is asked to run."""

    def __init__(self):
        self.waiting = []

    def __call__(self, function):
        self.waiting.append(function)
        return True

    def run(self):
        while self.waiting:
            self.waiting.pop()()


def build(members):
    yield
    return List(members.hosts)


def hosts(count):
    return tuple(Host(Address("10.0.0.1", port)) for port in range(count))


def groups(members):
    return HashGroups((tuple(members),), (1.0,))


def test_the_first_is_built_at_once_and_the_next_between_other_work():
    later = Later()
    first, _, third = members = hosts(3)
    picker = HashPicker(build, groups(members), later)
    assert [picker.pick(number) for number in range(3)] == list(members)
    picker.renew(groups((first, third)))
    assert picker.numbers == {"size": 3}
    # The host that left is passed over already.
    assert [picker.pick(number) for number in range(3)] == [first, third, third]
    later.run()
    assert picker.numbers == {"size": 2}
    assert [picker.pick(number) for number in range(3)] == [first, third, first]


def test_without_any_host_left_some_that_serve_are_picked_and_nothing_is_built_meanwhile():
    later = Later()
    members = hosts(40)
    picker = HashPicker(build, groups(members[:20]), later)
    picker.renew(groups(members[20:]))
    assert {picker.pick(number) for number in range(100)} == set(members[20:])
    assert picker.pick(7) is picker.pick(7)
    assert picker.pick(7, 1) is not picker.pick(7)
    assert later.waiting
    later.run()
    assert picker.pick(1) is members[21]


def test_a_build_that_runs_is_ended_before_the_newest_change_is_built():
    later = Later()
    built = []

    def noted(members):
        built.append(len(members.hosts))
        return build(members)

    members = hosts(6)
    picker = HashPicker(noted, groups(members), later)
    for left in (5, 4, 3):
        picker.renew(groups(members[:left]))
        assert {picker.pick(number) for number in range(6)} == set(members[:left])
    later.run()
    # What came in between is never built.
    assert built == [6, 5, 3]
    assert picker.numbers == {"size": 3}


def test_nothing_is_deferred_where_nothing_can_be():
    members = hosts(2)
    for defer in (None, lambda _function: False):
        picker = HashPicker(build, groups(members), defer)
        picker.renew(groups(members[:1]))
        assert picker.pick(1) is members[0]


def test_health_that_changes_nothing_here_builds_nothing():
    later = Later()
    picker = HashPicker(build, groups(hosts(2)), later)
    picker.health_changed(picker._groups)
    assert not later.waiting


def test_nobody_and_somebody_again():
    (only,) = hosts(1)
    picker = HashPicker(build, groups(()), None)
    assert picker.pick(1) is None
    picker.renew(groups((only,)))
    assert picker.pick(1) is only
    picker.renew(groups(()))
    assert picker.pick(1) is None
    assert picker.numbers == {}


def test_a_host_with_more_than_its_share_is_relieved_always_by_the_same():
    members = hosts(4)
    active = 40
    picker = HashPicker(build, groups(members), None, 100, lambda: active)
    assert picker.pick(1) is members[1]
    members[1].stats.rq_active = 12  # of (40 + 1) / 4, rounded up: 11
    relief = {picker.pick(1) for _ in range(5)}
    assert len(relief) == 1
    assert members[1] not in relief
    # The order in which others are asked is that of Envoy for the hash.
    for other in members:
        other.stats.rq_active = 12
    members[3].stats.rq_active = 11
    assert picker.pick(1) is members[3]
    members[3].stats.rq_active = 13
    members[2].stats.rq_active = 11.5
    assert picker.pick(1) is members[2]
