"""uvicorn's server, which ends at once: by itself it looks every tenth of a second whether it is to end."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

#: Seconds between two of uvicorn's own looks: it renews the date that answers carry.
TICK = 1.0
#: Seconds between two looks whether what was cut has ended.
LOOK = 0.002


class PromptServer(uvicorn.Server):
    """A server that ends as soon as ``leave`` says so. Whoever is still connected is cut off."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def leave(self) -> None:
        """End; any thread may say so."""
        self.should_exit = True
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._leaving.set)

    async def main_loop(self) -> None:
        """Wait for the end."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            try:
                async with asyncio.timeout(TICK):
                    await self._leaving.wait()
            except TimeoutError:
                continue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, close the connections, and wait until nothing is under way."""
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        deadline = asyncio.get_running_loop().time() + (self.config.timeout_graceful_shutdown or 0)
        while self.server_state.connections or self.server_state.tasks:
            if asyncio.get_running_loop().time() > deadline:
                for task in self.server_state.tasks:
                    task.cancel()
                return
            await asyncio.sleep(LOOK)
