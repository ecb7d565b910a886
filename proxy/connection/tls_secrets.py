"""Secrets by name: certificates and validation contexts that a TLS context refers to instead of holding them.

Whoever compiles a context asks the `SecretStore` of its `CompileContext` for a `SecretSource`. What is in it comes
from elsewhere: at start from the process that loads the configuration, later from the controller, which watches the
files. A TLS context is made anew when a source of it has a new version (`RotatingTls`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from msgspec import Struct

from proxy.base.stat_names import stat_name
from proxy.config.config_source import refuse_version_2
from proxy.config.context import CompileContext
from xds_client.resource_types import ResourceType

logger = logging.getLogger("outrider.secret")

CERTIFICATE: Final = "tls_certificate"
VALIDATION: Final = "validation_context"
TICKET_KEYS: Final = "session_ticket_keys"
_API_NAMES: Final = {
    CERTIFICATE: "TlsCertificateSdsApi",
    VALIDATION: "CertificateValidationContextSdsApi",
    TICKET_KEYS: "TlsSessionTicketKeysSdsApi",
}

Made = TypeVar("Made")


class SecretPlan(Struct, frozen=True):
    """A secret that some context wants, and where it is from.

    `kind` is the field of `Secret` that it must have. `file` is that of an SDS resource, "" for `static`, a
    serialised `Secret` that the configuration holds; `watched` tells whether files that it names may change. One
    that is `discovered` comes from a control plane, and its key is that of a `ResourceWant`.
    """

    key: str
    name: str
    kind: str
    file: str = ""
    static: bytes = b""
    watched: bool = True
    discovered: bool = False


class SecretSource:
    """A secret as it is now: `value` is a `Secret` with all its content inline, None while there is none.

    `version` changes with the value.
    """

    __slots__ = ("value", "version")

    def __init__(self) -> None:
        self.value: Any = None
        self.version = 0

    def set(self, serialized: bytes) -> None:
        """Replace the value; empty bytes for none."""
        self.value = secret_pb2.Secret.FromString(serialized) if serialized else None
        self.version += 1


class SecretStore:
    """All secrets that a process knows, by the key of their plan; `static` by "kind/name"."""

    def __init__(
        self, values: Mapping[str, bytes] | None = None, static: Mapping[str, bytes] | None = None
    ) -> None:
        self.static = static or {}
        self._sources: dict[str, SecretSource] = {}
        for key, serialized in (values or {}).items():
            self.update(key, serialized)

    def want(self, plan: SecretPlan, path: str, ctx: CompileContext) -> SecretSource:
        """The source that `plan` describes, without a value if nobody has brought it."""
        del path, ctx
        return self._sources.setdefault(plan.key, SecretSource())

    def update(self, key: str, serialized: bytes) -> None:
        """A secret has come, or changed."""
        self._sources.setdefault(key, SecretSource()).set(serialized)


def named_secret(message: Any, kind: str, path: str, ctx: CompileContext) -> SecretSource:
    """The secret of an `SdsSecretConfig`."""
    store: SecretStore = ctx.secrets or SecretStore()
    plan = SecretPlan(f"static/{kind}/{message.name}", message.name, kind, watched=False)
    if message.HasField("sds_config"):
        at = f"{path}.sds_config"
        match message.sds_config.WhichOneof("config_source_specifier"):
            case "path_config_source":
                file = message.sds_config.path_config_source.path
            case "path":
                file = message.sds_config.path
            case _:
                file = ""
        node = ctx.node
        if node is not None and not (node.id and node.cluster):
            ctx.problem(
                at,
                f"{_API_NAMES[kind]}: node 'id' and 'cluster' are required. Set it either in 'node' config or "
                "via --service-node and --service-cluster options.",
            )
            return SecretSource()
        if file:
            refuse_version_2(message.sds_config, at, ctx)
            plan = SecretPlan(f"file/{file}/{message.name}", message.name, kind, file)
        else:
            prefix = f"sds.{stat_name(message.name)}."
            wanted = ctx.resources.want(
                ResourceType.SECRET,
                message.name,
                message.sds_config,
                at,
                ctx,
                prefix,
                terms=frozenset([(kind,)]),
            )
            plan = SecretPlan(wanted.key, message.name, kind, watched=False, discovered=True)
    elif ctx.secrets is not None and store.static:
        static = store.static.get(f"{kind}/{plan.name}", b"")
        plan = SecretPlan(plan.key, plan.name, kind, static=static, watched=False)
    return store.want(plan, path, ctx)


def inline_secret(message: Any, kind: str, path: str, ctx: CompileContext) -> SecretSource:
    """A certificate or validation context whose `watched_directory` asks to follow its files.

    They are looked at one by one, wherever they are: the directory itself says nothing more.
    """
    key = "inline/" + hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()
    serialized = secret_pb2.Secret(name=path, **{kind: message}).SerializeToString()
    store: SecretStore = ctx.secrets or SecretStore()
    return store.want(SecretPlan(key, path, kind, static=serialized), path, ctx)


class RotatingTls(Generic[Made]):
    """A TLS config whose secrets may change; `make` gives it from what the sources hold, or problems.

    A change that makes no usable context leaves the former one in use. Connections keep the one they began with.
    """

    __slots__ = ("_made", "_make", "_sources", "_versions")

    def __init__(self, sources: tuple[SecretSource, ...], make: Callable[[CompileContext], Made]) -> None:
        self._sources = sources
        self._make = make
        self._made: Made | None = None
        self._versions: list[int] = []

    def prepare(self, ctx: CompileContext) -> None:
        """Make it for the first time; problems go to `ctx`."""
        if self.ready:
            self._versions = [source.version for source in self._sources]
            self._made = self._make(ctx)

    @property
    def updates(self) -> int:
        """How often one of its secrets has come or changed."""
        return sum(source.version for source in self._sources)

    @property
    def ready(self) -> bool:
        """Whether every secret is here."""
        return all(source.value is not None for source in self._sources)

    def current(self) -> Made | None:
        """The config for a connection that begins now; None while a secret is missing."""
        versions = [source.version for source in self._sources]
        if versions != self._versions and self.ready:
            self._versions = versions
            ctx = CompileContext()
            made = self._make(ctx)
            if ctx.problems:
                logger.error("a new secret cannot be used: %s", "; ".join(map(str, ctx.problems)))
            else:
                self._made = made
        return self._made
