"""Reading the text of a flag or a variable; SettingError names it and says what is wrong."""

from __future__ import annotations

import ipaddress
import re

from iptables.errors import SettingError
from iptables.model import network


def read_bool(name: str, text: str) -> bool:
    """Go's boolean texts."""
    if text.lower() in ("1", "t", "true"):
        return True
    if text.lower() in ("0", "f", "false", ""):
        return False
    raise SettingError(f"{name}: {text!r} is neither true nor false")


def read_list(_name: str, text: str) -> tuple[str, ...]:
    """Parts between commas, none of them empty."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_port(name: str, text: str) -> int:
    """1 to 65535."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise SettingError(f"{name}: {text!r} is not a port from 1 to 65535")
    return int(text)


def read_ports(name: str, text: str) -> tuple[str, ...]:
    """Ports and ranges `first:last`, or `*` alone."""
    parts = read_list(name, text)
    if "*" in parts:
        if parts != ("*",):
            raise SettingError(f'{name}: "*" stands alone; drop the other ports')
        return parts
    for part in parts:
        first, _, last = part.partition(":")
        low = read_port(name, first)
        if ":" in part and read_port(name, last) < low:
            raise SettingError(f"{name}: the range {part} ends before it begins")
    return parts


def read_only_ports(name: str, text: str) -> tuple[str, ...]:
    """Ports and ranges `first:last`."""
    parts = read_ports(name, text)
    if parts == ("*",):
        raise SettingError(f'{name}: "*" is not possible here; list the ports')
    return parts


def read_networks(name: str, text: str) -> tuple[str, ...]:
    """IP ranges with their length, or `*` alone."""
    parts = read_list(name, text)
    if "*" in parts:
        if parts != ("*",):
            raise SettingError(f'{name}: "*" stands alone; drop the other ranges')
        return parts
    for part in parts:
        if not is_range(part):
            raise SettingError(f"{name}: {part!r} is not an IP range such as 10.0.0.0/8 or fd00::/8")
    return parts


def is_range(text: str) -> bool:
    """Whether `text` is an IP range with its length."""
    try:
        network(text)
    except ValueError:
        return False
    return "/" in text


def read_only_networks(name: str, text: str) -> tuple[str, ...]:
    """IP ranges with their length."""
    parts = read_networks(name, text)
    if parts == ("*",):
        raise SettingError(f'{name}: "*" would exclude everything; leave the ranges to include empty instead')
    return parts


def read_number(name: str, text: str) -> int:
    """1 to 4294967295, decimal or hexadecimal."""
    try:
        value = int(text, 0)
    except ValueError:
        value = 0
    if not 1 <= value <= 0xFFFFFFFF:
        raise SettingError(f"{name}: {text!r} is not a number from 1 to 4294967295")
    return value


def read_ids(name: str, text: str) -> tuple[str, ...]:
    """Numeric ids of users or groups."""
    parts = read_list(name, text)
    for part in parts:
        if not re.fullmatch(r"[0-9]{1,10}", part) or int(part) > 0xFFFFFFFE:
            raise SettingError(f"{name}: {part!r} is not a numeric id")
    return parts


def read_groups(name: str, text: str) -> tuple[str, ...]:
    """Names or numbers of groups, or `*`."""
    parts = read_list(name, text)
    for part in parts:
        if part != "*" and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?", part):
            raise SettingError(f"{name}: {part!r} is not the name or number of a group")
    return parts


def read_interfaces(name: str, text: str) -> tuple[str, ...]:
    """Names of interfaces as the kernel allows them; a `+` at the end stands for any rest."""
    parts = read_list(name, text)
    for part in parts:
        if len(part) > 15 or not re.fullmatch(r"[^\s/\"'!-][^\s/\"']*", part):
            raise SettingError(f"{name}: {part!r} is not the name of an interface")
    return parts


def read_duration(name: str, text: str) -> float:
    """Go's durations, in seconds."""
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"([0-9]*\.?[0-9]+)(ns|us|ms|s|m|h)", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise SettingError(f"{name}: {text!r} is not a duration such as 5s")
    return sum(float(number) * units[unit] for number, unit in parts)


def read_mode(name: str, text: str) -> str:
    """How inbound connections are captured."""
    if text not in ("", "REDIRECT", "TPROXY"):
        raise SettingError(f"{name}: {text!r} is neither REDIRECT nor TPROXY")
    return text or "REDIRECT"


def read_binary(name: str, text: str) -> str:
    """`legacy`, `nft` or nothing."""
    if text not in ("", "legacy", "nft"):
        raise SettingError(f"{name}: {text!r} is neither legacy nor nft")
    return text


def read_loopback(name: str, text: str) -> str:
    """A part of 127.0.0.0/8."""
    try:
        found = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        raise SettingError(f"{name}: {text!r} is not an IPv4 range such as 127.0.0.1/32") from None
    if not found.is_loopback or found.prefixlen < 8 or "/" not in text:
        raise SettingError(f"{name}: {text!r} does not lie in 127.0.0.0/8")
    return text


def read_text(_name: str, text: str) -> str:
    """Whatever was given."""
    return text


def read_ipv6(name: str, text: str) -> bool | None:
    """None leaves it to the machine."""
    return None if text in ("", "auto") else read_bool(name, text)
