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
  + rules shadow_rules shadow_rules_stat_prefix stat_prefix enforcement_type delay_deny
  - matcher shadow_matcher

envoy.config.rbac.v3.RBAC
  + action policies
  - audit_logging_options

envoy.config.rbac.v3.Policy
  + permissions principals
  - CEL expressions are not supported: condition checked_condition cel_config

envoy.config.rbac.v3.Permission
  + and_rules or_rules any url_path destination_ip destination_port destination_port_range metadata not_rule
  + requested_server_name sourced_metadata
  - the RBAC network filter knows no headers: header uri_template
  - matcher

envoy.config.rbac.v3.Permission.Set
  + rules

envoy.config.rbac.v3.Principal
  + and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip url_path metadata filter_state not_id
  + sourced_metadata
  - the RBAC network filter knows no headers: header
  - custom

envoy.config.rbac.v3.Principal.Set
  + ids

envoy.config.rbac.v3.Principal.Authenticated
  + principal_name

envoy.config.rbac.v3.SourcedMetadata
  + metadata_matcher metadata_source

envoy.type.v3.Int32Range
  + start end

envoy.type.v3.TokenBucket
  + max_tokens tokens_per_fill fill_interval

envoy.type.matcher.v3.PathMatcher
  ~ a connection has no path: path
"""
