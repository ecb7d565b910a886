"""Reads the secrets that TLS contexts name, from SDS files and from the PEM files that those name.

What comes out holds everything inline and has been tried: a key fits its certificate, authorities can be loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml
from envoy.extensions.transport_sockets.tls.v3 import (
    secret_pb2,
    tls_spiffe_validator_config_pb2,
)
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from msgspec import Struct, field

from proxy.base.errors import Problem
from proxy.config.check import check_message
from proxy.config.context import CompileContext
from proxy.connection.tls_secrets import (
    CERTIFICATE,
    TICKET_KEYS,
    VALIDATION,
    SecretPlan,
    SecretSource,
    SecretStore,
)

_SOURCES: Final = {
    CERTIFICATE: ("certificate_chain", "private_key", "password"),
    VALIDATION: ("trusted_ca", "crl"),
}
#: Larger files are no secrets.
_MAX_BYTES: Final = 16 << 20

Signature = tuple[tuple[str, int, int, int], ...]


class SecretError(Exception):
    """A secret that cannot be used. `of_pair` tells whether the resource is good but not what it names."""

    def __init__(self, reason: str, *, of_pair: bool = False) -> None:
        super().__init__(reason)
        self.of_pair = of_pair


class ReadSecret(Struct):
    """`serialized` is a `Secret` with inline content; `files` are those that it came from."""

    serialized: bytes = b""
    files: list[str] = field(default_factory=list)


def read_secret(plan: SecretPlan, read: ReadSecret) -> None:
    """Fill `read`, whose `files` are complete even where this raises `SecretError`."""
    secret = secret_pb2.Secret()
    if plan.file:
        read.files.append(plan.file)
        secret = _resource(_bytes_of(plan.file, of_pair=False), plan)
    else:
        secret.ParseFromString(plan.static)
    kind = secret.WhichOneof("type")
    if kind != plan.kind:
        held = f"is a {kind}" if kind else "is empty"
        raise SecretError(f"secret {plan.name} {held}, a {plan.kind} is needed")
    problems = check_message(secret).problems
    if problems:
        raise SecretError(_text(problems))
    value = getattr(secret, plan.kind)
    _inline(value, plan.kind, read)
    ctx = CompileContext()
    _try(value, plan.kind, ctx)
    if ctx.problems:
        raise SecretError(_text(ctx.problems), of_pair=True)
    read.serialized = secret.SerializeToString()


def signature(files: list[str]) -> Signature:
    """Changes when one of the files does, however: written in place, renamed over, or a link swapped above it."""
    found = []
    for path in files:
        try:
            state = os.stat(path)
            found.append((path, state.st_mtime_ns, state.st_ino, state.st_size))
        except OSError:
            found.append((path, 0, 0, -1))
    return tuple(found)


class LoadingSecrets(SecretStore):
    """The store of the process that loads the configuration: it reads each secret that is asked for.

    A secret that the configuration holds must be good; one in a file may become so later. `on_plan` hears of each
    that is asked for first.
    """

    def __init__(
        self, static: Mapping[str, bytes], on_plan: Callable[[SecretPlan], None] = lambda _plan: None
    ) -> None:
        super().__init__(static=static)
        self.on_plan = on_plan
        self.plans: dict[str, SecretPlan] = {}

    def want(self, plan: SecretPlan, path: str, ctx: CompileContext) -> SecretSource:
        """See `SecretStore`."""
        source = super().want(plan, path, ctx)
        if plan.key in self.plans or plan.discovered:
            return source
        if not plan.file and not plan.static:
            ctx.problem(
                path, f"Unknown static secret: {plan.name}" if plan.name else "the secret has no name"
            )
            return source
        if plan.file and not os.path.exists(plan.file):
            ctx.problem(
                f"{path}.sds_config",
                f"paths must refer to an existing path in the system: '{plan.file}' does not exist",
            )
            return source
        self.plans[plan.key] = plan
        self.on_plan(plan)
        read = ReadSecret()
        try:
            read_secret(plan, read)
        except SecretError as error:
            if plan.file:
                ctx.warning(path, f"not usable yet: {error}")
            else:
                ctx.problem(path, str(error))
        else:
            source.set(read.serialized)
        return source


def static_secrets(bootstrap: Any) -> dict[str, bytes]:
    """Those of a bootstrap by "kind/name", as `SecretStore` takes them."""
    return {
        f"{secret.WhichOneof('type')}/{secret.name}": secret.SerializeToString()
        for secret in bootstrap.static_resources.secrets
    }


def _resource(content: bytes, plan: SecretPlan) -> Any:
    """The `Secret` of an SDS file: a `DiscoveryResponse` in YAML, JSON or, named *.pb, as bytes."""
    response = discovery_pb2.DiscoveryResponse()
    try:
        if plan.file.endswith(".pb"):
            response.ParseFromString(content)
        else:
            tree = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  (a safe loader)
            json_format.ParseDict(tree or {}, response)
    except (yaml.YAMLError, json_format.ParseError, DecodeError, AttributeError, TypeError) as error:
        raise SecretError(f"{plan.file}: {error}") from error
    if len(response.resources) != 1:
        found = len(response.resources)
        raise SecretError(
            f"Unexpected SDS secrets length: {found}"
            if found
            else f"Missing SDS resources for {plan.name} in onConfigUpdate()"
        )
    secret = secret_pb2.Secret()
    if not response.resources[0].Unpack(secret):
        raise SecretError(f"{plan.file}: {response.resources[0].type_url} is no Secret")
    if secret.name != plan.name:
        raise SecretError(f"Unexpected SDS secret (expecting {plan.name}): {secret.name}")
    return secret


def _inline(value: Any, kind: str, read: ReadSecret) -> None:
    """Replace file names by what is in the files."""
    sources = [getattr(value, name) for name in _SOURCES.get(kind, ()) if value.HasField(name)]
    if kind == TICKET_KEYS:
        sources += value.keys
    spiffe = None
    if kind == VALIDATION and value.HasField("custom_validator_config"):
        spiffe = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig()
        if value.custom_validator_config.typed_config.Unpack(spiffe):
            sources += [domain.trust_bundle for domain in spiffe.trust_domains]
        else:
            spiffe = None
    named = [source for source in sources if source.WhichOneof("specifier") == "filename"]
    read.files += [source.filename for source in named]
    before = signature(read.files)
    for source in named:
        source.inline_bytes = _bytes_of(source.filename, of_pair=True)
    if signature(read.files) != before:
        raise SecretError("the files change while they are read", of_pair=True)
    if spiffe is not None:
        value.custom_validator_config.typed_config.Pack(spiffe)


def _try(value: Any, kind: str, ctx: CompileContext) -> None:
    from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

    from proxy.connection.tls import compile_upstream_tls
    from proxy.connection.tls_material import read_certificate
    from proxy.connection.tls_sessions import read_ticket_keys

    if kind == CERTIFICATE:
        read_certificate(value, kind, ctx)
    elif kind == TICKET_KEYS:
        read_ticket_keys(value, kind, ctx)
    else:
        context = tls_pb2.UpstreamTlsContext()
        context.common_tls_context.validation_context.CopyFrom(value)
        scratch = CompileContext()
        compile_upstream_tls(context, "", scratch)
        prefix = ".common_tls_context."
        ctx.problems += [Problem(one.path.removeprefix(prefix), one.reason) for one in scratch.problems]


def _bytes_of(path: str, *, of_pair: bool) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise SecretError(f"cannot read {path!r}: {error.strerror}", of_pair=of_pair) from error


def _text(problems: list[Problem]) -> str:
    return "; ".join(str(problem) for problem in problems)
