# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTPS proxy: it opens tunnels to the lab's own hosts, and to nothing else."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from lab.hosts import CLOUDS, PREFIX, Host, find_host

CONTROL = "/control"
_TUNNEL = "lab.tunnel"
_CHUNK = 65536  # bytes
_REFUSAL = """\
This is the lab of Keyferry: it answers for the login hosts and for vaults named {prefix}*, \
not for {target}.
To leave the lab: eval "$(python -m lab env --unset)"
"""


@dataclass(frozen=True)
class Tunnel:
    """A client's connection: the host it asked for, and how to drop it unanswered.

    The host is None for the control endpoint.
    """

    host: Host | None
    drop: Callable[[], None]


def tunnel_of(scope: MutableMapping[str, Any]) -> Tunnel:
    """The tunnel through which a request came."""
    tunnel = scope[_TUNNEL]
    assert isinstance(tunnel, Tunnel)
    return tunnel


class Proxy:
    """Passes bytes between clients and the lab's TLS server.

    The server knows a tunnel by the port of its inner end.
    """

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self._port, self._trust = port, trust
        self._tunnels: dict[int, Tunnel] = {}

    def enter(self, scope: MutableMapping[str, Any]) -> bool:
        """Mark a request with its tunnel.

        Returns False if the request came through no tunnel, or asks for another host.
        """
        tunnel = self._tunnels.get(scope["client"][1])
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        scope[_TUNNEL] = tunnel
        return tunnel is not None and (
            tunnel.host is None or host in (tunnel.host.name, f"{tunnel.host.name}:443")
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the other side went away
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, *_rest = [*head.split(b"\r\n")[0].decode("latin-1").split(" "), ""]
        name, _colon, port = target.rpartition(":")
        host = find_host(name) if method == "CONNECT" and port == "443" else None
        if host:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        elif target.startswith(CONTROL):
            # The control endpoint is plain HTTP outside; inside it takes the same way as all.
            inner_reader, inner_writer = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=self._trust, server_hostname=CLOUDS[0].login
            )
            inner_writer.write(head)
        else:
            body = _REFUSAL.format(prefix=PREFIX, target=target).encode()
            writer.write(
                b"HTTP/1.1 403 This is the lab\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Connection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            await writer.drain()
            return
        inner_port = inner_writer.get_extra_info("sockname")[1]
        self._tunnels[inner_port] = Tunnel(host, writer.transport.abort)
        acknowledge = functools.partial(_acknowledge, writer.get_extra_info("socket"))
        pumps = [
            asyncio.create_task(_pump(reader, inner_writer, acknowledge)),
            asyncio.create_task(_pump(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            inner_writer.close()
            del self._tunnels[inner_port]


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    acknowledge: Callable[[], None] = lambda: None,
) -> None:
    while data := await reader.read(_CHUNK):
        acknowledge()
        writer.write(data)
        await writer.drain()


def _acknowledge(client: socket.socket) -> None:
    """Tell a client at once what arrived.

    Behind a proxy urllib3 waits for that before it sends a body (40 ms).
    """
    if hasattr(socket, "TCP_QUICKACK"):  # Linux
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
