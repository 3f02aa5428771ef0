# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens: signed by the lab's Entra, checked by the lab's vaults."""

from __future__ import annotations

import time
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from lab.folder import Folder, write_private
from lab.tenant import Client, Tenant

LIFETIME = 3599  # seconds, as Entra's
_ALGORITHMS = ["RS256"]


class Unauthorized(Exception):
    """A token that is not good for this resource; the message is what the vault says."""


class AccessTokens:
    """Makes and checks tokens; their times are real, not the lab's clock.

    The key is kept over a restart of the lab.
    """

    def __init__(self, folder: Folder, tenant: Tenant) -> None:
        self._tenant = tenant
        path = folder / "entra.pem"
        if not path.exists():
            write_private(path, RSAKey.generate_key(2048).as_pem(private=True))
        self._key = RSAKey.import_key(path.read_bytes(), {"use": "sig", "alg": "RS256"})
        self._key.ensure_kid()

    @property
    def key_set(self) -> dict[str, Any]:
        """The public key, as a JWK set."""
        return {"keys": [self._key.as_dict(private=False)]}

    def issue(self, client: Client, resource: str) -> str:
        """Return a token for a resource that is good for `LIFETIME` seconds."""
        now = int(time.time())
        claims = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{self._tenant.id}/",
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME,
            "appid": client.client_id,
            "oid": client.object_id,
            "tid": self._tenant.id,
            "ver": "1.0",
        }
        return jwt.encode({"alg": "RS256", "typ": "JWT", "kid": self._key.kid}, claims, self._key)

    def check(self, token: str, resource: str) -> Client:
        """Return whose token this is: signed here, for this resource, not expired."""
        try:
            claims = jwt.decode(token, self._key, algorithms=_ALGORITHMS).claims
        except (JoseError, ValueError):
            raise Unauthorized(
                "AKV10046: Unable to resolve the key used for signature validation."
            ) from None
        if claims.get("aud") != resource:
            raise Unauthorized(
                f"AKV10022: Invalid audience. Expected {resource}, found: {claims.get('aud')}."
            )
        if claims.get("exp", 0) <= time.time():
            raise Unauthorized(
                "Error validating token: IDX10223: Lifetime validation failed. "
                "The token is expired."
            )
        client = self._tenant.client(str(claims.get("appid")))
        if client is None:
            raise Unauthorized("AKV10032: Invalid issuer.")
        return client
