"""Transport sockets other than TLS."""

TABLE = """
envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport
  + passthrough_metadata transport_socket

envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport.MetadataValueSource
  + kind name

envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport
  + config transport_socket
  ~ Envoy has not implemented it either: allow_unspecified_address tlv_as_pool_key

envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig
  + cleartext_socket_config
  ~ no filter here starts TLS, so connections stay in clear text: tls_socket_config

envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig
  + cleartext_socket_config
  ~ no filter here starts TLS, so connections stay in clear text: tls_socket_config

envoy.type.metadata.v3.MetadataKind
  + cluster host request route

envoy.type.metadata.v3.MetadataKind.Request

envoy.type.metadata.v3.MetadataKind.Route

envoy.type.metadata.v3.MetadataKind.Cluster

envoy.type.metadata.v3.MetadataKind.Host
"""
