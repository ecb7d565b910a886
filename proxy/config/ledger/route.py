"""`RouteConfiguration` and what is below it."""

TABLE = """
envoy.config.route.v3.RouteConfiguration
  + name virtual_hosts internal_only_headers response_headers_to_add response_headers_to_remove
  + request_headers_to_add request_headers_to_remove most_specific_header_mutations_wins validate_clusters
  + max_direct_response_body_size_bytes request_mirror_policies ignore_port_in_host_matching vhost_header
  + ignore_path_parameters_in_path_matching typed_per_filter_config metadata
  + vhds
  - cluster_specifier_plugins

envoy.config.route.v3.Vhds
  + config_source

envoy.config.route.v3.ScopedRouteConfiguration
  + on_demand name route_configuration_name route_configuration key

envoy.config.route.v3.ScopedRouteConfiguration.Key
  + fragments

envoy.config.route.v3.ScopedRouteConfiguration.Key.Fragment
  + string_key

envoy.config.route.v3.VirtualHost
  + name domains routes require_tls request_headers_to_add request_headers_to_remove response_headers_to_add
  + response_headers_to_remove typed_per_filter_config per_request_buffer_limit_bytes
  + request_body_buffer_limit
  + request_mirror_policies metadata cors
  + include_request_attempt_count include_attempt_count_in_response virtual_clusters
  + include_is_timeout_retry_header retry_policy hedge_policy
  - write it as retry_policy: retry_policy_typed_config
  + rate_limits
  - matcher

envoy.config.route.v3.RateLimit
  + stage disable_key actions hits_addend
  - comes with the filter ratelimit: limit
  - counts are made when a request comes: apply_on_stream_done

envoy.config.route.v3.RateLimit.HitsAddend
  + number format

envoy.config.route.v3.RateLimit.Action
  + source_cluster destination_cluster request_headers query_parameters remote_address generic_key
  + header_value_match metadata masked_remote_address query_parameter_value_match
  - Envoy refuses it too, unless told otherwise; write metadata: dynamic_metadata
  - extension

envoy.config.route.v3.RateLimit.Action.SourceCluster

envoy.config.route.v3.RateLimit.Action.DestinationCluster

envoy.config.route.v3.RateLimit.Action.RequestHeaders
  + header_name descriptor_key skip_if_absent

envoy.config.route.v3.RateLimit.Action.QueryParameters
  + query_parameter_name descriptor_key skip_if_absent

envoy.config.route.v3.RateLimit.Action.RemoteAddress

envoy.config.route.v3.RateLimit.Action.MaskedRemoteAddress
  + v4_prefix_mask_len v6_prefix_mask_len

envoy.config.route.v3.RateLimit.Action.GenericKey
  + descriptor_value descriptor_key

envoy.config.route.v3.RateLimit.Action.HeaderValueMatch
  + descriptor_key descriptor_value expect_match headers

envoy.config.route.v3.RateLimit.Action.MetaData
  + descriptor_key metadata_key default_value source skip_if_absent

envoy.config.route.v3.RateLimit.Action.QueryParameterValueMatch
  + descriptor_key descriptor_value expect_match query_parameters

envoy.config.route.v3.RetryPolicy
  + retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate
  + host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off
  + retriable_headers retriable_request_headers retry_priority
  - retry_options_predicates

envoy.config.route.v3.RetryPolicy.RetryHostPredicate
  + name typed_config

envoy.config.route.v3.RetryPolicy.RetryPriority
  + name typed_config

envoy.config.route.v3.RetryPolicy.RetryBackOff
  + base_interval max_interval

envoy.config.route.v3.RetryPolicy.ResetHeader
  + name format

envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff
  + reset_headers max_interval

envoy.config.route.v3.HedgePolicy
  + hedge_on_per_try_timeout
  ~ Envoy does not act on them either: initial_requests additional_request_chance

envoy.config.route.v3.VirtualCluster
  + headers name

envoy.config.route.v3.Route
  + name match route redirect direct_response metadata typed_per_filter_config request_headers_to_add
  + request_headers_to_remove response_headers_to_add response_headers_to_remove
  + per_request_buffer_limit_bytes
  + stat_prefix request_body_buffer_limit non_forwarding_action
  + decorator tracing
  - filter_action

envoy.config.route.v3.NonForwardingAction

envoy.config.route.v3.RouteMatch
  + prefix path safe_regex connect_matcher path_separated_prefix path_match_policy case_sensitive
  + runtime_fraction headers query_parameters grpc tls_context dynamic_metadata filter_state

envoy.config.route.v3.RouteMatch.ConnectMatcher

envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions

envoy.config.route.v3.RouteMatch.TlsContextMatchOptions
  + presented validated

envoy.config.route.v3.HeaderMatcher
  + name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match
  + string_match invert_match treat_missing_header_as_empty

envoy.config.route.v3.QueryParameterMatcher
  + name string_match present_match

envoy.config.route.v3.RouteAction
  + cluster cluster_header weighted_clusters cluster_not_found_response_code metadata_match prefix_rewrite
  + regex_rewrite path_rewrite_policy path_rewrite host_rewrite_literal auto_host_rewrite
  + host_rewrite_header
  + host_rewrite_path_regex host_rewrite append_x_forwarded_host timeout idle_timeout flush_timeout
  + request_mirror_policies priority hash_policy max_grpc_timeout grpc_timeout_offset upgrade_configs
  + internal_redirect_policy internal_redirect_action max_internal_redirects max_stream_duration cors
  - HTTP/3 is not supported: early_data_policy
  + retry_policy hedge_policy
  - write it as retry_policy: retry_policy_typed_config
  + rate_limits include_vh_rate_limits
  - cluster_specifier_plugin inline_cluster_specifier_plugin

envoy.config.route.v3.RouteAction.RequestMirrorPolicy
  + cluster cluster_header runtime_fraction disable_shadow_host_suffix_append request_headers_mutations
  + host_rewrite_literal
  ~ copies have no spans of their own: trace_sampled

envoy.config.route.v3.RouteAction.HashPolicy
  + header cookie connection_properties query_parameter filter_state terminal

envoy.config.route.v3.RouteAction.HashPolicy.Header
  + header_name regex_rewrite

envoy.config.route.v3.RouteAction.HashPolicy.Cookie
  + name ttl path attributes

envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute
  + name value

envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties
  + source_ip

envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter
  + name

envoy.config.route.v3.RouteAction.HashPolicy.FilterState
  + key

envoy.config.route.v3.RouteAction.UpgradeConfig
  + upgrade_type enabled connect_config

envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig
  + proxy_protocol_config allow_post

envoy.config.route.v3.RouteAction.MaxStreamDuration
  + max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset

envoy.config.route.v3.InternalRedirectPolicy
  + max_internal_redirects redirect_response_codes predicates allow_cross_scheme_redirect
  + response_headers_to_copy

envoy.config.route.v3.WeightedCluster
  + clusters runtime_key_prefix header_name use_hash_policy
  ~ the weights are added up, as in Envoy: total_weight

envoy.config.route.v3.WeightedCluster.ClusterWeight
  + name cluster_header weight metadata_match request_headers_to_add request_headers_to_remove
  + response_headers_to_add response_headers_to_remove typed_per_filter_config host_rewrite_literal

envoy.config.route.v3.RedirectAction
  + https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite
  + response_code strip_query

envoy.config.route.v3.DirectResponseAction
  + status body body_format

envoy.config.route.v3.CorsPolicy
  + allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials
  + filter_enabled
  + shadow_enabled allow_private_network_access forward_not_matching_preflights

envoy.config.route.v3.FilterConfig
  + config is_optional disabled

envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig
  + path_template

envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig
  + path_template_rewrite

envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig
  + allowed_route_names

envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig

envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig
"""
