"""The names and the order of Envoy's health flags."""

from proxy.upstream.health_flags import Health, HealthFlag, coarse, configured_flags, flag_texts


def test_flags_are_printed_in_the_order_of_envoy():
    every = sum(HealthFlag)
    assert "".join(flag_texts(every)) == (
        "/failed_active_hc/failed_outlier_check/failed_eds_health/degraded_active_hc/degraded_eds_health"
        "/pending_dynamic_removal/pending_active_hc/excluded_via_immediate_hc_fail/active_hc_timeout"
        "/eds_status_draining"
    )
    assert flag_texts(0) == ()


def test_failure_counts_for_more_than_degradation():
    assert coarse(HealthFlag.FAILED_OUTLIER_CHECK | HealthFlag.DEGRADED_EDS_HEALTH) is Health.UNHEALTHY
    assert coarse(HealthFlag.DEGRADED_ACTIVE_HC) is Health.DEGRADED
    assert coarse(HealthFlag.PENDING_ACTIVE_HC) is Health.HEALTHY


def test_configured_health_sets_flags_of_its_own():
    assert [configured_flags(one) for one in Health] == [0, 0, 4, 0x200, 4, 16]
