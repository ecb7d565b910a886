"""Transport sockets."""

TABLE = """
envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer

envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
  + common_tls_context require_client_certificate require_sni disable_stateless_session_resumption
  + disable_stateful_session_resumption session_ticket_keys session_ticket_keys_sds_secret_config
  + session_timeout prefer_client_ciphers full_scan_certs_on_sni_mismatch ocsp_staple_policy

envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
  + common_tls_context sni allow_renegotiation auto_host_sni auto_sni_san_validation max_session_keys
  ~ the key usage of servers is always enforced, as in Envoy: enforce_rsa_key_usage

envoy.extensions.transport_sockets.tls.v3.CommonTlsContext
  + tls_params tls_certificates validation_context alpn_protocols tls_certificate_sds_secret_configs
  + validation_context_sds_secret_config combined_validation_context key_log
  - name the certificates, or use SDS: tls_certificate_provider_instance tls_certificate_certificate_provider
  - name the certificates, or use SDS: tls_certificate_certificate_provider_instance
  - name the certificates, or use SDS: validation_context_certificate_provider
  - name the certificates, or use SDS: validation_context_certificate_provider_instance
  - custom_tls_certificate_selector custom_handshaker

envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext
  + default_validation_context validation_context_sds_secret_config
  - name the certificates, or use SDS: validation_context_certificate_provider
  - name the certificates, or use SDS: validation_context_certificate_provider_instance

envoy.extensions.transport_sockets.tls.v3.TlsKeyLog
  + path local_address_range remote_address_range

envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig
  + name sds_config

envoy.extensions.transport_sockets.tls.v3.Secret
  + name tls_certificate validation_context session_ticket_keys
  ~ no filter reads such secrets: generic_secret

envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys
  + keys

envoy.extensions.transport_sockets.tls.v3.TlsParameters
  + tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves signature_algorithms
  - Python's ssl has no such policies: compliance_policies

envoy.extensions.transport_sockets.tls.v3.TlsCertificate
  + certificate_chain private_key password ocsp_staple watched_directory
  - give certificate_chain and private_key as PEM: pkcs12
  - private_key_provider signed_certificate_timestamp

envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext
  + trusted_ca match_typed_subject_alt_names match_subject_alt_names system_root_certs crl
  + only_verify_leaf_cert_crl verify_certificate_spki verify_certificate_hash allow_expired_certificate
  + trust_chain_verification max_verify_depth custom_validator_config watched_directory
  - name the authorities, or use SDS: ca_certificate_provider_instance
  - require_signed_certificate_timestamp

envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.SystemRootCerts

envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher
  + san_type matcher oid

envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig
  + trust_domains
  - name the trust domains instead: trust_bundles

envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain
  + name trust_bundle
"""
