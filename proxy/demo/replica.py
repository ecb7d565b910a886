"""One replica of a demo service: answers every request with a line that says who it is.

Run as `python -m proxy.demo.replica --service 1 --replica 2 --port 8013`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
from typing import Final, cast

import h11

_SERVER_NAME: Final = "outrider-demo"


class ReplicaProtocol(asyncio.Protocol):
    """One connection; requests are answered in turn, bodies are read and dropped."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._http = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the answers."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._http.receive_data(data)
        self._advance()

    def eof_received(self) -> None:
        """The peer has closed; asyncio closes this side too."""

    def _advance(self) -> None:
        transport = self._transport
        head = False
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                transport.close()
                return
            if isinstance(event, h11.Request):
                head = event.method == b"HEAD"
            elif isinstance(event, h11.EndOfMessage):
                transport.write(self._answer(head))
                if self._http.our_state is not h11.DONE:
                    transport.close()
                    return
                self._http.start_next_cycle()
            elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return

    def _answer(self, head: bool) -> bytes:
        fields = [
            ("content-type", "text/plain"),
            ("content-length", str(len(self._text))),
            ("server", _SERVER_NAME),
        ]
        parts = [self._http.send(h11.Response(status_code=200, headers=fields))]
        if not head:
            parts.append(self._http.send(h11.Data(data=self._text)))
        parts.append(self._http.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)


def greeting(service: int, replica: int) -> bytes:
    """The line that a replica answers, after that of Envoy's own demo."""
    return (
        f"Hello from behind Outrider (service {service})! hostname {socket.gethostname()} "
        f"replica {replica} pid {os.getpid()}\n"
    ).encode()


async def serve(port: int, text: bytes) -> None:
    """Answer on 127.0.0.1:`port` until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(lambda: ReplicaProtocol(text), "127.0.0.1", port)
    await stop.wait()
    server.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m proxy.demo.replica", description=__doc__)
    parser.add_argument("--service", type=int, required=True)
    parser.add_argument("--replica", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, greeting(arguments.service, arguments.replica)))


if __name__ == "__main__":
    main()
