"""`HttpConnectionManager` and the HTTP filters."""

TABLE = """
envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
  + codec_type stat_prefix route_config http_filters add_user_agent common_http_protocol_options
  + http_protocol_options server_name server_header_transformation
  + scheme_header_transformation max_request_headers_kb stream_idle_timeout request_timeout
  + request_headers_timeout drain_timeout delayed_close_timeout access_log
  + use_remote_address xff_num_trusted_hops
  + original_ip_detection_extensions early_header_mutation_extensions internal_address_config
  + skip_xff_append via
  + generate_request_id preserve_external_request_id always_set_request_id_in_response proxy_100_continue
  + upgrade_configs normalize_path merge_slashes
  + path_with_escaped_slashes_action request_id_extension local_reply_config strip_matching_host_port
  + strip_any_host_port stream_error_on_invalid_http_message strip_trailing_host_dot append_x_forwarded_port
  + forward_client_cert_details set_current_client_cert_details
  + append_local_overload
  + http2_protocol_options
  - HTTP/3 is not supported: http3_protocol_options
  + stream_flush_timeout
  - http1_safe_max_connection_duration
  - represent_ipv4_remote_address_as_ipv4_mapped_ipv6
  + rds scoped_routes
  + tracing
  - comes with more matchers: forward_client_cert_matcher
  - comes with L4 and TLS: add_proxy_protocol_connection_state
  - Envoy has not implemented it either: path_normalization_options
  - proxy_status_config typed_header_validation_config
  - no log entry before a stream's end: access_log_flush_interval flush_access_log_on_new_request access_log_options

envoy.extensions.filters.network.http_connection_manager.v3.Rds
  + config_source route_config_name

envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes
  + name scope_key_builder rds_config_source scoped_route_configurations_list scoped_rds

envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder
  + fragments

envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder
  + header_value_extractor

envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor
  + name element_separator index element

envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement
  + separator key

envoy.extensions.filters.network.http_connection_manager.v3.ScopedRouteConfigurationsList
  + scoped_route_configurations

envoy.extensions.filters.network.http_connection_manager.v3.ScopedRds
  + scoped_rds_config_source
  - only listeners and clusters of the bootstrap come by a locator: srds_resources_locator

envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig
  + unix_sockets cidr_ranges

envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails
  + subject cert chain dns uri

envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig
  + upgrade_type enabled filters

envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter
  + name typed_config is_optional disabled config_discovery

envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension
  + typed_config

envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig
  + mappers body_format

envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper
  + filter status_code body body_format_override headers_to_add

envoy.config.core.v3.SchemeHeaderTransformation
  + scheme_to_overwrite match_upstream

envoy.extensions.filters.http.router.v3.Router
  + dynamic_stats suppress_envoy_headers strict_check_headers respect_expected_rq_timeout
  + suppress_grpc_request_failure_code_stats
  + upstream_log upstream_log_options
  ~ no spans are recorded: start_child_span
  + upstream_http_filters

envoy.extensions.filters.http.router.v3.Router.UpstreamAccessLogOptions
  + flush_upstream_log_on_upstream_stream upstream_log_flush_interval

envoy.extensions.filters.http.on_demand.v3.OnDemand
  + odcds

envoy.extensions.filters.http.on_demand.v3.PerRouteConfig
  + odcds

envoy.extensions.filters.http.on_demand.v3.OnDemandCds
  + source timeout
  - only listeners and clusters of the bootstrap come by a locator: resources_locator

envoy.extensions.filters.http.buffer.v3.Buffer
  + max_request_bytes

envoy.extensions.filters.http.buffer.v3.BufferPerRoute
  + disabled buffer

envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth
  + credentials key_sources forwarding

envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute
  + credentials key_sources allowed_clients forwarding

envoy.extensions.filters.http.api_key_auth.v3.Credential
  + key client

envoy.extensions.filters.http.api_key_auth.v3.KeySource
  + header query cookie

envoy.extensions.filters.http.api_key_auth.v3.Forwarding
  + header hide_credentials

envoy.extensions.filters.http.basic_auth.v3.BasicAuth
  + users forward_username_header authentication_header

envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute
  + users

envoy.extensions.filters.http.csrf.v3.CsrfPolicy
  + filter_enabled shadow_enabled additional_origins

envoy.extensions.filters.http.cors.v3.Cors

envoy.extensions.filters.http.cors.v3.CorsPolicy
  + allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials
  + filter_enabled
  + shadow_enabled allow_private_network_access forward_not_matching_preflights

envoy.extensions.filters.http.fault.v3.HTTPFault
  + delay abort response_rate_limit upstream_cluster headers downstream_nodes max_active_faults
  + delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime
  + max_active_faults_runtime response_rate_limit_percent_runtime abort_grpc_status_runtime filter_metadata
  + disable_downstream_cluster_stats

envoy.extensions.filters.http.fault.v3.FaultAbort
  + http_status grpc_status header_abort percentage

envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort

envoy.extensions.filters.common.fault.v3.FaultDelay
  + fixed_delay header_delay percentage

envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay

envoy.extensions.filters.common.fault.v3.FaultRateLimit
  + fixed_limit header_limit percentage

envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit
  + limit_kbps

envoy.extensions.filters.common.fault.v3.FaultRateLimit.HeaderLimit

envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
  + grpc_service http_service failure_mode_allow failure_mode_allow_header_add clear_route_cache status_on_error
  + filter_enabled filter_enabled_metadata deny_at_disable stat_prefix transport_api_version
  + metadata_context_namespaces route_metadata_context_namespaces include_peer_certificate include_tls_session
  + bootstrap_metadata_labels_key allowed_headers disallowed_headers charge_cluster_response_stats
  + enable_dynamic_metadata_ingestion
  - the service is told of heads only: with_request_body
  - there is no typed metadata: typed_metadata_context_namespaces route_typed_metadata_context_namespaces
  - validate_mutations encode_raw_headers decoder_header_mutation_rules filter_metadata
  - emit_filter_state_stats max_denied_response_body_bytes enforce_response_header_limits

envoy.extensions.filters.http.ext_authz.v3.HttpService
  + server_uri path_prefix authorization_request authorization_response
  - calls of filters are not repeated: retry_policy

envoy.extensions.filters.http.ext_authz.v3.AuthorizationRequest
  + allowed_headers headers_to_add

envoy.extensions.filters.http.ext_authz.v3.AuthorizationResponse
  + allowed_upstream_headers allowed_upstream_headers_to_append allowed_client_headers
  + allowed_client_headers_on_success dynamic_metadata_from_headers

envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
  + disabled check_settings

envoy.extensions.filters.http.ext_authz.v3.CheckSettings
  + context_extensions
  ~ no body is held back for the service: disable_request_body_buffering
  - the service is told of heads only: with_request_body
  - each filter has one service: grpc_service http_service

envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
  + stat_prefix status token_bucket filter_enabled filter_enforced request_headers_to_add_when_not_enforced
  + response_headers_to_add local_rate_limit_per_downstream_connection enable_x_ratelimit_headers
  + rate_limited_as_resource_exhausted descriptors stage vh_rate_limits always_consume_default_token_bucket
  + rate_limits max_dynamic_descriptors
  - a bucket is that of one proxy: local_cluster_rate_limit

envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor
  + entries token_bucket

envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry
  + key value

envoy.type.v3.HttpStatus
  + code

envoy.extensions.filters.http.grpc_web.v3.GrpcWeb

envoy.extensions.filters.http.grpc_http1_bridge.v3.Config
  + upgrade_protobuf_to_grpc ignore_query_parameters

envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig
  + content_type withhold_grpc_frames response_size_header

envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfigPerRoute
  + disabled

envoy.extensions.filters.http.grpc_stats.v3.FilterConfig
  + emit_filter_state individual_method_stats_allowlist stats_for_all_methods enable_upstream_stats
  + replace_dots_in_grpc_service_name

envoy.config.core.v3.GrpcMethodList
  + services

envoy.config.core.v3.GrpcMethodList.Service
  + name method_names

envoy.extensions.filters.http.health_check.v3.HealthCheck
  + pass_through_mode cache_time cluster_min_healthy_percentages headers

envoy.extensions.filters.http.stateful_session.v3.StatefulSession
  + session_state strict stat_prefix

envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute
  + disabled stateful_session

envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState
  + cookie

envoy.type.http.v3.Cookie
  + name ttl path attributes

envoy.type.http.v3.CookieAttribute
  + name value

envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState
  + name

envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState
  + header

envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState.Header
  + name

envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec

envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
  + mutations most_specific_header_mutations_wins

envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute
  + mutations

envoy.extensions.filters.http.header_mutation.v3.Mutations
  + request_mutations response_mutations
  - query_parameter_mutations response_trailers_mutations request_trailers_mutations

envoy.config.common.mutation_rules.v3.HeaderMutation
  + remove append remove_on_match

envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch
  + key_matcher

envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
  + mutations

envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig
  + header_name allow_extension_to_set_address_as_trusted reject_with_status

envoy.extensions.http.original_ip_detection.xff.v3.XffConfig
  + xff_num_trusted_hops xff_trusted_cidrs skip_xff_append

envoy.extensions.http.original_ip_detection.xff.v3.XffTrustedCidrs
  + cidrs

xds.core.v3.CidrRange
  + address_prefix prefix_len

envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig
  - forward_reason_phrase formatter_type_on_envoy_headers

envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig
  + pack_trace_reason use_request_id_for_trace_sampling
"""
