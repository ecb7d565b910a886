"""Names to addresses, with servers replaced by a table."""

import asyncio

import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest

from proxy.base.address import Address
from proxy.upstream.cluster_config import DnsConfig, DnsFamily
from proxy.upstream.discovery.hosts_file import HostsFile
from proxy.upstream.discovery.resolver import Resolver, by_family
from proxy.upstream.discovery.schedule import Answer

BOTH = ["10.0.0.1", "::1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (DnsFamily.AUTO, ("::1",)),
        (DnsFamily.V4_PREFERRED, ("10.0.0.1", "10.0.0.2")),
        (DnsFamily.V4_ONLY, ("10.0.0.1", "10.0.0.2")),
        (DnsFamily.V6_ONLY, ("::1",)),
        (DnsFamily.ALL, ("10.0.0.1", "10.0.0.2", "::1")),
    ],
)
def test_families(family, expected):
    assert by_family(BOTH, family) == expected


def test_auto_falls_back_to_ipv4():
    assert by_family(["10.0.0.1"], DnsFamily.AUTO) == ("10.0.0.1",)
    assert by_family(["::1"], DnsFamily.V4_ONLY) == ()


class Servers:
    """Stands for the DNS servers: (name, type) → addresses, an exception, or nothing."""

    def __init__(self, table):
        self.table = table
        self.asked = []

    async def resolve(self, name, kind, **_options):
        self.asked.append(kind)
        found = self.table.get((name, kind))
        if found is None:
            raise dns.resolver.NXDOMAIN
        if isinstance(found, Exception):
            raise found
        query = dns.message.make_query(name, kind)
        response = dns.message.make_response(query)
        if found:
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *found))
        received = dns.message.from_wire(response.to_wire())
        return dns.resolver.Answer(
            dns.name.from_text(name), dns.rdatatype.from_text(kind), dns.rdataclass.IN, received
        )


def ask(table, family=DnsFamily.AUTO, tmp_path="/nonexistent"):
    resolver = Resolver(HostsFile(f"{tmp_path}/hosts"), f"{tmp_path}/resolv.conf")
    servers = Servers(table)
    resolver._client = lambda config: servers
    return asyncio.run(resolver.resolve("svc.test", DnsConfig(family=family))), servers.asked


def test_ipv4_is_asked_for_only_if_there_is_no_ipv6():
    table = {("svc.test", "AAAA"): ["::1"], ("svc.test", "A"): ["10.0.0.1"]}
    assert ask(table) == (Answer(True, ("::1",), 60), ["AAAA"])
    assert ask({**table, ("svc.test", "AAAA"): []}) == (Answer(True, ("10.0.0.1",), 60), ["AAAA", "A"])
    assert ask(table, DnsFamily.ALL)[0].addresses == ("10.0.0.1", "::1")


def test_no_such_name_and_no_such_record_are_complete_and_empty():
    no_name = Answer(True, details="cares_norecords:Domain name not found")
    assert ask({})[0] == no_name
    no_data = Answer(True, details="cares_norecords:DNS server returned answer with no data")
    assert ask({("svc.test", "A"): []}, DnsFamily.V4_ONLY)[0] == no_data


def test_no_answer_from_any_server_is_incomplete():
    failure = dns.exception.Timeout()
    answer, _ = ask({("svc.test", "A"): failure, ("svc.test", "AAAA"): failure})
    assert not answer.complete
    assert answer.reason
    assert answer.details == "cares_failure:Timeout while contacting DNS servers"
    for kind in ("A", "AAAA"):
        # The server says that there is nothing of the other kind.
        assert not ask({("svc.test", kind): failure})[0].complete
    answer, _ = ask({("svc.test", "AAAA"): failure, ("svc.test", "A"): ["10.0.0.1"]})
    assert answer.complete
    assert answer.addresses == ("10.0.0.1",)


def test_literals_and_the_hosts_file_ask_nobody(tmp_path):
    (tmp_path / "hosts").write_text("10.0.0.7 svc\n")
    resolver = Resolver(HostsFile(str(tmp_path / "hosts")))
    config = DnsConfig()
    assert resolver.resolve_now("10.0.0.1", config) == Answer(True, ("10.0.0.1",))
    assert resolver.resolve_now("0:0::1", config) == Answer(True, ("::1",))
    assert resolver.resolve_now("svc", config) == Answer(True, ("10.0.0.7",))
    assert resolver.resolve_now("other", config) is None
    assert resolver.resolve_now("svc", DnsConfig(family=DnsFamily.V6_ONLY)) is None


def test_resolv_conf_is_read_again_when_it_changes(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 10.0.0.53\nsearch a.test b.test\noptions ndots:3\n")
    resolver = Resolver(HostsFile(str(tmp_path / "hosts")), str(path))
    client = resolver._client(DnsConfig())
    assert client.nameservers == ["10.0.0.53"]
    assert [name.to_text() for name in client.search] == ["a.test.", "b.test."]
    assert client.ndots == 3
    assert resolver._client(DnsConfig()) is client
    path.unlink()
    assert resolver._client(DnsConfig()).nameservers == ["127.0.0.1"]


def test_resolvers_of_the_config_replace_those_of_the_system(tmp_path):
    resolver = Resolver(HostsFile(str(tmp_path / "hosts")), str(tmp_path / "resolv.conf"))
    client = resolver._client(
        DnsConfig(resolvers=(Address("10.0.0.9", 5353),), query_timeout=2.0, query_tries=3)
    )
    (server,) = client.nameservers
    assert (server.address, server.port) == ("10.0.0.9", 5353)
    assert (client.timeout, client.lifetime) == (2.0, 6.0)


def test_resolvers_of_the_config_may_be_a_fallback_only(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 10.0.0.53\n")
    resolver = Resolver(HostsFile(str(tmp_path / "hosts")), str(path))
    config = DnsConfig(resolvers=(Address("10.0.0.9", 53),), resolvers_as_fallback=True)
    assert resolver._client(config).nameservers == ["10.0.0.53"]
    path.unlink()
    assert resolver._client(config).nameservers[0].address == "10.0.0.9"
