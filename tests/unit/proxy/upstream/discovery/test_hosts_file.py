"""Names of the hosts file."""

import os

from proxy.upstream.discovery.hosts_file import HostsFile, parse_hosts


def test_aliases_comments_and_case():
    names = parse_hosts(
        "127.0.0.1 localhost\n"
        "# 10.0.0.9 gone\n"
        "10.0.0.1\tWeb.Test web # the front\n"
        "::1 localhost ip6-localhost\n"
        "10.0.0.1 web\n"
        "not-an-address name\n"
        "\n"
    )
    assert names == {
        "localhost": ["127.0.0.1", "::1"],
        "web.test": ["10.0.0.1"],
        "web": ["10.0.0.1"],
        "ip6-localhost": ["::1"],
    }


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("10.0.0.1 web\n")
    hosts = HostsFile(str(path))
    assert hosts.lookup("WEB.") == ["10.0.0.1"]
    path.write_text("10.0.0.2 web\n")
    os.utime(path, ns=(1, 1))
    assert hosts.lookup("web") == ["10.0.0.2"]
    path.unlink()
    assert hosts.lookup("web") == []


def test_localhost_needs_no_file(tmp_path):
    hosts = HostsFile(str(tmp_path / "absent"))
    assert hosts.lookup("localhost") == ["::1", "127.0.0.1"]
    assert hosts.lookup("a.localhost") == ["::1", "127.0.0.1"]
    assert hosts.lookup("web") == []
