"""Runtime guards: the flags by which Envoy's changes of behaviour can be undone, `envoy.reloadable_features.*`.

But for the few that are read, there is one behaviour: that of Envoy 1.40 while its guards are at their defaults. A
config that sets one to anything else is told so by its name. Names and defaults are those of Envoy 1.40's
`source/common/runtime/runtime_features.cc`; a name that is not among them gets Envoy's own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from proxy.base.runtime import Runtime
from proxy.config.config_sources import GUARD

_RELOADABLE: Final = "envoy.reloadable_features."
_RESTART: Final = "envoy.restart_features."
_UNTRACKED: Final = f"{_RELOADABLE}FLAGS_envoy_quic"
"""Envoy checks no name that begins so."""

_ON: Final = frozenset(
    """
    async_host_selection cares_dual_resolution_preserve_failure cel_message_serialize_text_format
    coalesce_formatter_accept_empty_values coalesce_lb_rebuilds_on_batch_update
    codec_client_enable_idle_timer_only_when_connected composite_cluster_skip_clusters_without_hosts
    conn_pool_fix_reentrancy conn_pool_grid_early_return_on_teardown
    connectivity_grid_prevent_double_h2_scheduled decouple_explicit_drain_pools_and_dns_refresh
    dfp_cluster_resolves_hosts direct_local_reply_flush_saved_response_metadata disallow_quic_client_udp_mmsg
    disallow_redirect_prefix_rewrite_with_path_match_policy dynamic_modules_rtld_now
    ecds_filter_use_parent_stats_prefix enable_batch_aware_update enable_cel_response_path_matching
    enable_compression_bomb_protection enable_new_dns_implementation
    enable_new_query_param_present_match_behavior enable_send_rst_on_user_space_socket
    ext_proc_fail_close_spurious_resp ext_proc_inject_data_with_state_update
    ext_proc_not_send_empty_data_with_false_eos ext_proc_report_client_creation_error
    ext_proc_return_stop_iteration filter_chain_drain_uses_configured_strategy
    filter_manager_forward_added_data_on_continue fix_http3_early_data_timing grpc_side_stream_flow_control
    happy_eyeballs_sort_non_ip_addresses header_mutation_url_encode_query_params
    health_check_after_cluster_warming hide_transport_failure_reason_in_response_body
    hot_restart_propagate_stat_tags http1_allow_query_method http1_close_connection_on_zombie_stream_complete
    http2_discard_host_header http2_fix_goaway_loadshed_point http2_flood_protection_active_streams
    http2_include_cookies_in_limits http2_mask_continuation_flags http2_reject_frames_after_end_stream
    http2_track_size_of_dropped_host_header http3_fix_goaway_loadshed_point
    http_inspector_fast_fail_invalid_method_bytes http_inspector_use_balsa_parser
    http_pause_generic_upgrade_request_body http_preserve_rst_no_error http_reject_path_with_fragment
    ja4_alpn_hex_conversion_fix json_formatter_omit_empty_values jwt_authn_add_verification_status_header
    jwt_authn_sanitize_payload_headers_filter_wide limit_json_parser_nesting_depth
    listener_filter_reentrant_continue_guard local_ratelimit_shadow_mode_no_short_circuit
    map_http_stream_reset_to_tcp_rst match_headers_individually mcp_filter_use_new_metadata_namespace
    metadata_formatter_only_truncate_string mobile_use_network_observer_registry
    non_graceful_drain_notifies_connections oauth2_client_retries_respect_user_retry_on
    oauth2_legacy_cbc_decrypt_compat on_demand_cluster_no_recreate_stream on_demand_vhds_no_recreate_stream
    on_demand_vhds_require_route_match orca_accept_unpadded_base64 orca_weight_manager_use_named_metrics_first
    pqc_default_ecdh_curves preserve_downstream_keepalive propagate_downstream_rst_to_upstream
    propagate_upstream_rst_through_tunneled_tcp_proxy proxy_protocol_added_tlvs_format_string
    proxy_protocol_allow_duplicate_tlvs proxy_protocol_remove_too_long_tlvs
    quic_hot_restart_time_wait_before_forward quic_mtls_resumption_disabled_by_default
    quic_mtls_server_enabled quic_send_server_preferred_address_to_all_clients
    quic_support_additional_ecdsa_curves quic_upstream_auto_host_sni quic_upstream_client_certificates
    quic_upstream_reads_fixed_number_packets quic_validate_headers_only_content_length
    rbac_match_headers_individually rbac_respect_ignore_path_parameters re2_use_latin1_mode
    report_load_for_non_zero_stats response_headers_to_remove_on_1xx sanitize_html_stats_names
    sanitize_upstream_stream_duration_header scope_upstream_tls_session_cache_by_sni
    shadow_policy_inherit_dynamic_metadata skip_dns_lookup_for_proxied_requests
    skip_partition_original_dst_hosts skip_pending_overflow_count_on_active_rq
    spiffe_validator_use_upstream_subject_alt_names ssl_socket_report_connection_reset
    strict_stats_matcher_unpacked strip_dotdot_segments_with_parameters strip_path_parameters_per_segment
    tap_honor_tap_enabled test_feature_true tls_inspector_enforce_client_tls_version
    udp_hot_restart_session_handoff udp_send_zero_length_datagrams udp_set_do_not_fragment
    uhv_allow_malformed_url_encoding upstream_bind_config_fix_port_exhaustion
    upstream_http_filters_correct_stats_prefix upstream_wasm_filter_uses_root_scope
    uri_template_mixed_variable_literals use_canonical_suffix_for_quic_brokenness use_connection_event_drain
    use_response_decoder_handle use_stats_prefix_scope_for_http_filter vhds_answered_alias_cache
    xds_failover_to_primary_enabled xds_legacy_delta_skip_subsequent_node
    zipkin_preserve_b3_single_header_format
    """.split()  # noqa: SIM905 - a hundred names read better so
)
_OFF: Final = frozenset(
    """
    abort_when_accessing_dead_decoder allow_multiplexed_upstream_half_close always_use_v6
    connection_close_through_filter_manager disable_quic_ip_packet_info_socket_options
    disable_quic_rx_queue_overflow_socket_options dns_cache_set_ip_version_to_remove
    dynamic_modules_strip_custom_stat_prefix enable_formatter_for_ratelimit_action_descriptor_value
    enable_lrs_server_self_ads enable_stats_explicit_tags enable_universal_header_validator
    ext_proc_graceful_grpc_close fixed_heap_use_allocated getaddrinfo_no_ai_flags google_grpc_disable_tls_13
    grpc_timeout_returns_deadline_exceeded http2_record_histograms http2_use_oghttp2 http3_happy_eyeballs
    http_11_proxy_connect_legacy_format least_request_lb_count_pending_requests
    mobile_ipv6_probe_advanced_filtering oauth2_use_gcm_encryption quic_disable_data_read_immediately
    quic_enable_reset_ssl_after_handshake quic_no_tcp_delay quic_reject_all quic_session_ticket_support
    quic_support_web_transport remove_legacy_route_formatter reresolve_if_no_connections
    reresolve_null_addresses reverse_conn_force_local_reply strict_chunk_parsing
    strip_upgrade_header_on_failed_websocket_upgrades tcp_proxy_delay_route_selection test_feature_false
    tls_certificate_compression_brotli unified_mux use_canonical_suffix_for_initial_rtt_estimate
    use_canonical_suffix_for_srtt runtime_initialized
    """.split()  # noqa: SIM905
)
_RESTART_ON: Final = frozenset(["worker_threads_watchdog_fix"])
_RESTART_OFF: Final = frozenset(
    [
        "quic_keylog_support",
        "shared_cares_dns_resolver",
        "upstream_http_filters_with_tcp_proxy",
        "use_cached_grpc_client_for_xds",
        "xds_failover_support",
    ]
)

_OTHERWISE: Final[Mapping[str, bool]] = {
    # What follows a chunk must be the end of its line: see docs/compatibility.md.
    f"{_RELOADABLE}strict_chunk_parsing": True,
}
"""Where Outrider behaves otherwise than by the default, as a listed difference."""

REQUEST_HEADERS_COUNT: Final = f"{_RELOADABLE}max_request_headers_count"
REQUEST_HEADERS_KB: Final = f"{_RELOADABLE}max_request_headers_size_kb"
RESPONSE_HEADERS_COUNT: Final = f"{_RELOADABLE}max_response_headers_count"
RESPONSE_HEADERS_KB: Final = f"{_RELOADABLE}max_response_headers_size_kb"
"""Limits where the config sets none, of listeners and clusters that are made from then on."""

_READ: Final = frozenset(
    {GUARD, REQUEST_HEADERS_COUNT, REQUEST_HEADERS_KB, RESPONSE_HEADERS_COUNT, RESPONSE_HEADERS_KB}
)

FIXED: Final[Mapping[str, bool]] = {
    **{f"{_RELOADABLE}{name}": True for name in _ON},
    **{f"{_RELOADABLE}{name}": False for name in _OFF},
    **{f"{_RESTART}{name}": True for name in _RESTART_ON},
    **{f"{_RESTART}{name}": False for name in _RESTART_OFF},
    **_OTHERWISE,
}
"""The value of each guard by which Outrider behaves, whatever the runtime says."""


def guard_warnings(values: Mapping[str, str]) -> Iterator[str]:
    """What a layer of the runtime sets in vain, a sentence for each key."""
    runtime = Runtime(values)
    for name, text in values.items():
        if not name.startswith((_RELOADABLE, _RESTART)) or name.startswith(_UNTRACKED) or name in _READ:
            continue
        fixed = FIXED.get(name)
        if fixed is None:
            yield (
                f"Using a removed guard {name}. In future version of Envoy this will be treated as invalid "
                "configuration"
            )
        elif runtime.boolean(name, fixed) is not fixed:
            yield f"{name}: {text} has no effect here; what {str(fixed).lower()} stands for is what is done"
