"""Which of the hosts that a balancer picks gets the retry."""

from __future__ import annotations

import pytest

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.retry_choice import RetryChoice

HOSTS = [Host(Address("10.0.0.1", port)) for port in range(4)]


def others(host: Host, tried: tuple[Host, ...]) -> bool:
    return host not in tried


def choice(attempts: int, *tried: int) -> RetryChoice:
    made = RetryChoice((others,), attempts, None)
    for index in tried:
        made.note(HOSTS[index])
    return made


@pytest.mark.parametrize(
    ("attempts", "tried", "chosen"),
    [
        (3, (), 0),
        (3, (0,), 1),
        (3, (0, 1), 2),
        # As many picks as it has attempts after the first; the last counts whether it is wanted or not.
        (1, (0, 1), 1),
        (0, (0,), 0),
    ],
)
def test_the_first_host_that_was_not_tried_or_the_last_pick(
    attempts: int, tried: tuple[int, ...], chosen: int
) -> None:
    picked: list[int] = []

    def pick(attempt: int) -> Host:
        picked.append(attempt)
        return HOSTS[attempt]

    assert choice(attempts, *tried).first_allowed(pick) is HOSTS[chosen]
    assert picked == list(range(chosen + 1))


def test_no_host_ends_the_search() -> None:
    picks = [HOSTS[0], None, HOSTS[1]]
    assert choice(5, 0).first_allowed(lambda attempt: picks[attempt]) is None


def test_every_predicate_must_agree() -> None:
    made = RetryChoice((others, lambda host, _tried: host.address.port != 1), 3, None)
    made.note(HOSTS[0])
    assert made.first_allowed(HOSTS.__getitem__) is HOSTS[2]
