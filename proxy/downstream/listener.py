"""A listener: its compiled configuration, and the live one that accepts connections in a worker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from proxy.base.address import Address
from proxy.base.services import WorkerServices
from proxy.base.stat_names import stat_name
from proxy.base.stream_info import DrainState, GradualDrain
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.connection.sockets import ListenAddress, local_address, stop_listening
from proxy.downstream.connection import Acceptor, ConnectionCounter, LocalCounter
from proxy.downstream.directory import ListenerDirectory
from proxy.downstream.filter_chain import (
    FilterChain,
    compile_filter_chain,
    default_fingerprint,
    fingerprint,
)
from proxy.downstream.filter_chain_match import FilterChainIndex
from proxy.downstream.internal_listener import is_internal
from proxy.downstream.listen_address import compile_listen_addresses, is_udp
from proxy.downstream.listener_filters import (
    AnyListenerFilter,
    ListenerFilterConfig,
    compile_listener_filters,
)
from proxy.downstream.listener_stats import ListenerStats
from proxy.downstream.live_chain import LiveChain
from proxy.filters.api import ListenerFacts

if TYPE_CHECKING:
    from proxy.downstream.filter_chain_matcher import FilterChainMatcher

INBOUND = 1
MODIFY_ONLY = 1

_DEFAULT_BUFFER_LIMIT = 1024 * 1024
_DEFAULT_FILTERS_TIMEOUT: Final = 15.0
# Connections that are accepted at most when a listener stops: clients that keep coming must not prevent it.
_MOST_WAITING: Final = 4096
# The event loop accepts one connection per handle and turn, and a turn costs system calls of its own: so each
# socket is watched through several handles (104 us of CPU per connection instead of 124).
_ACCEPTED_AT_ONCE: Final = 4


class ListenerConfig(Struct, frozen=True):
    """A compiled `envoy.config.listener.v3.Listener`.

    `addresses` say where the controller binds; with `bind_to_port` false nobody does.
    `only_chain` is set if every connection gets that chain, so that nothing is to be looked up.
    `buffer_limit` is in bytes, 0 for none. `access_logs` are those of `proxy.access_log.compile`.
    `filters` look at a connection before its chain is chosen, for `filters_timeout` seconds at most (0 for ever);
    then it is closed, or goes on if `continue_on_timeout`. With `hand_off` a redirected connection goes to the
    listener of its original destination.
    """

    name: str
    addresses: tuple[ListenAddress, ...]
    stat_prefix: str
    traffic_direction: int
    bind_to_port: bool
    buffer_limit: int
    drain_type: int
    ignore_global_limit: bool
    bypasses_overload: bool
    chains: tuple[FilterChain, ...]
    index: FilterChainIndex[FilterChain] | FilterChainMatcher
    only_chain: FilterChain | None
    access_logs: tuple[Any, ...]
    metadata: Any = None
    filters: tuple[AnyListenerFilter, ...] = ()
    filters_timeout: float = _DEFAULT_FILTERS_TIMEOUT
    continue_on_timeout: bool = False
    hand_off: bool = False
    #: Equal for listeners that differ in nothing but their filter chains and what chooses among them.
    frame: bytes = b""
    #: A `proxy.downstream.udp_listener.UdpListenerConfig`, of a listener for datagrams.
    udp: Any = None

    @property
    def limit_key(self) -> str:
        """The runtime key of the number of connections at most."""
        return f"envoy.resource_limits.listener.{self.name}.connection_limit"


def compile_listener(message: Any, path: str, ctx: CompileContext) -> ListenerConfig:
    """Check and compile a `Listener`; problems go to `ctx`."""
    addresses = compile_listen_addresses(message, path, ctx)
    udp = None
    if is_udp(message):
        from proxy.downstream.udp_listener import compile_udp_listener  # most listeners are for connections

        udp = compile_udp_listener(message, path, ctx)
    elif not message.filter_chains and not message.HasField("default_filter_chain"):
        where = ", ".join(one.address.text for one in addresses)
        ctx.problem(f"{path}.filter_chains", f"error adding listener '{where}': no filter chains specified")
    balance = message.connection_balance_config.WhichOneof("balance_type")
    if message.HasField("connection_balance_config") and balance != "exact_balance":
        ctx.problem(f"{path}.connection_balance_config", "only exact_balance is supported")
    chains, index = _compile_chains(message, path, ctx)
    access_logs: tuple[Any, ...] = ()
    if message.access_log:
        from proxy.access_log.compile import compile_access_logs  # few listeners have any

        access_logs = compile_access_logs(message.access_log, f"{path}.access_log", ctx)
    limit = message.per_connection_buffer_limit_bytes
    filters = () if udp is not None else compile_listener_filters(message, path, ctx)
    return ListenerConfig(
        name=message.name,
        addresses=addresses,
        stat_prefix=_stat_prefix(message, addresses),
        traffic_direction=message.traffic_direction,
        bind_to_port=not is_internal(message)
        and _bound(message, "bind_to_port")
        and _bound(message.deprecated_v1, "bind_to_port"),
        buffer_limit=(
            limit.value if message.HasField("per_connection_buffer_limit_bytes") else _DEFAULT_BUFFER_LIMIT
        ),
        drain_type=message.drain_type,
        ignore_global_limit=message.ignore_global_conn_limit,
        bypasses_overload=message.bypass_overload_manager,
        chains=chains,
        index=index,
        only_chain=_only_chain(message, chains),
        access_logs=access_logs,
        metadata=message.metadata if message.HasField("metadata") else None,
        filters=filters,
        filters_timeout=seconds(message, "listener_filters_timeout", _DEFAULT_FILTERS_TIMEOUT),
        continue_on_timeout=message.continue_on_listener_filters_timeout,
        hand_off=message.use_original_dst.value,
        frame=b"" if udp is not None else _frame(message, filters),
        udp=udp,
    )


def _frame(message: Any, filters: tuple[AnyListenerFilter, ...]) -> bytes:
    """See `ListenerConfig`; the filters are told apart because chains may ask for one more."""
    rest = type(message)()
    rest.CopyFrom(message)
    rest.ClearField("filter_chains")
    rest.ClearField("default_filter_chain")
    rest.ClearField("filter_chain_matcher")
    return fingerprint(rest) + b"".join(
        one.factory.name.encode() for one in filters if isinstance(one, ListenerFilterConfig)
    )


def _only_chain(message: Any, chains: tuple[FilterChain, ...]) -> FilterChain | None:
    if message.HasField("filter_chain_matcher"):
        return None
    if len(message.filter_chains) == 1 and message.filter_chains[0].filter_chain_match.ByteSize() == 0:
        return chains[0]
    return chains[0] if chains and not message.filter_chains else None


def _bound(message: Any, field: str) -> bool:
    return bool(getattr(message, field).value) if message.HasField(field) else True


def _stat_prefix(message: Any, addresses: tuple[ListenAddress, ...]) -> str:
    internal = f"envoy_internal_{message.name}" if is_internal(message) else ""
    scope = (
        message.stat_prefix
        or internal
        or (addresses[0].address.text if addresses else "invalid_address_listener")
    )
    return f"listener.{stat_name(scope)}."


def _compile_chains(
    message: Any, path: str, ctx: CompileContext
) -> tuple[tuple[FilterChain, ...], FilterChainIndex[FilterChain] | FilterChainMatcher]:
    chains = []
    for i, chain_message in enumerate(message.filter_chains):
        at = f"{path}.filter_chains[{i}]"
        match = chain_message.filter_chain_match
        if match.address_suffix or match.HasField("suffix_len"):
            ctx.problem(f"{at}.filter_chain_match", "address_suffix and suffix_len are not implemented")
        chains.append(compile_filter_chain(chain_message, i, at, ctx))
    default = None
    if message.HasField("default_filter_chain"):
        at = f"{path}.default_filter_chain"
        default = replace(
            compile_filter_chain(message.default_filter_chain, len(chains), at, ctx),
            fingerprint=default_fingerprint(message.default_filter_chain),
        )
    if message.HasField("filter_chain_matcher"):
        from proxy.downstream.filter_chain_matcher import (
            compile_filter_chain_matcher,
        )  # few listeners have one

        matcher = compile_filter_chain_matcher(message, path, ctx, chains, default)
        return (*chains, *_present(default)), matcher
    return (*chains, *_present(default)), _compile_index(message, path, ctx, chains, default)


def _present(chain: FilterChain | None) -> tuple[FilterChain, ...]:
    return () if chain is None else (chain,)


def _compile_index(
    message: Any, path: str, ctx: CompileContext, chains: list[FilterChain], default: FilterChain | None
) -> FilterChainIndex[FilterChain]:
    index: FilterChainIndex[FilterChain] = FilterChainIndex(default)
    seen: dict[bytes, FilterChain] = {}
    for i, chain in enumerate(chains):
        match = message.filter_chains[i].filter_chain_match
        at = f"{path}.filter_chains[{i}].filter_chain_match"
        same = seen.setdefault(match.SerializeToString(deterministic=True), chain)
        if same is not chain:
            ctx.problem(
                at, f"filter chain {_called(chain)} has the same matching rules defined as {_called(same)}"
            )
            continue
        held = index.add(match, at, chain, ctx)
        if held is not None:
            ctx.problem(
                at,
                "multiple filter chains with overlapping matching rules are defined: "
                f"{_called(chain)} matches what {_called(held)} matches",
            )
    return index


def _called(chain: FilterChain) -> str:
    return f"'{chain.name}'" if chain.name else f"number {chain.number}"


class Listener:
    """One listener in one worker.

    It accepts on the sockets that the controller has bound. `stop` refuses further connections, those that
    are open go on; `drain` tells them to end at the next opportunity; `close_connections` ends them.
    """

    def __init__(
        self,
        config: ListenerConfig,
        services: WorkerServices,
        next_id: Any,
        own_count: ConnectionCounter | None = None,
        global_count: ConnectionCounter | None = None,
        directory: ListenerDirectory | None = None,
    ) -> None:
        self.config = config
        self._chains: tuple[LiveChain, ...] = ()
        self._directory = directory or ListenerDirectory()
        self.drain_state = DrainState()
        self.stats = stats_of(config, services)
        self._services = services
        self._servers: list[asyncio.AbstractServer] = []
        self._sockets: list[tuple[int, Acceptor, socket.socket]] = []
        self._taking: set[asyncio.Task[None]] = set()
        #: What `hold` has taken from the loop; None while the listener accepts.
        self._held: list[tuple[int, Acceptor, socket.socket]] | None = None
        self._facts = facts = ListenerFacts(
            config.name,
            config.addresses[0].address.text,
            config.stat_prefix,
            config.traffic_direction,
            config.buffer_limit,
            config.bypasses_overload,
        )
        self._chains = tuple(LiveChain(chain, services, facts) for chain in config.chains)
        self._acceptor_facts = (
            config,
            self._chains,
            services,
            self.stats,
            self.drain_state,
            next_id,
            own_count or LocalCounter(),
            global_count or LocalCounter(),
            _access_logger(config, services),
        )
        self._rules = self._sniffing_rules(facts) if config.filters else None
        self._acceptors: list[Acceptor] = []

    async def start(
        self, sockets: list[socket.socket], further: Iterable[tuple[int, socket.socket]] = ()
    ) -> None:
        """Accept on `sockets`, one for each of the config's addresses, and on `further` ones, each with the number
        of its address; they belong to the listener now.
        """
        addresses = self.config.addresses
        acceptors = []
        for number, (where, one) in enumerate(zip(addresses, sockets, strict=True)):
            acceptors.append(self.acceptor(local_address(one), where))
            await self._accept_on(number, acceptors[number], one, where)
        for number, one in further:
            await self._accept_on(number, acceptors[number], one, addresses[number])

    async def _accept_on(
        self, number: int, acceptor: Acceptor, one: socket.socket, where: ListenAddress
    ) -> None:
        self._sockets.append((number, acceptor, one))
        self._servers.append(await self._serve(acceptor, one, where))
        for _ in range(_ACCEPTED_AT_ONCE - 1):
            try:
                again = one.dup()
            except OSError:
                break  # out of descriptors: one by one will do
            self._servers.append(await self._serve(acceptor, again, where))

    def replace_chains(self, config: ListenerConfig) -> list[LiveChain]:
        """Take the chains of `config`, which is the same in everything else (`ListenerConfig.frame`).

        Connections of chains that stay notice nothing. Those of the others are to end when they can. Returns these
        chains.
        """
        former = {chain.config.fingerprint: chain for chain in self._chains}
        self._chains = tuple(
            former.pop(chain.fingerprint)
            if chain.fingerprint in former
            else LiveChain(chain, self._services, self._facts)
            for chain in config.chains
        )
        self.config = config
        for acceptor in self._acceptors:
            acceptor.use(config, self._chains)
        gone = list(former.values())
        for chain in gone:
            chain.drain.draining = True
        return gone

    def start_unbound(self) -> None:
        """Take the connections that other listeners hand over for the config's addresses, which nobody binds."""
        for where in self.config.addresses:
            self.acceptor(where.address, where)

    def acceptor(self, local: Address, where: ListenAddress) -> Acceptor:
        """What takes the connections of a socket bound to `local`."""
        if self._rules is None:
            made = Acceptor(*self._acceptor_facts, local=local, where=where)
        else:
            from proxy.downstream.sniffing import SniffingAcceptor  # few listeners have listener filters

            made = SniffingAcceptor(*self._acceptor_facts, rules=self._rules, local=local, where=where)
        self._acceptors.append(made)
        self._directory.add(made)
        return made

    def _sniffing_rules(self, facts: ListenerFacts) -> Any:
        from proxy.downstream.live_listener_filters import LiveListenerFilters
        from proxy.downstream.sniffing import LoopStats, SniffingRules

        config, services = self.config, self._services
        prefix = config.stat_prefix
        loop_stats = services.stats.shared(LoopStats, prefix) if config.hand_off else LoopStats(prefix)
        return SniffingRules(
            LiveListenerFilters(config.filters, services, facts),
            config.filters_timeout,
            config.continue_on_timeout,
            config.hand_off,
            self._directory,
            loop_stats,
        )

    async def _serve(
        self, acceptor: Acceptor, listening: socket.socket, where: ListenAddress
    ) -> asyncio.AbstractServer:
        loop = self._services.loop
        # The kernel cuts the backlog down, but the argument is a C int of which some loops check less.
        backlog = min(where.backlog, 65535)
        if where.address.path:
            return await loop.create_unix_server(acceptor.factory, sock=listening, backlog=backlog)
        return await loop.create_server(acceptor.factory, sock=listening, backlog=backlog)

    def refuse(self, shared: Collection[int] = ()) -> None:
        """Refuse further connections in every process that holds the sockets, except those of the addresses whose
        numbers are `shared`: there others go on accepting.

        Those that the kernel has completed already are accepted first: closing would reset them.
        """
        sockets = self._sockets if self._held is None else self._held
        own = [(acceptor, listening) for number, acceptor, listening in sockets if number not in shared]
        for acceptor, listening in own:
            for _ in range(_MOST_WAITING):
                try:
                    waiting, _name = listening.accept()
                except OSError:
                    break
                waiting.setblocking(False)
                task = self._services.loop.create_task(self._take(acceptor, waiting))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)
        stop_listening([listening for _, listening in own])
        self.stop()

    async def _take(self, acceptor: Acceptor, waiting: socket.socket) -> None:
        with suppress(OSError):
            await self._services.loop.connect_accepted_socket(acceptor.factory, waiting)

    def hold(self) -> None:
        """Accept no further connections, which wait in the kernel until `go_on`."""
        if self._held is None and self._sockets:
            self._held = [(number, acceptor, one.dup()) for number, acceptor, one in self._sockets]
            self._close_servers()

    @property
    def held(self) -> bool:
        """Whether `hold` was called."""
        return self._held is not None

    async def go_on(self) -> None:
        """Accept again, if `hold` was called."""
        held, self._held = self._held, None
        for number, acceptor, one in held or ():
            await self._accept_on(number, acceptor, one, self.config.addresses[number])

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._sockets.clear()

    def stop(self) -> None:
        """Refuse further connections; other processes may accept on the same sockets."""
        for acceptor in self._acceptors:
            self._directory.remove(acceptor)
        self._close_servers()
        held, self._held = self._held, None
        for _number, _acceptor, one in held or ():
            one.close()

    def drain(self) -> None:
        """Refuse further connections; the open ones are to end when they can."""
        self.announce_drain(True)
        self.stop()

    def announce_drain(self, draining: bool | GradualDrain) -> None:
        """Tell connections to end when they can, all or some of them, or no longer."""
        self.drain_state.draining = draining
        for chain in self._chains:
            chain.drain.draining = draining

    @property
    def active(self) -> int:
        """Connections open in this worker, those of a listener that it has replaced included."""
        return self.stats.downstream_cx_active

    @property
    def pending(self) -> int:
        """Accepted, and not open yet."""
        return len(self._taking)

    def close_idle(self, silent: float) -> None:
        """Close connections that have carried nothing for so many seconds, as far as their protocol can tell."""
        for acceptor in self._acceptors:
            acceptor.close_idle(silent)

    def close_connections(self, of: LiveChain | None = None) -> None:
        """End every open connection at once, or those of one chain."""
        for acceptor in self._acceptors:
            acceptor.close_connections(of)

    @property
    def local_addresses(self) -> list[Address]:
        """Where it really listens."""
        return [acceptor.local for acceptor in self._acceptors]

    def __repr__(self) -> str:
        state = "draining" if self.drain_state.draining else "active" if self._servers else "stopped"
        return f"<Listener {self.config.name} {self.config.addresses[0].address} {state} {self.active} cx>"


def stats_of(config: ListenerConfig, services: WorkerServices) -> ListenerStats:
    """The numbers of a listener in its worker: one that is replaced hands its numbers on to its successor."""
    known = services.stats.get(config.stat_prefix)
    if isinstance(known, ListenerStats):
        return known
    stats = ListenerStats(config.stat_prefix, services.worker_index)
    services.stats.add(config.stat_prefix, stats)
    return stats


def _access_logger(config: ListenerConfig, services: WorkerServices) -> Any:
    if not config.access_logs:
        return None
    from proxy.access_log.logger import AccessLogger  # few listeners have any

    return AccessLogger(config.access_logs, services)
