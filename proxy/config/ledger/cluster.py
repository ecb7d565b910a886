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
  ~ there are no active health checks yet: close_connections_on_host_health_failure
  ~ there are no active health checks yet: ignore_health_on_host_removal
  ~ these numbers are not kept: track_timeout_budgets track_cluster_stats
  + upstream_http_protocol_options
  - comes with active health checks: health_checks
  - comes with outlier detection: outlier_detection
  + eds_cluster_config
  - comes with xDS: lrs_server lrs_report_endpoint_metrics
  - comes with more balancing policies: lb_subset_config ring_hash_lb_config maglev_lb_config
  - comes with more balancing policies: preconnect_policy
  + transport_socket_matches
  - name the sockets in transport_socket_matches: transport_socket_matcher
  - network filters of upstream connections are not supported: filters
  - upstream_config

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
  + choice_count active_request_bias
  - comes with more balancing policies: slow_start_config

envoy.config.cluster.v3.Cluster.RoundRobinLbConfig
  - comes with more balancing policies: slow_start_config

envoy.config.cluster.v3.Cluster.CommonLbConfig
  + healthy_panic_threshold close_connections_on_host_set_change
  ~ host changes take effect at once: update_merge_window
  ~ there are no active health checks yet: ignore_new_hosts_until_first_hc override_host_status
  - comes with more balancing policies: zone_aware_lb_config locality_weighted_lb_config
  - comes with more balancing policies: consistent_hashing_lb_config

envoy.config.core.v3.HealthStatusSet
  + statuses

envoy.config.cluster.v3.UpstreamConnectionOptions
  + tcp_keepalive
  ~ the interface name is not kept: set_local_interface_name_on_upstream_connections
  ~ addresses of a host are tried in turn: happy_eyeballs_config

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
  - comes with retries: retry_budget

envoy.config.endpoint.v3.ClusterLoadAssignment
  + cluster_name endpoints policy
  - named_endpoints

envoy.config.endpoint.v3.ClusterLoadAssignment.Policy
  ~ one priority is served, so there is nothing to overprovision: overprovisioning_factor
  ~ one priority is served, so there is nothing to overprovision: weighted_priority_health
  - comes with xDS: endpoint_stale_after
  - comes with more balancing policies: drop_overloads

envoy.config.endpoint.v3.LocalityLbEndpoints
  + locality metadata lb_endpoints
  ~ hosts of all localities are balanced together: load_balancing_weight proximity
  - comes with more balancing policies: priority
  - comes with xDS: load_balancer_endpoints leds_cluster_locality_config

envoy.config.endpoint.v3.LbEndpoint
  + endpoint health_status metadata load_balancing_weight
  - endpoint_name

envoy.config.endpoint.v3.Endpoint
  + address hostname
  - additional_addresses
  ~ there are no active health checks yet: health_check_config

envoy.config.endpoint.v3.Endpoint.HealthCheckConfig
  + port_value hostname address disable_active_health_check

envoy.config.core.v3.UpstreamHttpProtocolOptions
  + auto_sni auto_san_validation override_auto_sni_header

envoy.extensions.upstreams.http.v3.HttpProtocolOptions
  + common_http_protocol_options explicit_http_config use_downstream_protocol_config auto_config
  + upstream_http_protocol_options
  - comes with outlier detection: outlier_detection
  - comes with retries: retry_policy
  - http_filters header_validation_config request_mirror_policies hash_policy

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
  - comes with more balancing policies: slow_start_config
  - comes with more balancing policies: locality_lb_config

envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
  + choice_count active_request_bias enable_full_scan selection_method
  - comes with more balancing policies: slow_start_config locality_lb_config

envoy.extensions.load_balancing_policies.random.v3.Random
  - comes with more balancing policies: locality_lb_config

envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
  + resolvers use_resolvers_as_fallback dns_resolver_options query_timeout_seconds query_tries
  ~ queries are made by our own resolver: filter_unroutable_families udp_max_queries rotate_nameservers
  ~ queries are made by our own resolver: edns0_max_payload_size max_udp_channel_duration
  ~ queries are made by our own resolver: reinit_channel_on_timeout

envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig
  ~ queries are made by our own resolver: num_retries num_resolver_threads
"""
