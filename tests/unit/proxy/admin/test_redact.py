from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from google.protobuf import any_pb2
from google.protobuf.wrappers_pb2 import StringValue
from udpa.type.v1 import typed_struct_pb2

from proxy.admin.redact import REDACTED, known_class, redact


def _secret() -> secret_pb2.Secret:
    secret = secret_pb2.Secret(name="s")
    secret.tls_certificate.certificate_chain.filename = "chain.pem"
    secret.tls_certificate.private_key.inline_string = "KEY"
    secret.tls_certificate.password.inline_bytes = b"PASS"
    return secret


def test_private_keys_and_passwords_are_hidden_and_chains_are_not() -> None:
    secret = _secret()
    redact(secret)
    assert secret.tls_certificate.certificate_chain.filename == "chain.pem"
    assert secret.tls_certificate.private_key.inline_string == REDACTED
    assert secret.tls_certificate.password.inline_bytes == REDACTED.encode()


def test_secrets_inside_an_any_inside_a_listener_are_hidden() -> None:
    context = tls_pb2.DownstreamTlsContext()
    context.common_tls_context.tls_certificates.add().CopyFrom(_secret().tls_certificate)
    listener = listener_pb2.Listener()
    listener.filter_chains.add().transport_socket.typed_config.Pack(context)
    redact(listener)
    assert b"KEY" not in listener.SerializeToString()
    assert b"chain.pem" in listener.SerializeToString()


def test_a_typed_struct_is_shown_as_the_message_that_it_spells() -> None:
    struct = typed_struct_pb2.TypedStruct(
        type_url="type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    )
    struct.value.update(
        {"common_tls_context": {"tls_certificates": [{"private_key": {"inline_string": "KEY"}}]}}
    )
    listener = listener_pb2.Listener()
    listener.filter_chains.add().transport_socket.typed_config.Pack(struct)
    redact(listener)
    packed = listener.filter_chains[0].transport_socket.typed_config
    assert packed.TypeName().endswith("DownstreamTlsContext")
    assert b"KEY" not in packed.value


def test_an_unknown_type_shows_nothing_of_itself() -> None:
    packed = any_pb2.Any(type_url="type.googleapis.com/some.Unknown", value=b"KEY")
    redact(packed)
    shown = StringValue()
    packed.Unpack(shown)
    assert shown.value == f"{REDACTED}: unknown type type.googleapis.com/some.Unknown"


def test_what_holds_no_secret_is_untouched() -> None:
    cluster = cluster_pb2.Cluster(name="a")
    cluster.metadata.filter_metadata["x"].update({"k": "v"})
    before = cluster.SerializeToString(deterministic=True)
    redact(cluster)
    assert cluster.SerializeToString(deterministic=True) == before


def test_classes_are_found_among_extensions_and_loaded_messages() -> None:
    assert known_class("envoy.config.cluster.v3.Cluster") is cluster_pb2.Cluster
    assert known_class("nothing.Known") is None
