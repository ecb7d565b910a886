"""Where discovered resources come from: API sources and the gRPC services that they name."""

TABLE = """
envoy.service.health.v3.HealthCheckSpecifier
  + cluster_health_checks interval

envoy.service.health.v3.ClusterHealthCheck
  + cluster_name health_checks locality_endpoints transport_socket_matches upstream_bind_config

envoy.service.health.v3.LocalityEndpoints
  + locality endpoints

envoy.config.core.v3.AggregatedConfigSource

envoy.config.core.v3.ExtensionConfigSource
  + config_source default_config apply_default_config_without_warming type_urls

envoy.config.core.v3.ApiConfigSource
  + api_type transport_api_version cluster_names grpc_services refresh_delay request_timeout
  + rate_limit_settings set_node_on_first_message_only
  - config_validators

envoy.config.core.v3.RateLimitSettings
  + max_tokens fill_rate

envoy.config.core.v3.GrpcService
  + envoy_grpc google_grpc timeout initial_metadata
  + retry_policy

envoy.config.core.v3.GrpcService.EnvoyGrpc
  + cluster_name authority max_receive_message_length skip_envoy_headers
  + retry_policy

envoy.config.core.v3.RetryPolicy
  + retry_back_off
  ~ streams are opened again whatever ended them: num_retries retry_on host_selection_retry_max_attempts
  - streams are opened again with the next host: retry_priority retry_host_predicate

envoy.config.core.v3.GrpcService.GoogleGrpc
  + target_uri channel_credentials call_credentials channel_args
  ~ there are no stats of the gRPC library: stat_prefix
  ~ streams carry little: per_stream_buffer_limit_bytes
  + credentials_factory_name
  - channel_credentials_plugin call_credentials_plugin config

envoy.config.core.v3.GrpcService.GoogleGrpc.ChannelArgs
  + args

envoy.config.core.v3.GrpcService.GoogleGrpc.ChannelArgs.Value
  + string_value int_value

envoy.config.core.v3.GrpcService.GoogleGrpc.ChannelCredentials
  + ssl_credentials google_default local_credentials

envoy.config.core.v3.GrpcService.GoogleGrpc.GoogleLocalCredentials

envoy.config.core.v3.GrpcService.GoogleGrpc.SslCredentials
  + root_certs private_key cert_chain

envoy.config.core.v3.GrpcService.GoogleGrpc.CallCredentials
  + access_token google_compute_engine service_account_jwt_access from_plugin
  - google_refresh_token google_iam sts_service

envoy.config.core.v3.GrpcService.GoogleGrpc.CallCredentials.MetadataCredentialsFromPlugin
  + name typed_config

envoy.config.grpc_credential.v3.FileBasedMetadataConfig
  + secret_data header_key header_prefix

envoy.config.core.v3.GrpcService.GoogleGrpc.CallCredentials.ServiceAccountJWTAccessCredentials
  + json_key token_lifetime_seconds
"""
