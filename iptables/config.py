"""What to capture: every option of `istio-iptables` under its flag and environment variable.

Defaults are those of Istio (tools/common/config). A flag wins over its variable; the variable of a flag is its
name in capitals with `_` for `-`, and some have a second one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from iptables.errors import SettingError
from iptables.model import network

DNS_PORT: Final = 15053
"""The proxy's DNS listener; fixed, as it is in Istio."""

OUTBOUND_MARK: Final = 1338
"""Marks the proxy's connections to the workload's own address, which must not be captured again."""

_MOST_GROUPS = 64  # in one rule; Istio's limit, below what kernels allow for matches of a rule


@dataclass(frozen=True, slots=True)
class Config:
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


@dataclass(frozen=True, slots=True)
class Option:
    """One flag: what it sets, how its text is read, its further names and variables."""

    field: str
    flag: str
    read: Callable[[str, str], Any]
    help: str
    short: str = ""
    variables: tuple[str, ...] = ()
    only_variable: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The environment variables, first the one that wins."""
        own = self.flag.upper().replace("-", "_")
        return self.variables if self.only_variable else (own, *self.variables)


def read_bool(name: str, text: str) -> bool:
    """Go's boolean texts."""
    if text.lower() in ("1", "t", "true"):
        return True
    if text.lower() in ("0", "f", "false", ""):
        return False
    raise SettingError(f"{name}: {text!r} is neither true nor false")


