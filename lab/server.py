# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running lab: proxy, TLS, Entra, vaults and control in one process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lab.access_tokens import AccessTokens
from lab.adapter import Adapters
from lab.authority import Authority
from lab.clock import Clock
from lab.control import control_app
from lab.entra import Entra
from lab.federation import Issuer
from lab.folder import Folder
from lab.hosts import Kind
from lab.proxy import Proxy, tunnel_of
from lab.service import Options, Vaults
from lab.store import Store
from lab.tenant import Tenant
from lab.vault import Shared

_KEEP_ALIVE = 3600  # seconds: an idle connection that the lab closed would look like a fault


@dataclass(frozen=True)
class Setup:
    """What a lab serves with: where its files are, whom it trusts, and how it was started."""

    folder: Folder
    authority: Authority
    tenant: Tenant
    issuer: Issuer
    control_key: str
    options: Options


async def serve(listener: socket.socket, setup: Setup) -> None:
    """Serve on a listening socket until SIGTERM or SIGINT."""
    folder, tenant = setup.folder, setup.tenant
    _log_to(folder.log)
    store, clock, tokens = Store(folder / "vaults.sqlite"), Clock(), AccessTokens(folder, tenant)
    adapters = Adapters(folder, clock)
    shared = Shared(store, clock, adapters, setup.options.tolerate_trailing_zeros)
    vaults = Vaults(shared, tenant, tokens, setup.options)
    entra = Entra(tenant, tokens, setup.issuer, vaults.faults, vaults.journal, clock)
    apps: dict[Kind | None, ASGIApp] = {
        None: control_app(setup.control_key, vaults, clock),
        Kind.LOGIN: entra.app,
        Kind.VAULT: vaults.app,
        Kind.MANAGED_HSM: vaults.app,
    }
    inner = listen(0)
    proxy = Proxy(inner.getsockname()[1], ssl.create_default_context(cafile=folder.ca))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if proxy.enter(scope):
            host = tunnel_of(scope).host
            await apps[host.kind if host else None](scope, receive, send)
        else:
            await PlainTextResponse("The Host header is not the tunnel's host.", 421)(
                scope, receive, send
            )

    configuration: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False}
    # Vaults and Entra have the Date of the lab's clock, a Managed HSM has none.
    configuration |= {"date_header": False, "server_header": False}
    configuration |= {"timeout_keep_alive": _KEEP_ALIVE, "timeout_graceful_shutdown": 1}
    certificate = setup.authority.server_certificate(folder / "server.pem")
    server = uvicorn.Server(uvicorn.Config(app, ssl_certfile=certificate, **configuration))
    outer = await asyncio.start_server(proxy.serve, sock=listener)
    # uvicorn handles it, and raises it once more when it is done.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        await server.serve(sockets=[inner])
    finally:
        outer.close()
        store.close()


def listen(port: int) -> socket.socket:
    """Listen on a port of this machine alone, 0 for any. Raises OSError where the port is taken."""
    # asyncio sets TCP_NODELAY only where the protocol is named; without it answers wait 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def _log_to(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(message)s")
