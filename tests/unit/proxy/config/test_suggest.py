from proxy.config.suggest import did_you_mean


def test_a_close_name_is_suggested() -> None:
    assert did_you_mean("lb_polcy", ["name", "lb_policy"]) == "; did you mean 'lb_policy'?"


def test_dashes_count_as_underscores() -> None:
    assert did_you_mean("round-robin", ["ROUND_ROBIN"]) == "; did you mean 'ROUND_ROBIN'?"


def test_nothing_is_suggested_for_a_far_name() -> None:
    assert did_you_mean("zzz", ["name", "lb_policy"]) == ""
