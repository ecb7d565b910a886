"""`Cluster`, endpoints, balancing policies and protocol options."""

TABLE = """
envoy.config.cluster.v3.Cluster
  + name alt_stat_name type cluster_type connect_timeout per_connection_buffer_limit_bytes lb_policy
  + load_assignment max_requests_per_connection circuit_breakers common_http_protocol_options
  + http_protocol_options typed_extension_protocol_options dns_refresh_rate dns_jitter
  + dns_failure_refresh_rate
  + respect_dns_ttl dns_lookup_family dns_resolvers use_tcp_for_dns_lookups dns_resolution_config
  + typed_dns_resolver_config wait_for_warm_on_init upstream_bind_config least_request_lb_config
  + round_robin_lb_config common_lb_config transport_socket metadata upstream_connection_options
  + load_balancing_policy
  - pools are shared by all clients: connection_pool_per_downstream_connection
  + http2_protocol_options protocol_selection original_dst_lb_config cleanup_interval
  + track_timeout_budgets track_cluster_stats
  + upstream_http_protocol_options
  + outlier_detection health_checks close_connections_on_host_health_failure ignore_health_on_host_removal
  + eds_cluster_config
  + lrs_report_endpoint_metrics
  ~ load is reported to cluster_manager.load_stats_config, as in Envoy: lrs_server
  + lb_subset_config ring_hash_lb_config maglev_lb_config
  + preconnect_policy
  + transport_socket_matches
  - name the sockets in transport_socket_matches: transport_socket_matcher
  + filters
  - upstream_config

envoy.config.cluster.v3.Cluster.PreconnectPolicy
  + per_upstream_preconnect_ratio predictive_preconnect_ratio

envoy.config.cluster.v3.OutlierDetection
  + consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx
  + enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor
  + consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors
  + consecutive_local_origin_failure enforcing_consecutive_local_origin_failure
  + enforcing_local_origin_success_rate failure_percentage_threshold enforcing_failure_percentage
  + enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts
  + failure_percentage_request_volume max_ejection_time max_ejection_time_jitter
  + successful_active_health_check_uneject_host always_eject_one_host
  - hosts are judged by what is described here alone: monitors

envoy.config.cluster.v3.Cluster.EdsClusterConfig
  + eds_config service_name

envoy.config.cluster.v3.Cluster.TransportSocketMatch
  + name match transport_socket

envoy.config.cluster.v3.Cluster.CustomClusterType
  + name typed_config

envoy.config.cluster.v3.Cluster.OriginalDstLbConfig
  + use_http_header http_header_name upstream_port_override metadata_key

envoy.extensions.clusters.aggregate.v3.ClusterConfig
  + clusters

envoy.config.cluster.v3.Cluster.RefreshRate
  + base_interval max_interval

envoy.config.cluster.v3.Cluster.LeastRequestLbConfig
  + choice_count active_request_bias slow_start_config

envoy.config.cluster.v3.Cluster.RoundRobinLbConfig
  + slow_start_config

envoy.config.cluster.v3.Cluster.SlowStartConfig
  + slow_start_window aggression min_weight_percent

envoy.config.cluster.v3.Cluster.RingHashLbConfig
  + minimum_ring_size hash_function maximum_ring_size

envoy.config.cluster.v3.Cluster.MaglevLbConfig
  + table_size

envoy.config.cluster.v3.Cluster.LbSubsetConfig
  + fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight
  + panic_mode_any list_as_any metadata_fallback_policy

envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector
  + keys single_host_per_subset fallback_policy fallback_keys_subset

envoy.config.cluster.v3.Cluster.CommonLbConfig
  + healthy_panic_threshold close_connections_on_host_set_change zone_aware_lb_config
  + locality_weighted_lb_config consistent_hashing_lb_config
  ~ host changes take effect at once: update_merge_window
  + ignore_new_hosts_until_first_hc
  + override_host_status

envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig
  + routing_enabled min_cluster_size fail_traffic_on_panic

envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig

envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig
  + use_hostname_for_hashing hash_balance_factor

envoy.config.core.v3.HealthStatusSet
  + statuses

envoy.config.cluster.v3.UpstreamConnectionOptions
  + tcp_keepalive happy_eyeballs_config
  ~ the interface name is not kept: set_local_interface_name_on_upstream_connections

envoy.config.cluster.v3.UpstreamConnectionOptions.HappyEyeballsConfig
  + first_address_family_version first_address_family_count

envoy.config.cluster.v3.TrackClusterStats
  + timeout_budgets request_response_sizes per_endpoint_stats

envoy.config.cluster.v3.LoadBalancingPolicy
  + policies

envoy.config.cluster.v3.LoadBalancingPolicy.Policy
  + typed_extension_config

envoy.config.cluster.v3.CircuitBreakers
  + thresholds per_host_thresholds

envoy.config.cluster.v3.CircuitBreakers.Thresholds
  + priority max_connections max_pending_requests max_requests max_retries track_remaining
  ~ pools are counted but never refused: max_connection_pools
  + retry_budget

envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget
  + budget_percent min_retry_concurrency

envoy.config.endpoint.v3.ClusterLoadAssignment
  + cluster_name endpoints policy
  - named_endpoints

envoy.config.endpoint.v3.ClusterLoadAssignment.Policy
  + overprovisioning_factor weighted_priority_health drop_overloads
  - comes with xDS: endpoint_stale_after

envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload
  + drop_percentage
  ~ it names the reason in load reports only: category

envoy.config.endpoint.v3.LocalityLbEndpoints
  + locality metadata lb_endpoints priority load_balancing_weight
  ~ Envoy does not look at it either: proximity
  - comes with xDS: load_balancer_endpoints leds_cluster_locality_config

envoy.config.endpoint.v3.LbEndpoint
  + endpoint health_status metadata load_balancing_weight
  - endpoint_name

envoy.config.endpoint.v3.Endpoint
  + address hostname additional_addresses health_check_config

envoy.config.endpoint.v3.Endpoint.AdditionalAddress
  + address

envoy.config.endpoint.v3.Endpoint.HealthCheckConfig
  + port_value hostname address disable_active_health_check

envoy.config.core.v3.HealthCheck
  + timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold
  + healthy_threshold reuse_connection http_health_check tcp_health_check grpc_health_check
  + custom_health_check no_traffic_interval no_traffic_healthy_interval unhealthy_interval
  + unhealthy_edge_interval healthy_edge_interval event_log_path event_logger
  + always_log_health_check_failures always_log_health_check_success tls_options
  + transport_socket_match_criteria
  ~ Envoy does not look at it either, set health_check_config of the endpoints: alt_port
  - events go to files: event_service

envoy.config.core.v3.HealthCheck.Payload
  + text binary

envoy.config.core.v3.HealthCheck.HttpHealthCheck
  + host path send receive response_buffer_size request_headers_to_add request_headers_to_remove
  + expected_statuses retriable_statuses codec_client_type service_name_matcher method

envoy.config.core.v3.HealthCheck.TcpHealthCheck
  + send receive
  - proxy_protocol_config

envoy.config.core.v3.HealthCheck.GrpcHealthCheck
  + service_name authority initial_metadata

envoy.config.core.v3.HealthCheck.CustomHealthCheck
  + name
  - only HTTP, TCP and gRPC checks are supported: typed_config

envoy.config.core.v3.HealthCheck.TlsOptions
  + alpn_protocols

envoy.config.core.v3.UpstreamHttpProtocolOptions
  + auto_sni auto_san_validation override_auto_sni_header

envoy.extensions.upstreams.http.v3.HttpProtocolOptions
  + common_http_protocol_options explicit_http_config use_downstream_protocol_config auto_config
  + upstream_http_protocol_options hash_policy retry_policy request_mirror_policies
  + outlier_detection
  + http_filters
  - header_validation_config

envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection
  + error_matcher

envoy.config.common.matcher.v3.MatchPredicate
  + or_match and_match not_match any_match http_response_headers_match
  ~ only fields of responses are looked at, as in Envoy: http_request_headers_match
  ~ only fields of responses are looked at, as in Envoy: http_request_trailers_match
  ~ only fields of responses are looked at, as in Envoy: http_response_trailers_match
  ~ only fields of responses are looked at, as in Envoy: http_request_generic_body_match
  ~ only fields of responses are looked at, as in Envoy: http_response_generic_body_match

envoy.config.common.matcher.v3.MatchPredicate.MatchSet
  + rules

envoy.config.common.matcher.v3.HttpHeadersMatch
  + headers

envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig
  + http_protocol_options http2_protocol_options
  - HTTP/3 is not supported: http3_protocol_options

envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig
  + http_protocol_options http2_protocol_options
  - HTTP/3 is not supported: http3_protocol_options

envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig
  + http_protocol_options http2_protocol_options
  - HTTP/3 is not supported: http3_protocol_options
  ~ only HTTP/3 has alternatives to remember: alternate_protocols_cache_options

envoy.config.core.v3.AlternateProtocolsCacheOptions
  ~ only HTTP/3 has alternatives to remember: name max_entries prepopulated_entries canonical_suffixes
  - key_value_store_config

envoy.config.core.v3.AlternateProtocolsCacheOptions.AlternateProtocolsCacheEntry
  ~ only HTTP/3 has alternatives to remember: hostname port

envoy.extensions.clusters.dns.v3.DnsCluster
  + dns_refresh_rate dns_failure_refresh_rate respect_dns_ttl dns_jitter typed_dns_resolver_config
  + dns_lookup_family all_addresses_in_single_endpoint

envoy.extensions.clusters.dns.v3.DnsCluster.RefreshRate
  + base_interval max_interval

envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin
  + slow_start_config locality_lb_config

envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
  + choice_count active_request_bias enable_full_scan selection_method slow_start_config
  + locality_lb_config

envoy.extensions.load_balancing_policies.random.v3.Random
  + locality_lb_config

envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig
  + zone_aware_lb_config locality_weighted_lb_config

envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig
  + routing_enabled min_cluster_size fail_traffic_on_panic force_locality_direct_routing force_local_zone
  + locality_basis

envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig.ForceLocalZone
  + min_size

envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig

envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig
  + slow_start_window aggression min_weight_percent

envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig
  + use_hostname_for_hashing hash_balance_factor hash_policy

envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided

envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost
  + override_host_sources fallback_policy

envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost.OverrideHostSource
  + header metadata

envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash
  + hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor
  + consistent_hashing_lb_config locality_weighted_lb_config

envoy.extensions.load_balancing_policies.maglev.v3.Maglev
  + table_size consistent_hashing_lb_config locality_weighted_lb_config

envoy.extensions.load_balancing_policies.subset.v3.Subset
  + fallback_policy default_subset subset_selectors allow_redundant_keys locality_weight_aware
  + scale_locality_weight panic_mode_any list_as_any metadata_fallback_policy subset_lb_policy

envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector
  + keys single_host_per_subset fallback_policy fallback_keys_subset

envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality
  + endpoint_picking_policy

envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin
  + blackout_period weight_expiration_period weight_update_period error_utilization_penalty
  + metric_names_for_computing_utilization slow_start_config enable_oob_load_report
  + oob_reporting_period

envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
  + resolvers use_resolvers_as_fallback dns_resolver_options query_timeout_seconds query_tries
  ~ queries are made by our own resolver: filter_unroutable_families udp_max_queries rotate_nameservers
  ~ queries are made by our own resolver: edns0_max_payload_size max_udp_channel_duration
  ~ queries are made by our own resolver: reinit_channel_on_timeout

envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig
  ~ queries are made by our own resolver: num_retries num_resolver_threads
"""
