"""The TCP proxy."""

TABLE = """
envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
  + stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts hash_policy
  + max_downstream_connection_duration max_downstream_connection_duration_jitter_percentage
  + access_log_flush_interval flush_access_log_on_connected access_log_options
  ~ Envoy has not implemented it either: downstream_idle_timeout upstream_idle_timeout
  + tunneling_config backoff_options proxy_protocol_tlvs upstream_connect_mode max_early_data_bytes
  + on_demand metadata_match

envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.OnDemand
  + odcds_config timeout
  - only listeners and clusters of the bootstrap come by a locator: resources_locator

envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig
  + hostname use_post post_path headers_to_add propagate_response_headers propagate_response_trailers
  + request_id_extension request_id_header request_id_metadata_key

envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster
  + clusters

envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight
  + name weight metadata_match

envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TcpAccessLogOptions
  + access_log_flush_interval flush_access_log_on_connected

envoy.config.core.v3.BackoffStrategy
  + base_interval max_interval

envoy.type.v3.HashPolicy
  + source_ip filter_state

envoy.type.v3.HashPolicy.SourceIp

envoy.type.v3.HashPolicy.FilterState
  + key
"""