def _list(_name: str, text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _port(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise SettingError(f"{name}: {text!r} is not a port from 1 to 65535")
    return int(text)


def _ports(name: str, text: str) -> tuple[str, ...]:
    parts = _list(name, text)
    if "*" in parts:
        if parts != ("*",):
            raise SettingError(f'{name}: "*" stands alone; drop the other ports')
        return parts
    for part in parts:
        first, _, last = part.partition(":")
        low = _port(name, first)
        if ":" in part and _port(name, last) < low:
            raise SettingError(f"{name}: the range {part} ends before it begins")
    return parts


def _only_ports(name: str, text: str) -> tuple[str, ...]:
    parts = _ports(name, text)
    if parts == ("*",):
        raise SettingError(f'{name}: "*" is not possible here; list the ports')
    return parts


def _networks(name: str, text: str) -> tuple[str, ...]:
    parts = _list(name, text)
    if "*" in parts:
        if parts != ("*",):
            raise SettingError(f'{name}: "*" stands alone; drop the other ranges')
        return parts
    for part in parts:
        try:
            if "/" not in part:
                raise ValueError
            network(part)
        except ValueError:
            raise SettingError(
                f"{name}: {part!r} is not an IP range such as 10.0.0.0/8 or fd00::/8"
            ) from None
    return parts


def _only_networks(name: str, text: str) -> tuple[str, ...]:
    parts = _networks(name, text)
    if parts == ("*",):
        raise SettingError(f'{name}: "*" would exclude everything; leave the ranges to include empty instead')
    return parts


def _number(name: str, text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = 0
    if not 1 <= value <= 0xFFFFFFFF:
        raise SettingError(f"{name}: {text!r} is not a number from 1 to 4294967295")
    return value


def _ids(name: str, text: str) -> tuple[str, ...]:
    parts = _list(name, text)
    for part in parts:
        if not re.fullmatch(r"[0-9]{1,10}", part) or int(part) > 0xFFFFFFFE:
            raise SettingError(f"{name}: {part!r} is not a numeric id")
    return parts


def _groups(name: str, text: str) -> tuple[str, ...]:
    parts = _list(name, text)
    for part in parts:
        if part != "*" and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?", part):
            raise SettingError(f"{name}: {part!r} is not the name or number of a group")
    return parts


def _interfaces(name: str, text: str) -> tuple[str, ...]:
    parts = _list(name, text)
    for part in parts:
        if len(part) > 15 or not re.fullmatch(r"[^\s/\"'!-][^\s/\"']*", part):
            raise SettingError(f"{name}: {part!r} is not the name of an interface")
    return parts


def _duration(name: str, text: str) -> float:
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"([0-9]*\.?[0-9]+)(ns|us|ms|s|m|h)", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise SettingError(f"{name}: {text!r} is not a duration such as 5s")
    return sum(float(number) * units[unit] for number, unit in parts)


def _mode(name: str, text: str) -> str:
    if text not in ("", "REDIRECT", "TPROXY"):
        raise SettingError(f"{name}: {text!r} is neither REDIRECT nor TPROXY")
    return text or "REDIRECT"


def _binary(name: str, text: str) -> str:
    if text not in ("", "legacy", "nft"):
        raise SettingError(f"{name}: {text!r} is neither legacy nor nft")
    return text


def _loopback(name: str, text: str) -> str:
    try:
        found = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        raise SettingError(f"{name}: {text!r} is not an IPv4 range such as 127.0.0.1/32") from None
    if not found.is_loopback or found.prefixlen < 8 or "/" not in text:
        raise SettingError(f"{name}: {text!r} does not lie in 127.0.0.0/8")
    return text


def _text(_name: str, text: str) -> str:
    return text


def _ipv6(name: str, text: str) -> bool | None:
    return None if text in ("", "auto") else read_bool(name, text)


OPTIONS: Final[tuple[Option, ...]] = (
    Option("envoy_port", "envoy-port", _port, "port for captured outbound connections", "p"),
    Option("inbound_capture_port", "inbound-capture-port", _port, "port for captured inbound ones", "z"),
    Option("inbound_tunnel_port", "inbound-tunnel-port", _port, "inbound tunnel port, never captured", "e"),
    Option("proxy_uid", "proxy-uid", _ids, "users whose connections are not captured: the proxy's", "u"),
    Option("proxy_gid", "proxy-gid", _ids, "groups whose connections are not captured (default: as -u)", "g"),
    Option("inbound_interception_mode", "istio-inbound-interception-mode", _mode, "REDIRECT or TPROXY", "m"),
    Option("inbound_tproxy_mark", "istio-inbound-tproxy-mark", _number, "mark of packets for TPROXY", "t"),
    Option(
        "inbound_tproxy_route_table",
        "istio-inbound-tproxy-route-table",
        _number,
        "route table for TPROXY",
        "r",
    ),
    Option("inbound_ports", "istio-inbound-ports", _ports, 'inbound ports to capture, "*" for all', "b"),
    Option(
        "inbound_ports_exclude",
        "istio-local-exclude-ports",
        _only_ports,
        'inbound ports not to ("*" in -b)',
        "d",
    ),
    Option("exclude_interfaces", "istio-exclude-interfaces", _interfaces, "interfaces left alone", "c"),
    Option("service_cidr", "istio-service-cidr", _networks, 'outbound ranges to capture, "*" for all', "i"),
    Option(
        "service_exclude_cidr", "istio-service-exclude-cidr", _only_networks, "outbound ranges not to", "x"
    ),
    Option("outbound_ports", "istio-outbound-ports", _only_ports, "outbound ports to capture anyway", "q"),
    Option(
        "outbound_ports_exclude",
        "istio-local-outbound-ports-exclude",
        _only_ports,
        "outbound ports not to",
        "o",
    ),
    Option(
        "kube_virt_interfaces",
        "kube-virt-interfaces",
        _interfaces,
        "virtual interfaces whose inbound connections count as outbound",
        "k",
    ),
    Option("dry_run", "dry-run", read_bool, "show what would be done", "n"),
    Option("iptables_probe_port", "iptables-probe-port", _port, "port that the probes connect to"),
    Option("probe_timeout", "probe-timeout", _duration, "how long probes may take"),
    Option("skip_rule_apply", "skip-rule-apply", read_bool, "only validate"),
    Option("run_validation", "run-validation", read_bool, "probe the rules afterwards"),
    Option("redirect_dns", "redirect-dns", read_bool, "capture DNS", variables=("ISTIO_META_DNS_CAPTURE",)),
    Option(
        "drop_invalid", "drop-invalid", read_bool, "drop packets out of window", variables=("INVALID_DROP",)
    ),
    Option("dual_stack", "dual-stack", read_bool, "IPv4 and IPv6", variables=("ISTIO_DUAL_STACK",)),
    Option("capture_all_dns", "capture-all-dns", read_bool, "DNS to any server, not only the resolvers"),
    Option("network_namespace", "network-namespace", _text, "name or path of the network namespace"),
    Option("cni_mode", "cni-mode", read_bool, "run by a CNI plugin: resolvers are not those of this machine"),
    Option("reconcile", "reconcile", read_bool, "replace the rules of another configuration"),
    Option("cleanup_only", "cleanup-only", read_bool, "remove, and install nothing"),
    Option("force_apply", "force-apply", read_bool, "install in spite of rules in the way"),
    Option("native_nftables", "native-nftables", read_bool, "nftables of our own instead of iptables"),
    Option("force_iptables_binary", "force-iptables-binary", _binary, "legacy or nft"),
    Option("log_output_level", "log_output_level", _text, "none, error, warn, info or debug"),
    Option("log_as_json", "log_as_json", read_bool, "messages as JSON"),
    Option("outbound_only", "outbound-only", read_bool, "only outbound ranges, as Traffic Director's VMs do"),
    Option("ipv6", "ipv6", _ipv6, "auto (by the machine's addresses), true or false", variables=()),
    Option("dns_servers", "dns-servers", _list, "resolvers to capture instead of those of resolv.conf"),
    Option(
        "owner_groups",
        "owner-groups",
        _groups,
        "groups to capture",
        "",
        ("ISTIO_OUTBOUND_OWNER_GROUPS",),
        True,
    ),
    Option(
        "owner_groups_exclude",
        "owner-groups-exclude",
        _groups,
        "groups not to capture",
        "",
        ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",),
        True,
    ),
    Option(
        "loopback_cidr",
        "loopback-cidr",
        _loopback,
        "the workload's loopback range",
        "",
        ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",),
        True,
    ),
)
# Some variables in use lack the prefix of their flag.
_SHORT_VARIABLES: Final = {
    "inbound_interception_mode": "INBOUND_INTERCEPTION_MODE",
    "inbound_tproxy_mark": "INBOUND_TPROXY_MARK",
}


def build(flags: Mapping[str, str], environment: Mapping[str, str], proxy_user: str = "1337") -> Config:
    """A valid config of flags (by field) and the environment; SettingError names what is wrong.

    `proxy_user` is the user id that stands for an absent --proxy-uid.
    """
    values: dict[str, Any] = {"proxy_uid": (proxy_user,)}
    for option in OPTIONS:
        text = flags.get(option.field)
        name = f"--{option.flag}"
        if text is None:
            for variable in (*option.names, _SHORT_VARIABLES.get(option.field, "")):
                if variable and environment.get(variable):
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


def flags_of(config: Config) -> dict[str, Any]:
    """What differs from the defaults, by field."""
    default = Config()
    return {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if getattr(config, field.name) != getattr(default, field.name)
    }
