"""`Listener`, filter chains, and the network filters without an area of their own."""

TABLE = """
envoy.config.listener.v3.Listener
  + name address additional_addresses stat_prefix filter_chains default_filter_chain
  + per_connection_buffer_limit_bytes metadata drain_type transparent freebind socket_options
  + tcp_fast_open_queue_length traffic_direction connection_balance_config enable_reuse_port access_log
  + filter_chain_matcher tcp_backlog_size bind_to_port ignore_global_conn_limit deprecated_v1
  + listener_filters listener_filters_timeout continue_on_listener_filters_timeout use_original_dst
  ~ set enable_reuse_port, as Envoy asks too: reuse_port
  ~ the event loop takes all that wait: max_connections_to_accept_per_socket_event
  ~ the kernel is not asked for multipath TCP: enable_mptcp
  + bypass_overload_manager
  - comes with xDS: fcds_config api_listener
  + udp_listener_config
  + internal_listener

envoy.config.listener.v3.Listener.InternalListenerConfig

envoy.config.listener.v3.Listener.DeprecatedV1
  + bind_to_port

envoy.config.listener.v3.Listener.ConnectionBalanceConfig
  ~ the kernel spreads connections over the workers' own sockets: exact_balance
  - extend_balance

envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance

envoy.config.listener.v3.AdditionalAddress
  + address socket_options

envoy.config.listener.v3.FilterChain
  + filter_chain_match filters metadata transport_socket transport_socket_connect_timeout name use_proxy_proto

envoy.config.listener.v3.FilterChainMatch
  + destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges source_ports
  + server_names transport_protocol application_protocols
  - Envoy has not implemented it either: address_suffix suffix_len

envoy.config.listener.v3.ListenerFilter
  + name typed_config filter_disabled config_discovery

envoy.config.listener.v3.ListenerFilterChainMatchPredicate
  + or_match and_match not_match any_match destination_port_range

envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet
  + rules

envoy.extensions.filters.listener.http_inspector.v3.HttpInspector

envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit
  + stat_prefix token_bucket runtime_enabled

envoy.extensions.filters.listener.original_dst.v3.OriginalDst

envoy.extensions.filters.listener.original_src.v3.OriginalSrc
  + mark
  ~ the kernel chooses the port, as with Envoy, which has not implemented it: bind_port

envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
  + rules allow_requests_without_proxy_protocol pass_through_tlvs disallowed_versions stat_prefix tlv_location

envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.KeyValuePair
  + metadata_namespace key

envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.Rule
  + tlv_type on_tlv_present

envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector
  + enable_ja3_fingerprinting enable_ja4_fingerprinting close_connection_on_client_hello_parsing_errors
  + max_client_hello_size
  ~ bytes are read as they come: initial_read_buffer_size

envoy.config.core.v3.ProxyProtocolPassThroughTLVs
  + match_type tlv_type

envoy.config.listener.v3.Filter
  + name typed_config config_discovery

envoy.extensions.filters.network.echo.v3.Echo

envoy.extensions.filters.network.direct_response.v3.Config
  + response

envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit
  + stat_prefix max_connections delay runtime_enabled
"""
