"""Name → addresses, as Envoy's c-ares resolver answers: literals, the hosts file, then DNS servers.

Runs on the event loop without threads. Fails by giving an incomplete `Answer`, never by raising.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from dns import _asyncio_backend

from proxy.upstream.cluster_config import DnsConfig, DnsFamily
from proxy.upstream.discovery.hosts_file import HostsFile
from proxy.upstream.discovery.schedule import Answer

RESOLV_CONF: Final = "/etc/resolv.conf"

# The words of c-ares, as Envoy puts them into response code details.
_NO_NAME: Final = "cares_norecords:Domain name not found"
_NO_DATA: Final = "cares_norecords:DNS server returned answer with no data"
_BAD_NAME: Final = "cares_failure:Misformatted domain name"
_TIMEOUT: Final = "cares_failure:Timeout while contacting DNS servers"
_GENERAL: Final = "cares_failure:DNS server returned general failure"

# Record types in the order of asking; the first that gives an address ends it, unless the family is ALL.
_ORDER: Final = {
    DnsFamily.AUTO: ("AAAA", "A"),
    DnsFamily.V4_PREFERRED: ("A", "AAAA"),
    DnsFamily.ALL: ("A", "AAAA"),
    DnsFamily.V4_ONLY: ("A",),
    DnsFamily.V6_ONLY: ("AAAA",),
}


def by_family(addresses: Iterable[str], family: DnsFamily) -> tuple[str, ...]:
    """Those of `addresses` that a lookup for `family` gives."""
    kinds: dict[str, list[str]] = {"A": [], "AAAA": []}
    for address in addresses:
        kinds["AAAA" if ":" in address else "A"].append(address)
    order = [kinds[kind] for kind in _ORDER[family]]
    if family is DnsFamily.ALL:
        return tuple(address for kind in order for address in kind)
    return next((tuple(kind) for kind in order if kind), ())


def _words(error: Exception) -> str:
    if isinstance(error, dns.exception.Timeout):
        return _TIMEOUT
    if isinstance(
        error, (dns.name.LabelTooLong, dns.name.EmptyLabel, dns.name.NameTooLong, dns.name.IDNAException)
    ):
        return _BAD_NAME
    return _GENERAL


class _ConnectedUdp(_asyncio_backend.Backend):
    """Sockets that are connected to their server, so that a closed port fails at once instead of timing out."""

    def datagram_connection_required(self) -> bool:
        return True


class Resolver:
    """Resolves names for all DNS clusters of the controller."""

    def __init__(self, hosts: HostsFile | None = None, resolv_conf: str = RESOLV_CONF) -> None:
        self._hosts = hosts or HostsFile()
        self._resolv_conf = resolv_conf
        self._backend = _ConnectedUdp()
        self._resolv_conf_version: tuple[int, int] | None = None
        self._clients: dict[DnsConfig, dns.asyncresolver.Resolver] = {}

    def resolve_now(self, name: str, config: DnsConfig) -> Answer | None:
        """The answer where no server need be asked, else None."""
        try:
            literal = str(ipaddress.ip_address(name))
        except ValueError:
            pass
        else:
            found = by_family((literal,), config.family)
            if not found and ":" in literal:
                return Answer(False, reason="an IPv6 address has no IPv4 address", details=_BAD_NAME)
            return Answer(True, found, details="" if found else _NO_NAME)
        found = by_family(self._hosts.lookup(name), config.family)
        return Answer(True, found) if found else None

    async def resolve(self, name: str, config: DnsConfig) -> Answer:
        """Ask the servers. An answer is complete if it has addresses, or every query for it was answered.

        One lost query must not pass for "has no addresses", or a cluster loses its hosts by it.
        """
        try:
            client = self._client(config)
        except (dns.exception.DNSException, ValueError, OSError) as error:
            return Answer(False, reason=str(error))
        complete = True
        reason = details = ""
        addresses: list[str] = []
        ttls: list[int] = []
        for kind in _ORDER[config.family]:
            try:
                answer = await client.resolve(
                    name,
                    kind,
                    tcp=config.use_tcp,
                    raise_on_no_answer=False,
                    search=config.use_search_domains,
                    backend=self._backend,
                )
            except dns.resolver.NXDOMAIN:
                details = _NO_NAME
                continue
            except (dns.exception.DNSException, OSError, ValueError) as error:
                reason = str(error)
                details = _words(error)
                complete = False
                continue
            if answer.rrset is None:
                details = _NO_DATA
                continue
            addresses += [record.address for record in answer.rrset]
            ttls.append(answer.chaining_result.minimum_ttl)
            if config.family is not DnsFamily.ALL:
                break
        if not complete and not addresses:
            return Answer(False, reason=reason, details=details)
        unique = tuple(dict.fromkeys(addresses))
        return Answer(True, unique, min(ttls, default=0), details="" if unique else details)

    def _client(self, config: DnsConfig) -> dns.asyncresolver.Resolver:
        version = self._stat_resolv_conf()
        if version != self._resolv_conf_version:
            self._resolv_conf_version = version
            self._clients.clear()
        client = self._clients.get(config)
        if client is None:
            client = self._clients[config] = self._new_client(config)
        return client

    def _stat_resolv_conf(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._resolv_conf)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def _new_client(self, config: DnsConfig) -> dns.asyncresolver.Resolver:
        client = dns.asyncresolver.Resolver(configure=False)
        configured = True
        try:
            client.read_resolv_conf(self._resolv_conf)
        except (dns.resolver.NoResolverConfiguration, OSError):
            client.nameservers = ["127.0.0.1"]  # what c-ares falls back to
            configured = False
        if config.resolvers and not (configured and config.resolvers_as_fallback):
            client.nameservers = [
                dns.nameserver.Do53Nameserver(address.ip, address.port) for address in config.resolvers
            ]
        client.timeout = config.query_timeout
        client.lifetime = config.query_timeout * config.query_tries
        return client
