"""When names are asked for again."""

from proxy.upstream.cluster_config import DnsConfig
from proxy.upstream.discovery.schedule import Answer, BackOff, refresh_delay

FOUND = Answer(True, ("10.0.0.1",), ttl=30)


def test_the_refresh_rate_holds_unless_the_ttl_is_respected():
    assert refresh_delay(DnsConfig(refresh_rate=7.0), FOUND, lambda: 0) == 7.0
    assert refresh_delay(DnsConfig(respect_ttl=True), FOUND, lambda: 0) == 30.0


def test_a_ttl_of_zero_or_an_empty_answer_means_the_refresh_rate():
    config = DnsConfig(refresh_rate=7.0, respect_ttl=True)
    assert refresh_delay(config, Answer(True, ("10.0.0.1",), ttl=0), lambda: 0) == 7.0
    assert refresh_delay(config, Answer(True, (), ttl=30), lambda: 0) == 7.0


def test_jitter_adds_less_than_itself():
    assert refresh_delay(DnsConfig(jitter=2.0), FOUND, lambda: 2999) == 5.0 + 0.999


def test_without_a_failure_rate_failures_wait_the_refresh_rate():
    backoff = BackOff(DnsConfig(refresh_rate=3.0))
    assert [backoff.delay(lambda: 99) for _ in range(3)] == [3.0, 3.0, 3.0]


def test_the_interval_doubles_to_its_longest_and_starts_again_after_a_success():
    backoff = BackOff(DnsConfig(failure_base=1.0, failure_max=3.0))
    assert [backoff.delay(lambda: -1) for _ in range(4)] == [0.999, 1.999, 2.999, 2.999]
    backoff.reset()
    assert backoff.delay(lambda: -1) == 0.999
