"""A scripted DNS server on a UDP port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Self

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

# Record type → addresses; "servfail"; "silence"; "silence A", with an empty answer for other types.
# A name that is not there does not exist.
Zone = dict[str, Mapping[str, list[str]] | str]


class DnsServer:
    """Answers from `zone`, which a test may change at any time. Use as a context manager."""

    def __init__(self, zone: Zone, ttl: int = 1) -> None:
        self.zone = zone
        self.ttl = ttl
        self.asked: list[tuple[str, str]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="dns", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while not self._closed:
            data, peer = self._socket.recvfrom(4096)
            try:
                query = dns.message.from_wire(data)
            except dns.exception.DNSException:
                continue
            reply = self._reply(query)
            if reply is not None:
                self._socket.sendto(reply, peer)

    def _reply(self, query: dns.message.Message) -> bytes | None:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        found = self.zone.get(name)
        response = dns.message.make_response(query)
        if found in ("silence", f"silence {kind}"):
            return None
        if found is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif found == "servfail":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif not isinstance(found, str) and found.get(kind):
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", kind, *found[kind]))
        return response.to_wire()
