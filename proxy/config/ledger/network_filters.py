"""Network filters that decide about connections, and what they share with each other."""

TABLE = """
envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit
  + stat_prefix token_bucket runtime_enabled share_key

envoy.extensions.filters.network.ext_authz.v3.ExtAuthz
  + stat_prefix grpc_service failure_mode_allow include_peer_certificate transport_api_version
  + filter_enabled_metadata bootstrap_metadata_labels_key include_tls_session metadata_context_namespaces
  - Python's ssl cannot send an alert of one's own: send_tls_alert_on_denial
  - connections have no typed dynamic metadata: typed_metadata_context_namespaces

envoy.extensions.filters.network.sni_cluster.v3.SniCluster

istio.envoy.config.filter.network.tcp_cluster_rewrite.v2alpha1.TcpClusterRewrite
  + cluster_pattern cluster_replacement

envoy.extensions.filters.network.set_filter_state.v3.Config
  + on_new_connection

envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue
  + object_key factory_key format_string skip_if_empty shared_with_upstream
  ~ no filter here changes an object against the order of the config: read_only

envoy.extensions.filters.network.rbac.v3.RBAC
  + rules matcher shadow_rules shadow_matcher shadow_rules_stat_prefix stat_prefix enforcement_type delay_deny

envoy.type.v3.Int32Range
  + start end

envoy.type.v3.TokenBucket
  + max_tokens tokens_per_fill fill_interval
"""
