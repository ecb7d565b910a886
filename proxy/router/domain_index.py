"""Finds what belongs to an authority among the domains of a route table."""

from __future__ import annotations

from typing import Any


class DomainIndex:
    """Domain → anything. Domains and hosts are in lower case; `default` is what belongs to `*`."""

    __slots__ = ("_lengths", "default", "exact", "prefixes", "suffixes")

    def __init__(self) -> None:
        self.exact: dict[str, Any] = {}
        #: By length, for domains that begin or end with a `*`.
        self.suffixes: dict[int, dict[str, Any]] = {}
        self.prefixes: dict[int, dict[str, Any]] = {}
        self.default: Any = None
        self._lengths: tuple[list[int], list[int]] = ([], [])

    def copy(self) -> DomainIndex:
        """Another one with the same contents."""
        other = DomainIndex()
        other.exact = self.exact.copy()
        other.suffixes = {length: domains.copy() for length, domains in self.suffixes.items()}
        other.prefixes = {length: domains.copy() for length, domains in self.prefixes.items()}
        other.default = self.default
        other._lengths = self._lengths
        return other

    @property
    def any(self) -> bool:
        """Whether there is any domain beside `*`."""
        return bool(self.exact or self.suffixes or self.prefixes)

    def add(self, domain: str, what: Any) -> bool:
        """Index a domain; tells whether it was there already, and then keeps what was."""
        if domain == "*":
            taken = self.default is not None
            if not taken:
                self.default = what
            return taken
        domains, key = self._place(domain)
        taken = key in domains
        if not taken:
            domains[key] = what
        return taken

    def remove(self, domain: str) -> None:
        """Forget a domain."""
        if domain == "*":
            self.default = None
            return
        domains, key = self._place(domain)
        domains.pop(key, None)
        if not domains:
            for table in (self.suffixes, self.prefixes):
                for length in [length for length, entries in table.items() if not entries]:
                    del table[length]
            self._sort()

    def find(self, host: str) -> Any:
        """Exact domains first, then the longest suffix, the longest prefix, and `*`; None if nothing fits."""
        found = self.exact.get(host)
        if found is not None:
            return found
        size = len(host)
        suffixes, prefixes = self._lengths
        for length in suffixes:
            if length < size:
                found = self.suffixes[length].get(host[size - length :])
                if found is not None:
                    return found
        for length in prefixes:
            if length < size:
                found = self.prefixes[length].get(host[:length])
                if found is not None:
                    return found
        return self.default

    def _place(self, domain: str) -> tuple[dict[str, Any], str]:
        """The domains that one belongs to, and its key there."""
        if domain[:1] == "*":
            table, key = self.suffixes, domain[1:]
        elif domain[-1:] == "*":
            table, key = self.prefixes, domain[:-1]
        else:
            # A star in the middle has no meaning: such a domain is compared as it stands.
            return self.exact, domain
        domains = table.get(len(key))
        if domains is None:
            domains = table[len(key)] = {}
            self._sort()
        return domains, key

    def _sort(self) -> None:
        self._lengths = (sorted(self.suffixes, reverse=True), sorted(self.prefixes, reverse=True))
