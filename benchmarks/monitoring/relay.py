"""A proxy that does nothing but pass bytes on: what any proxy on asyncio costs at least.

`python -m monitoring.relay UPSTREAM_PORT PORT`
"""

from __future__ import annotations

import asyncio
import sys


class Relay(asyncio.Protocol):
    """One of the two connections of a client."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.other: Relay | None = None
        self.transport: asyncio.Transport | None = None
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have the other one made, if this is the client's."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.other is None:
            self.connecting = asyncio.get_running_loop().create_task(self._connect())
        else:
            transport.write(self.other.waiting)

    async def _connect(self) -> None:
        other = Relay()
        other.other = self
        await asyncio.get_running_loop().create_connection(lambda: other, "127.0.0.1", self.port)
        self.other = other

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is None or self.other.transport is None:
            self.waiting += data
        else:
            self.other.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        """End the other one too."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


async def main(upstream: int, port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(lambda: Relay(upstream), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
