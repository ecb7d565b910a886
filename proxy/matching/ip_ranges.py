"""`xds.type.matcher.v3.IPMatcher`: the narrowest range that holds an address decides.

Source: xds/type/matcher/v3/ip.proto. If what a range leads to finds nothing, the next wider range is asked; a range
that is `exclusive` is asked only where it is the narrowest.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeVar

from proxy.config.context import CompileContext

Data = TypeVar("Data")
Action = TypeVar("Action")

_BITS = {4: 32, 6: 128}


def compile_ip_matcher(
    message: Any,
    path: str,
    ctx: CompileContext,
    read: Callable[[Data], str | None],
    on_match: Callable[[Any, str], Callable[[Data], Action | None]],
) -> Callable[[Data], Action | None]:
    """Compile an `IPMatcher` on the textual addresses that `read` gives; problems go to `ctx`."""
    # (version, prefix length) -> network number -> whether it is exclusive, and what it leads to
    tables: dict[tuple[int, int], dict[int, list[tuple[bool, Callable[[Data], Action | None]]]]] = {}
    for i, one in enumerate(message.range_matchers):
        at = f"{path}.range_matchers[{i}]"
        leads_to = on_match(one.on_match, f"{at}.on_match")
        for j, cidr in enumerate(one.ranges):
            try:
                network = ipaddress.ip_network(f"{cidr.address_prefix}/{cidr.prefix_len.value}", strict=False)
            except ValueError:
                ctx.problem(
                    f"{at}.ranges[{j}]", f"malformed range: {cidr.address_prefix}/{cidr.prefix_len.value}"
                )
                continue
            table = tables.setdefault((network.version, network.prefixlen), {})
            number = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            table.setdefault(number, []).append((one.exclusive, leads_to))
    narrow_first = sorted(tables.items(), key=lambda item: -item[0][1])

    def find(data: Data) -> Action | None:
        text = read(data)
        if text is None:
            return None
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return None
        number = int(address)
        narrowest = True
        for (version, length), table in narrow_first:
            if version != address.version:
                continue
            for exclusive, leads_to in table.get(number >> (_BITS[version] - length), ()):
                if exclusive and not narrowest:
                    continue
                narrowest = False
                found = leads_to(data)
                if found is not None:
                    return found
        return None

    return find
