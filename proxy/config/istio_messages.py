"""Messages of Istio's own filters, for which no package of generated code exists.

Source: istio/proxy, `source/extensions/filters/network/tcp_cluster_rewrite/config.proto`.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "istio.envoy.config.filter.network.tcp_cluster_rewrite.v2alpha1"


def _message(package: str, name: str, *fields: str) -> Any:
    """The class of a message whose fields are texts, numbered from 1."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}/config.proto", package=package, syntax="proto3"
    )
    message = file.message_type.add(name=name)
    for number, field in enumerate(fields, 1):
        message.field.add(
            name=field,
            number=number,
            type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


TcpClusterRewrite = _message(_PACKAGE, "TcpClusterRewrite", "cluster_pattern", "cluster_replacement")
