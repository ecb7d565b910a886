"""Messages that several areas share: `envoy.config.core.v3` and `envoy.type`."""

TABLE = """
envoy.config.core.v3.Node
  + id cluster metadata dynamic_parameters locality user_agent_name user_agent_version
  + user_agent_build_version
  + extensions client_features listening_addresses

envoy.config.core.v3.ProxyProtocolConfig
  + version pass_through_tlvs added_tlvs

envoy.config.core.v3.TlvEntry
  + type value format_string

envoy.config.core.v3.Locality
  + region zone sub_zone

envoy.config.core.v3.BuildVersion
  + version metadata

envoy.type.v3.SemanticVersion
  + major_number minor_number patch

envoy.config.core.v3.Extension
  + name category type_descriptor version disabled type_urls

xds.core.v3.Authority
  + name

xds.core.v3.ContextParams
  + params

envoy.config.core.v3.Metadata
  + filter_metadata typed_filter_metadata

envoy.config.core.v3.Address
  + socket_address pipe envoy_internal_address

envoy.config.core.v3.EnvoyInternalAddress
  + server_listener_name endpoint_id

envoy.config.core.v3.SocketAddress
  + protocol address port_value named_port resolver_name ipv4_compat
  - network_namespace_filepath

envoy.config.core.v3.Pipe
  + path mode

envoy.config.core.v3.CidrRange
  + address_prefix prefix_len

envoy.config.core.v3.SocketOption
  + description level name int_value buf_value state type

envoy.config.core.v3.SocketOption.SocketType
  + stream datagram

envoy.config.core.v3.SocketOption.SocketType.Stream

envoy.config.core.v3.SocketOption.SocketType.Datagram

envoy.config.core.v3.SocketOptionsOverride
  + socket_options

envoy.config.core.v3.BindConfig
  + source_address freebind socket_options
  - extra_source_addresses additional_source_addresses local_address_selector

envoy.config.core.v3.TcpKeepalive
  + keepalive_probes keepalive_time keepalive_interval

envoy.config.core.v3.ConfigSource
  + path path_config_source resource_api_version api_config_source ads initial_fetch_timeout
  + authorities
  - name the source itself: self

envoy.config.core.v3.PathConfigSource
  + path watched_directory

envoy.config.core.v3.WatchedDirectory
  + path

envoy.config.core.v3.DataSource
  + filename inline_bytes inline_string environment_variable
  ~ only files of secrets are watched: watched_directory

envoy.config.core.v3.TypedExtensionConfig
  + name typed_config

envoy.config.core.v3.TransportSocket
  + name typed_config

envoy.config.core.v3.HeaderValue
  + key value raw_value

envoy.config.core.v3.HeaderValueOption
  + header append append_action keep_empty_value

envoy.config.core.v3.SubstitutionFormatString
  + text_format json_format text_format_source omit_empty_values content_type formatters
  ~ keys are always sorted, as in Envoy: json_format_options

envoy.config.core.v3.JsonFormatOptions
  + sort_properties

envoy.config.core.v3.RuntimeFeatureFlag
  + default_value runtime_key

envoy.config.core.v3.RuntimeUInt32
  + default_value runtime_key

envoy.config.core.v3.RuntimeDouble
  + default_value runtime_key

envoy.config.core.v3.RuntimeFractionalPercent
  + default_value runtime_key

envoy.config.core.v3.DnsResolutionConfig
  + resolvers dns_resolver_options

envoy.config.core.v3.DnsResolverOptions
  + use_tcp_for_dns_lookups no_default_search_domain

envoy.config.core.v3.HttpProtocolOptions
  + idle_timeout max_connection_duration max_headers_count max_response_headers_kb max_stream_duration
  + headers_with_underscores_action max_requests_per_connection

envoy.config.core.v3.Http1ProtocolOptions
  + allow_absolute_url accept_http_10 default_host_for_http_10 header_key_format enable_trailers
  + allow_chunked_length override_stream_error_on_invalid_http_message send_fully_qualified_url
  + ignore_http_11_upgrade
  - allow_custom_methods
  ~ there is one parser: use_balsa_parser

envoy.config.core.v3.Http2ProtocolOptions
  + hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size
  + allow_connect max_outbound_frames max_outbound_control_frames
  + max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
  + max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging
  + override_stream_error_on_invalid_http_message custom_settings_parameters connection_keepalive
  - METADATA frames are not supported: allow_metadata max_metadata_size
  ~ there is one codec: use_oghttp2_codec

envoy.config.core.v3.Http2ProtocolOptions.SettingsParameter
  + identifier value

envoy.config.core.v3.KeepaliveSettings
  + interval timeout interval_jitter connection_idle_interval

envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat
  + proper_case_words stateful_formatter

envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords

envoy.type.v3.Percent
  + value

envoy.type.v3.FractionalPercent
  + numerator denominator

envoy.type.v3.Int64Range
  + start end

envoy.type.v3.DoubleRange
  + start end

envoy.type.matcher.v3.StringMatcher
  + exact prefix suffix safe_regex contains ignore_case
  - custom

envoy.type.matcher.v3.ListStringMatcher
  + patterns

envoy.type.matcher.v3.RegexMatcher
  + regex
  ~ RE2 is the only engine: google_re2

envoy.type.matcher.v3.RegexMatcher.GoogleRE2
  + max_program_size

envoy.type.matcher.v3.RegexMatchAndSubstitute
  + pattern substitution

envoy.type.matcher.v3.MetadataMatcher
  + filter path value invert

envoy.type.metadata.v3.MetadataKey
  + key path

envoy.type.metadata.v3.MetadataKey.PathSegment
  + key

envoy.type.matcher.v3.MetadataMatcher.PathSegment
  + key

envoy.type.matcher.v3.ValueMatcher
  + null_match double_match string_match bool_match present_match list_match or_match

envoy.type.matcher.v3.ValueMatcher.NullMatch

envoy.type.matcher.v3.DoubleMatcher
  + range exact

envoy.type.matcher.v3.ListMatcher
  + one_of

envoy.type.matcher.v3.OrMatcher
  + value_matchers

envoy.type.matcher.v3.FilterStateMatcher
  + key string_match address_match

envoy.type.matcher.v3.AddressMatcher
  + ranges
"""
