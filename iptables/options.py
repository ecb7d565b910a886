"""Every option of `istio-iptables` under its flag and environment variables, and a few of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from iptables.values import (
    read_binary,
    read_bool,
    read_duration,
    read_groups,
    read_ids,
    read_interfaces,
    read_ipv6,
    read_list,
    read_loopback,
    read_mode,
    read_networks,
    read_number,
    read_only_networks,
    read_only_ports,
    read_port,
    read_ports,
    read_text,
)


class Option(Struct, frozen=True):
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


OPTIONS: Final[tuple[Option, ...]] = (
    Option("envoy_port", "envoy-port", read_port, "port for captured outbound connections", "p"),
    Option("inbound_capture_port", "inbound-capture-port", read_port, "port for captured inbound ones", "z"),
    Option(
        "inbound_tunnel_port", "inbound-tunnel-port", read_port, "inbound tunnel port, never captured", "e"
    ),
    Option("proxy_uid", "proxy-uid", read_ids, "users whose connections are not captured: the proxy's", "u"),
    Option(
        "proxy_gid", "proxy-gid", read_ids, "groups whose connections are not captured (default: as -u)", "g"
    ),
    Option(
        "inbound_interception_mode",
        "istio-inbound-interception-mode",
        read_mode,
        "REDIRECT or TPROXY",
        "m",
        ("INBOUND_INTERCEPTION_MODE",),
    ),
    Option(
        "inbound_tproxy_mark",
        "istio-inbound-tproxy-mark",
        read_number,
        "mark of packets for TPROXY",
        "t",
        ("INBOUND_TPROXY_MARK",),
    ),
    Option(
        "inbound_tproxy_route_table",
        "istio-inbound-tproxy-route-table",
        read_number,
        "route table for TPROXY",
        "r",
    ),
    Option("inbound_ports", "istio-inbound-ports", read_ports, 'inbound ports to capture, "*" for all', "b"),
    Option(
        "inbound_ports_exclude",
        "istio-local-exclude-ports",
        read_only_ports,
        'inbound ports not to ("*" in -b)',
        "d",
    ),
    Option("exclude_interfaces", "istio-exclude-interfaces", read_interfaces, "interfaces left alone", "c"),
    Option(
        "service_cidr", "istio-service-cidr", read_networks, 'outbound ranges to capture, "*" for all', "i"
    ),
    Option(
        "service_exclude_cidr",
        "istio-service-exclude-cidr",
        read_only_networks,
        "outbound ranges not to",
        "x",
    ),
    Option(
        "outbound_ports", "istio-outbound-ports", read_only_ports, "outbound ports to capture anyway", "q"
    ),
    Option(
        "outbound_ports_exclude",
        "istio-local-outbound-ports-exclude",
        read_only_ports,
        "outbound ports not to",
        "o",
    ),
    Option(
        "kube_virt_interfaces",
        "kube-virt-interfaces",
        read_interfaces,
        "virtual interfaces whose inbound connections count as outbound",
        "k",
    ),
    Option("dry_run", "dry-run", read_bool, "show what would be done", "n"),
    Option("iptables_probe_port", "iptables-probe-port", read_port, "port that the probes connect to"),
    Option("probe_timeout", "probe-timeout", read_duration, "how long probes may take"),
    Option("skip_rule_apply", "skip-rule-apply", read_bool, "only validate"),
    Option("run_validation", "run-validation", read_bool, "probe the rules afterwards"),
    Option("redirect_dns", "redirect-dns", read_bool, "capture DNS", variables=("ISTIO_META_DNS_CAPTURE",)),
    Option(
        "drop_invalid", "drop-invalid", read_bool, "drop packets out of window", variables=("INVALID_DROP",)
    ),
    Option("dual_stack", "dual-stack", read_bool, "IPv4 and IPv6", variables=("ISTIO_DUAL_STACK",)),
    Option("capture_all_dns", "capture-all-dns", read_bool, "DNS to any server, not only the resolvers"),
    Option("network_namespace", "network-namespace", read_text, "name or path of the network namespace"),
    Option("cni_mode", "cni-mode", read_bool, "run by a CNI plugin: resolvers are not those of this machine"),
    Option("reconcile", "reconcile", read_bool, "replace the rules of another configuration"),
    Option("cleanup_only", "cleanup-only", read_bool, "remove, and install nothing"),
    Option("force_apply", "force-apply", read_bool, "install in spite of rules in the way"),
    Option("native_nftables", "native-nftables", read_bool, "nftables of our own instead of iptables"),
    Option("force_iptables_binary", "force-iptables-binary", read_binary, "legacy or nft"),
    Option("log_output_level", "log_output_level", read_text, "none, error, warn, info or debug"),
    Option("log_as_json", "log_as_json", read_bool, "messages as JSON"),
    Option("outbound_only", "outbound-only", read_bool, "only outbound ranges, as Traffic Director's VMs do"),
    Option("ipv6", "ipv6", read_ipv6, "auto (by the machine's addresses), true or false", variables=()),
    Option("dns_servers", "dns-servers", read_list, "resolvers to capture instead of those of resolv.conf"),
    Option(
        "owner_groups",
        "owner-groups",
        read_groups,
        "groups to capture",
        "",
        ("ISTIO_OUTBOUND_OWNER_GROUPS",),
        True,
    ),
    Option(
        "owner_groups_exclude",
        "owner-groups-exclude",
        read_groups,
        "groups not to capture",
        "",
        ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",),
        True,
    ),
    Option(
        "loopback_cidr",
        "loopback-cidr",
        read_loopback,
        "the workload's loopback range",
        "",
        ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",),
        True,
    ),
)
