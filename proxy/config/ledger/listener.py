"""`Listener`, filter chains, and the network filters without an area of their own."""

TABLE = """
envoy.config.listener.v3.Listener
  + name address additional_addresses stat_prefix filter_chains default_filter_chain
  + per_connection_buffer_limit_bytes metadata drain_type transparent freebind socket_options
  + tcp_fast_open_queue_length traffic_direction connection_balance_config enable_reuse_port access_log
  + tcp_backlog_size bind_to_port ignore_global_conn_limit deprecated_v1
  ~ without listener filters there is nothing to wait for: listener_filters_timeout
  ~ without listener filters there is nothing to wait for: continue_on_listener_filters_timeout
  ~ set enable_reuse_port, as Envoy asks too: reuse_port
  ~ the event loop takes all that wait: max_connections_to_accept_per_socket_event
  ~ the kernel is not asked for multipath TCP: enable_mptcp
  ~ there is no overload manager yet: bypass_overload_manager
  - comes with L4 and TLS: listener_filters use_original_dst filter_chain_matcher
  - comes with xDS: fcds_config api_listener
  - UDP and QUIC are not supported: udp_listener_config
  - internal_listener

envoy.config.listener.v3.Listener.DeprecatedV1
  + bind_to_port

envoy.config.listener.v3.Listener.ConnectionBalanceConfig
  ~ the kernel spreads connections over the workers' own sockets: exact_balance
  - extend_balance

envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance

envoy.config.listener.v3.AdditionalAddress
  + address socket_options

envoy.config.listener.v3.FilterChain
  + filter_chain_match filters metadata transport_socket transport_socket_connect_timeout name
  - comes with L4 and TLS: use_proxy_proto

envoy.config.listener.v3.FilterChainMatch
  + destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges source_ports
  + server_names transport_protocol application_protocols
  - Envoy has not implemented it either: address_suffix suffix_len

envoy.config.listener.v3.Filter
  + name typed_config
  - comes with xDS: config_discovery

envoy.extensions.filters.network.echo.v3.Echo

envoy.extensions.filters.network.direct_response.v3.Config
  + response

envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit
  + stat_prefix max_connections delay runtime_enabled
"""
