# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's tenant and the clients (service principals) registered in it."""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path

from lab.authority import Authority
from lab.folder import Folder, write_private

OPERATOR = "operator"
EXPIRED = "expired"
# operator may do everything, user what needs no second role, reader can look, nobody has no role;
# see lab.roles.
CLIENTS = (OPERATOR, "user", "reader", "nobody", EXPIRED)


@dataclass(frozen=True)
class Client:
    """A service principal.

    Its secret, its certificate with the key, and its federated token are each in a file of mode
    0600.
    """

    name: str
    client_id: str
    object_id: str
    secret_file: Path
    certificate_file: Path
    federated_token_file: Path

    @property
    def secret_expired(self) -> bool:
        return self.name == EXPIRED


@dataclass(frozen=True)
class Tenant:
    """The one tenant that the lab knows."""

    id: str
    clients: tuple[Client, ...]

    def client(self, client_id: str) -> Client | None:
        return next((client for client in self.clients if client.client_id == client_id), None)


def open_tenant(folder: Folder, authority: Authority) -> Tenant:
    """Return the tenant kept in the lab's folder, made at the first start."""
    path = folder / "tenant.json"
    if not path.exists():
        _make(folder, authority, path)
    kept = json.loads(path.read_text())
    return Tenant(
        kept["tenant"], tuple(_client(folder, name, **ids) for name, ids in kept["clients"].items())
    )


def _client(folder: Folder, name: str, client_id: str, object_id: str) -> Client:
    secret, certificate, federated = (
        folder / "clients" / f"{name}.{kind}" for kind in ("secret", "pem", "federated")
    )
    return Client(name, client_id, object_id, secret, certificate, federated)


def _make(folder: Folder, authority: Authority, path: Path) -> None:
    folder.make("clients")
    ids = {
        name: {"client_id": str(uuid.uuid4()), "object_id": str(uuid.uuid4())} for name in CLIENTS
    }
    for name in CLIENTS:
        client = _client(folder, name, **ids[name])
        write_private(client.secret_file, secrets.token_urlsafe(30))
        authority.client_certificate(name, client.certificate_file)
    write_private(path, json.dumps({"tenant": str(uuid.uuid4()), "clients": ids}, indent=2))
