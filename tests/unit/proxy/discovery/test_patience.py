from __future__ import annotations

from proxy.discovery.patience import ANSWER_SECONDS, LATE_SECONDS, Patience

BEGUN = 100.0
BOUND = BEGUN + ANSWER_SECONDS


def begun() -> Patience:
    patience = Patience()
    patience.begin(BEGUN)
    patience.begin(BEGUN + 3)
    return patience


def test_a_start_has_one_bound_for_all_that_it_asks_of_a_server() -> None:
    patience = begun()
    assert not patience.ended("a", BEGUN, BOUND - 0.1, starting=True)
    assert patience.ended("a", BEGUN, BOUND, starting=True)
    # What it asks for next is not waited for again; of another server it is.
    assert patience.ended("a", BOUND, BOUND, starting=True)
    assert not patience.ended("b", BOUND, BOUND, starting=True)
    assert patience.ended("b", BOUND, BOUND + LATE_SECONDS, starting=True)


def test_a_server_that_has_answered_so_far_is_not_talked_over() -> None:
    patience = begun()
    assert not patience.ended("a", BOUND + 10, BOUND + 10, starting=True)
    assert patience.ended("a", BOUND + 10, BOUND + 10 + LATE_SECONDS, starting=True)


def test_a_server_that_is_heard_again_is_waited_for_again() -> None:
    patience = begun()
    assert patience.ended("a", BEGUN, BOUND, starting=True)
    patience.heard("a")
    assert not patience.ended("a", BOUND + 1, BOUND + 1, starting=True)


def test_after_the_start_each_type_has_its_own_time() -> None:
    patience = begun()
    assert patience.ended("a", BEGUN, BOUND, starting=True)
    later = BOUND + 1000
    assert not patience.ended("a", later, later + ANSWER_SECONDS - 0.1, starting=False)
    assert patience.ended("a", later, later + ANSWER_SECONDS, starting=False)
