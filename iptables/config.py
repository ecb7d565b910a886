"""What to capture: every option of `istio-iptables` under its flag and environment variable.

Defaults are those of Istio (tools/common/config). A flag wins over its variable; the variable of a flag is its
name in capitals with `_` for `-`, and some have a second one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from iptables.errors import SettingError
from iptables.options import OPTIONS

DNS_PORT: Final = 15053
"""The proxy's DNS listener; fixed, as it is in Istio."""

OUTBOUND_MARK: Final = 1338
"""Marks the proxy's connections to the workload's own address, which must not be captured again."""

_MOST_GROUPS = 64  # in one rule; Istio's limit, below what kernels allow for matches of a rule


class Config(Struct, frozen=True):
    """Lists are tuples of their non-empty parts; `("*",)` is everything. Ports are 1..65535.

    `ipv6` None leaves it to the machine's addresses, as Istio does. `probe_timeout` is in seconds.
    """

    envoy_port: int = 15001
    inbound_capture_port: int = 15006
    inbound_tunnel_port: int = 15008
    proxy_uid: tuple[str, ...] = ("1337",)
    proxy_gid: tuple[str, ...] = ("1337",)
    inbound_interception_mode: str = "REDIRECT"
    inbound_tproxy_mark: int = 1337
    inbound_tproxy_route_table: int = 133
    inbound_ports: tuple[str, ...] = ()
    inbound_ports_exclude: tuple[str, ...] = ()
    owner_groups: tuple[str, ...] = ("*",)
    owner_groups_exclude: tuple[str, ...] = ()
    outbound_ports: tuple[str, ...] = ()
    outbound_ports_exclude: tuple[str, ...] = ()
    service_cidr: tuple[str, ...] = ()
    service_exclude_cidr: tuple[str, ...] = ()
    kube_virt_interfaces: tuple[str, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    loopback_cidr: str = "127.0.0.1/32"
    redirect_dns: bool = False
    capture_all_dns: bool = False
    dns_servers: tuple[str, ...] = ()
    drop_invalid: bool = False
    dual_stack: bool = False
    ipv6: bool | None = None
    outbound_only: bool = False
    network_namespace: str = ""
    native_nftables: bool = False
    force_iptables_binary: str = ""
    iptables_probe_port: int = 15002
    probe_timeout: float = 5.0
    dry_run: bool = False
    skip_rule_apply: bool = False
    run_validation: bool = False
    reconcile: bool = False
    cleanup_only: bool = False
    force_apply: bool = False
    cni_mode: bool = False
    log_output_level: str = "info"
    log_as_json: bool = False

    @property
    def tproxy(self) -> bool:
        """Inbound connections come to a transparent listener."""
        return self.inbound_interception_mode == "TPROXY" and not self.outbound_only

    @property
    def routes(self) -> bool:
        """Packets marked by TPROXY need a route to the machine itself."""
        return self.tproxy and bool(self.inbound_ports)


def build(flags: Mapping[str, str], environment: Mapping[str, str], proxy_user: str = "1337") -> Config:
    """A valid config of flags (by field) and the environment; SettingError names what is wrong.

    `proxy_user` is the user id that stands for an absent --proxy-uid.
    """
    values: dict[str, Any] = {"proxy_uid": (proxy_user,)}
    for option in OPTIONS:
        text = flags.get(option.field)
        name = f"--{option.flag}"
        if text is None:
            for variable in option.names:
                if environment.get(variable):
                    name, text = variable, environment[variable]
                    break
        if text is not None:
            values[option.field] = option.read(name, text)
    values["proxy_uid"] = values["proxy_uid"] or (proxy_user,)
    values["proxy_gid"] = values.get("proxy_gid") or values["proxy_uid"]
    config = Config(**values)
    check(config)
    return config


def check(config: Config) -> None:
    """What cannot work together; SettingError."""
    ports = {
        "--envoy-port": config.envoy_port,
        "--inbound-capture-port": config.inbound_capture_port,
        "--inbound-tunnel-port": config.inbound_tunnel_port,
    }
    if len(set(ports.values())) < len(ports) and not config.outbound_only:
        raise SettingError(f"{', '.join(ports)} must differ; they are {', '.join(map(str, ports.values()))}")
    if config.owner_groups != ("*",) and "*" in config.owner_groups:
        raise SettingError('ISTIO_OUTBOUND_OWNER_GROUPS: "*" stands alone; drop the other groups')
    if config.owner_groups != ("*",) and len(config.owner_groups) > _MOST_GROUPS:
        raise SettingError(
            f"ISTIO_OUTBOUND_OWNER_GROUPS: {len(config.owner_groups)} groups are more than {_MOST_GROUPS}; "
            "name them in ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE instead, or use fewer"
        )
    if config.inbound_ports_exclude and config.inbound_ports not in ((), ("*",)):
        both = sorted(set(config.inbound_ports) & set(config.inbound_ports_exclude))
        if both:
            raise SettingError(
                f"--istio-local-exclude-ports: {', '.join(both)} also in --istio-inbound-ports"
            )
    if config.tproxy and config.inbound_tproxy_mark == OUTBOUND_MARK:
        raise SettingError(f"--istio-inbound-tproxy-mark: {OUTBOUND_MARK} is taken; choose another mark")
    if config.outbound_only and config.inbound_ports:
        raise SettingError("--outbound-only captures nothing inbound; drop --istio-inbound-ports")
    if config.outbound_only and config.redirect_dns:
        raise SettingError("--outbound-only does not capture DNS; drop --redirect-dns")
    if config.native_nftables and config.force_iptables_binary:
        raise SettingError("--native-nftables uses no iptables; drop --force-iptables-binary")
    for server in config.dns_servers:
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise SettingError(f"--dns-servers: {server!r} is not an address") from None


def resolvers(text: str) -> tuple[str, ...]:
    """The addresses of the `nameserver` lines of a resolv.conf, without zones."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(str(ipaddress.ip_address(words[1].partition("%")[0])))
            except ValueError:
                continue
    return tuple(found)


def with_groups(config: Config, number: Callable[[str], int | None]) -> Config:
    """The config with numbers for the names of groups, which the kernel's listing has; SettingError if unknown."""

    def one(name: str) -> str:
        if name == "*" or name.isdigit():
            return name
        found = number(name)
        if found is None:
            raise SettingError(f"there is no group {name!r} on this machine; create it or give its number")
        return str(found)

    return replace(
        config,
        owner_groups=tuple(map(one, config.owner_groups)),
        owner_groups_exclude=tuple(map(one, config.owner_groups_exclude)),
    )
