# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's Entra ID: discovery, and tokens for a client's secret, certificate or federated token.

Source: "OAuth 2.0 client credentials" in Entra's documentation.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid
from datetime import datetime, timezone
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lab.access_tokens import LIFETIME, AccessTokens
from lab.clock import Clock
from lab.faults import Faults, suffer
from lab.federation import CLOCK_SKEW, Issuer, NotFederated, unverified
from lab.hosts import CLOUDS
from lab.journal import Journal
from lab.material import base64url
from lab.proxy import tunnel_of
from lab.refusals import Refusal
from lab.tenant import Client, Tenant

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DEFAULT_SCOPE = "/.default"


class _Failure(Exception):
    """An error of the token endpoint, with Entra's error code and number (AADSTS...)."""

    def __init__(self, status: int, error: str, number: int, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.number, self.message = status, error, number, message


def _not_of_the_lab(what: str) -> _Failure:
    return _Failure(
        403,
        "unauthorized_client",
        90002,
        f"This is the lab: it knows no {what} but its own, and read no secret of yours.",
    )


class Entra:
    """The login hosts of all clouds."""

    def __init__(
        self,
        tenant: Tenant,
        tokens: AccessTokens,
        issuer: Issuer,
        faults: Faults,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._tenant, self._tokens, self._issuer = tenant, tokens, issuer
        self._faults, self._journal, self._clock = faults, journal, clock
        configuration = "/.well-known/openid-configuration"
        self.app = Starlette(
            routes=[
                Route("/common/discovery/instance", self._instance),
                Route("/{tenant}" + configuration, self._configuration),
                Route("/{tenant}/v2.0" + configuration, self._configuration),
                Route("/{tenant}/discovery/v2.0/keys", self._keys),
                Route("/{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
            ]
        )

    async def _instance(self, request: Request) -> Response:
        host = request.url.hostname
        metadata = [
            {
                "preferred_network": cloud.login,
                "preferred_cache": cloud.login,
                "aliases": [cloud.login],
            }
            for cloud in CLOUDS
        ]
        endpoint = f"https://{host}/{self._tenant.id}/.well-known/openid-configuration"
        return JSONResponse(
            {"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": metadata}
        )

    async def _configuration(self, request: Request) -> Response:
        """Answer for any tenant.

        MSAL hides what is wrong here, but shows what the token endpoint says.
        """
        base = f"https://{request.url.hostname}/{request.path_params['tenant']}"
        return JSONResponse(
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def _keys(self, request: Request) -> Response:
        return JSONResponse(self._tokens.key_set)

    async def _token(self, request: Request) -> Response:
        started = time.monotonic()

        async def work() -> Response:
            return await self._issue(request)

        fault = self._faults.take("token")
        try:
            response = await suffer(fault, work, tunnel_of(request.scope).drop)
        except Refusal as refusal:
            body = {"error": "temporarily_unavailable", "error_description": str(refusal)}
            response = JSONResponse(body, refusal.status)
        except _Failure as failure:
            response = _error(failure)
        response.headers["Date"] = formatdate(self._clock.now(), usegmt=True)
        self._journal.record(
            "token", request, response.status_code, started, fault=fault.kind if fault else None
        )
        return response

    async def _issue(self, request: Request) -> Response:
        if request.path_params["tenant"] != self._tenant.id:
            raise _not_of_the_lab("tenant")
        form = dict(parse_qsl((await request.body()).decode()))
        client = self._tenant.client(form.get("client_id", ""))
        if client is None:
            raise _not_of_the_lab("client")
        if form.get("grant_type") != "client_credentials":
            raise _Failure(
                400,
                "unsupported_grant_type",
                70003,
                "The lab knows the grant type client_credentials only.",
            )
        if form.get("client_assertion_type") == _ASSERTION:
            self._check_assertion(client, form.get("client_assertion", ""), str(request.url))
        else:
            _check_secret(client, form.get("client_secret", ""))
        scope = next(iter(form.get("scope", "").split()), "")
        if not scope.endswith(_DEFAULT_SCOPE):
            raise _Failure(
                400,
                "invalid_scope",
                70011,
                f"The provided value for the input parameter 'scope' is not valid: {scope}",
            )
        token = self._tokens.issue(client, scope[: -len(_DEFAULT_SCOPE)])
        return JSONResponse(
            {
                "token_type": "Bearer",
                "expires_in": LIFETIME,
                "ext_expires_in": LIFETIME,
                "access_token": token,
            }
        )

    def _check_assertion(self, client: Client, assertion: str, audience: str) -> None:
        """Verify a client assertion (RFC 7523).

        An assertion that a client made itself has the client as its issuer.
        """
        if unverified(assertion).get("iss") == client.client_id:
            _check_certificate(client, assertion, audience)
            return
        try:
            self._issuer.check(client, assertion)
        except NotFederated as refusal:
            raise _Failure(401, "invalid_client", refusal.number, refusal.message) from None


def _check_certificate(client: Client, assertion: str, audience: str) -> None:
    """Verify an assertion with the registered certificate."""
    invalid = _Failure(
        401, "invalid_client", 700027, "The assertion is not valid for this client's certificate."
    )
    certificate = x509.load_pem_x509_certificate(client.certificate_file.read_bytes())
    der = certificate.public_bytes(Encoding.DER)
    digests = {"x5t": hashlib.sha1(der), "x5t#S256": hashlib.sha256(der)}
    thumbprints = {name: base64url(digest.digest()) for name, digest in digests.items()}
    public = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        token = jwt.decode(assertion, RSAKey.import_key(public), algorithms=["RS256", "PS256"])
    except (JoseError, ValueError):
        raise invalid from None
    # MSAL pads the thumbprints, RFC 7515 does not.
    named = {
        name: str(value).rstrip("=") for name, value in token.header.items() if name in thumbprints
    }
    claims: dict[str, Any] = token.claims
    callers = {claims.get("iss"), claims.get("sub")}
    current = claims.get("nbf", 0) - CLOCK_SKEW <= time.time() < claims.get("exp", 0)
    if not named or not named.items() <= thumbprints.items() or not current:
        raise invalid
    if callers != {client.client_id} or claims.get("aud") != audience:
        raise invalid


def _check_secret(client: Client, secret: str) -> None:
    if not hmac.compare_digest(client.secret_file.read_text(), secret):
        raise _Failure(
            401,
            "invalid_client",
            7000215,
            "Invalid client secret provided. "
            "Ensure the secret being sent in the request is the client secret value, "
            f"not the client secret ID, for a secret added to app '{client.client_id}'.",
        )
    if client.secret_expired:
        raise _Failure(
            401,
            "invalid_client",
            7000222,
            f"The provided client secret keys for app '{client.client_id}' are expired. Visit the "
            "Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or "
            "consider using certificate credentials for added security: https://aka.ms/certCreds.",
        )


def _error(failure: _Failure) -> Response:
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    timestamp = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
    description = (
        f"AADSTS{failure.number}: {failure.message} "
        f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}"
    )
    return JSONResponse(
        {
            "error": failure.error,
            "error_description": description,
            "error_codes": [failure.number],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
        },
        failure.status,
    )
