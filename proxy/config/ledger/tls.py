"""Transport sockets."""

TABLE = """
envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer

envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
  + common_tls_context require_client_certificate require_sni disable_stateless_session_resumption
  + prefer_client_ciphers
  - comes with L4 and TLS: session_ticket_keys session_ticket_keys_sds_secret_config
  - comes with L4 and TLS: disable_stateful_session_resumption
  - comes with L4 and TLS: session_timeout ocsp_staple_policy full_scan_certs_on_sni_mismatch

envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
  + common_tls_context sni allow_renegotiation
  - comes with L4 and TLS: auto_host_sni auto_sni_san_validation max_session_keys
  - comes with L4 and TLS: enforce_rsa_key_usage

envoy.extensions.transport_sockets.tls.v3.CommonTlsContext
  + tls_params tls_certificates validation_context alpn_protocols
  - comes with SDS: tls_certificate_sds_secret_configs validation_context_sds_secret_config
  - comes with SDS: combined_validation_context
  - comes with SDS: tls_certificate_provider_instance tls_certificate_certificate_provider
  - comes with SDS: tls_certificate_certificate_provider_instance validation_context_certificate_provider
  - comes with SDS: validation_context_certificate_provider_instance
  - comes with L4 and TLS: key_log
  - custom_tls_certificate_selector custom_handshaker

envoy.extensions.transport_sockets.tls.v3.TlsParameters
  + tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves
  - comes with L4 and TLS: signature_algorithms compliance_policies

envoy.extensions.transport_sockets.tls.v3.TlsCertificate
  + certificate_chain private_key password
  - comes with L4 and TLS: pkcs12 ocsp_staple
  - comes with SDS: watched_directory
  - private_key_provider signed_certificate_timestamp

envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext
  + trusted_ca match_typed_subject_alt_names match_subject_alt_names system_root_certs crl
  + only_verify_leaf_cert_crl
  - comes with L4 and TLS: verify_certificate_spki verify_certificate_hash allow_expired_certificate
  - comes with L4 and TLS: trust_chain_verification max_verify_depth
  - comes with SDS: ca_certificate_provider_instance watched_directory
  - custom_validator_config require_signed_certificate_timestamp

envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.SystemRootCerts

envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher
  + san_type matcher
  - oid
"""
