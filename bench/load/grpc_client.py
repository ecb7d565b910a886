"""gRPC load by grpcio: unary calls of 100 bytes with a deadline and two metadata, in a closed loop.

Prints one JSON object as `bench.load.http2_client` does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass

import grpc
import uvloop

from bench.load.grpc_server import SERVICE

_MESSAGE = b"m" * 100
_METADATA = (("x-tenant", "bench"), ("authorization", "Bearer 0123456789abcdef"))


@dataclass(slots=True)
class _Tally:
    stop_at: float
    requests: int = 0
    errors: int = 0


async def _caller(channel: grpc.aio.Channel, tally: _Tally) -> None:
    call = channel.unary_unary(f"/{SERVICE}/Unary")
    while time.monotonic() < tally.stop_at:
        try:
            reply = await call(_MESSAGE, timeout=10, metadata=_METADATA)
        except grpc.aio.AioRpcError:
            tally.errors += 1
            continue
        tally.requests += 1
        tally.errors += reply != _MESSAGE


async def _run(port: int, connections: int, streams: int, duration: float) -> dict[str, float]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(connections)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    started = time.monotonic()
    tally = _Tally(started + duration)
    await asyncio.gather(*(_caller(channel, tally) for channel in channels for _ in range(streams)))
    seconds = time.monotonic() - started
    for channel in channels:
        await channel.close()
    return {
        "requests": tally.requests,
        "errors": tally.errors,
        "seconds": seconds,
        "mean_ms": seconds * 1000 * connections * streams / max(1, tally.requests),
    }


def main() -> None:
    """Run and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.grpc_client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--streams", type=int, default=4, help="calls under way per connection")
    parser.add_argument("--duration", type=float, default=4.0, help="seconds")
    given = parser.parse_args()
    print(json.dumps(uvloop.run(_run(given.port, given.connections, given.streams, given.duration))))


if __name__ == "__main__":
    main()
