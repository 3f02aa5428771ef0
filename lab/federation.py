# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workload identity: the lab's own OIDC issuer, and what Entra says to its tokens and to others.

Source: "Workload identity federation" in Entra's documentation. Of the errors only those are
documented or recorded that say so.
"""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from lab.folder import Folder, write_private
from lab.material import from_base64
from lab.tenant import Client, Tenant

AUDIENCE = "api://AzureADTokenExchange"
LIFETIME = 86400  # seconds, as long as a Kubernetes token at most
CLOCK_SKEW = 300  # seconds
_ALGORITHM = "RS256"
_LEARN = "https://learn.microsoft.com/entra"


class NotFederated(Exception):
    """A token that is good for no federated credential, with Entra's number (AADSTS) and text."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number, self.message = number, message


class Issuer:
    """Signs tokens as a cluster or a CI system does, and checks them as Entra does.

    The key is kept over a restart.
    """

    def __init__(self, folder: Folder, tenant: Tenant) -> None:
        self._tenant = tenant
        path = folder / "issuer.pem"
        if not path.exists():
            write_private(path, RSAKey.generate_key(2048).as_pem(private=True))
        self._key = RSAKey.import_key(path.read_bytes(), {"use": "sig", "alg": _ALGORITHM})
        self._key.ensure_kid()

    @property
    def name(self) -> str:
        """The `iss` of the tokens."""
        return f"https://oidc.keyferry-lab.example/{self._tenant.id}"

    def write_tokens(self) -> None:
        """Write each client's token into its file."""
        now = int(time.time())
        for client in self._tenant.clients:
            claims = {
                "iss": self.name,
                "sub": subject(client),
                "aud": AUDIENCE,
                "iat": now,
                "nbf": now,
                "exp": now + LIFETIME,
            }
            token = jwt.encode(
                {"alg": _ALGORITHM, "typ": "JWT", "kid": self._key.kid}, claims, self._key
            )
            write_private(client.federated_token_file, token)

    def check(self, client: Client, token: str) -> None:
        """Refuse a token that is not for this client. In which order Entra looks is not known."""
        claims = unverified(token)
        audiences = claims.get("aud")
        if claims.get("iss") != self.name:
            raise _no_record(700211, "issuer", claims.get("iss"))  # recorded
        if claims.get("sub") != subject(client):
            raise _no_record(700213, "subject", claims.get("sub"))  # recorded
        if AUDIENCE not in (audiences if isinstance(audiences, list) else [audiences]):
            raise _no_record(700212, "audience", audiences)  # recorded
        self._check_signature(token)
        begins, ends = claims.get("nbf", 0), claims.get("exp", 0)
        if not begins - CLOCK_SKEW <= time.time() < ends:
            # Recorded, with a link to the page on certificates.
            raise NotFederated(
                700024,
                "Client assertion is not within its valid time range. "
                f"Current time: {_moment(time.time())}, assertion valid from {_moment(begins)}, "
                f"expiry time of assertion {_moment(ends)}. "
                f"Review the documentation at {_LEARN}/identity-platform/certificate-credentials .",
            )

    def _check_signature(self, token: str) -> None:
        try:
            jwt.decode(token, self._key, algorithms=[_ALGORITHM])
        except (JoseError, ValueError):
            # Recorded for certificates alone; for a federated token by a key that its issuer does
            # not show, 7000272 is.
            raise NotFederated(700027, "Client assertion contains an invalid signature.") from None


def subject(client: Client) -> str:
    """The `sub` of a client's tokens, in the form of a Kubernetes service account."""
    return f"system:serviceaccount:keyferry-lab:{client.name}"


def unverified(token: str) -> dict[str, Any]:
    """Return what a token says of itself; nothing of what is no token."""
    try:
        claims = json.loads(from_base64(token.split(".")[1]))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _no_record(number: int, what: str, found: object) -> NotFederated:
    return NotFederated(
        number,
        f"No matching federated identity record found for presented assertion {what} '{found}'. "
        "Check your federated identity credential Subject, Audience and Issuer against the "
        f"presented assertion. {_LEARN}/workload-id/workload-identity-federation",
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
