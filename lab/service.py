# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vaults over HTTP: who may ask for what, what an answer looks like, and faults on the way."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lab import rules
from lab.access_tokens import AccessTokens, Unauthorized
from lab.faults import Faults, suffer
from lab.headers import Headers, managed_hsm_headers, vault_headers
from lab.hosts import Host, Kind
from lab.journal import Journal, request_id
from lab.limits import Limits, allowance
from lab.proxy import tunnel_of
from lab.refusals import Refusal, bad_parameter, firewall
from lab.roles import DEFAULT_ROLES, allowed, by_access_policy, missing_role
from lab.store import Properties
from lab.tenant import Client, Tenant
from lab.vault import Body, Call, Shared, Vault


@dataclass(frozen=True)
class _Route:
    """An operation: how it is asked for, and what does it."""

    operation: str
    method: str
    path: re.Pattern[str]
    work: Callable[[Vault, Call], Awaitable[Body | None]]


def _route(
    operation: str, method: str, path: str, work: Callable[[Vault, Call], Awaitable[Body | None]]
) -> _Route:
    return _Route(operation, method, re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)), work)


_KEY, _VERSION, _DELETED = "/keys/{name}", "/keys/{name}/{version}", "/deletedkeys/{name}"
_ROUTES = (
    _route("create", "POST", f"{_KEY}/create", Vault.create),
    _route("import", "PUT", _KEY, Vault.import_key),
    _route("list", "GET", "/keys", Vault.list_keys),
    _route("versions", "GET", f"{_KEY}/versions", Vault.list_versions),
    _route("get_policy", "GET", f"{_KEY}/rotationpolicy", Vault.get_policy),
    _route("set_policy", "PUT", f"{_KEY}/rotationpolicy", Vault.set_policy),
    _route("rotate", "POST", f"{_KEY}/rotate", Vault.rotate),
    _route("attestation", "GET", f"{_KEY}/(?:{{version}})?/attestation", Vault.attest),
    _route("get", "GET", f"{_KEY}(?:/{{version}})?", Vault.get),
    _route("update", "PATCH", f"{_KEY}(?:/{{version}})?", Vault.update),
    _route("delete", "DELETE", _KEY, Vault.delete),
    _route("list_deleted", "GET", "/deletedkeys", Vault.list_deleted),
    _route("get_deleted", "GET", _DELETED, Vault.get_deleted),
    _route("recover", "POST", f"{_DELETED}/recover", Vault.recover),
    _route("purge", "DELETE", _DELETED, Vault.purge),
    *(
        _route(operation, "POST", f"{_VERSION}/{operation.lower()}", Vault.use)
        for operation in ("sign", "verify", "encrypt", "decrypt", "wrapKey", "unwrapKey")
    ),
)


@dataclass(frozen=True)
class Options:
    """How the lab was started.

    `delete_delay` of vaults in seconds; `rate_factor` multiplies every documented rate.
    """

    tolerate_trailing_zeros: bool = False
    delete_delay: float = 1.0
    rate_factor: float = 1.0


class Vaults:
    """All vaults of the lab: a vault exists as soon as it is named."""

    def __init__(
        self, shared: Shared, tenant: Tenant, tokens: AccessTokens, options: Options
    ) -> None:
        self._shared, self._tenant, self._tokens, self._options = shared, tenant, tokens, options
        self._store, self._clock = shared.store, shared.clock
        self._limits = Limits(options.rate_factor)
        self.faults, self.journal = Faults(), Journal()

    def properties(self, host: Host) -> Properties:
        """The properties of a vault; before they are set, a new vault's.

        Recorded: in a Managed HSM a deletion shows at once.
        """
        delay = self._options.delete_delay if host.kind is Kind.VAULT else 0.0
        return self._store.properties(host.name) or Properties(delete_delay=delay)

    def set_properties(self, host: Host, properties: Properties) -> None:
        self._store.set_properties(host.name, properties)

    def vault(self, host: Host) -> Vault:
        return Vault(host, self.properties(host), self._shared)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to a vault (ASGI)."""
        request, tunnel = Request(scope, receive), tunnel_of(scope)
        assert tunnel.host
        started = time.monotonic()
        try:
            client = self._authenticate(request, tunnel.host)
        except Unauthorized as unauthorized:
            response = self._challenge(request, tunnel.host, str(unauthorized), started)
            self.journal.log(request, response.status_code, started)
        else:
            response = await self._carry_out(request, tunnel.host, client, tunnel.drop, started)
        await response(scope, receive, send)

    def _authenticate(self, request: Request, host: Host) -> Client:
        scheme, _space, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("AKV10000: Request is missing a Bearer, PoP, or MTLS_POP token.")
        return self._tokens.check(token, host.resource)

    def _challenge(self, request: Request, host: Host, message: str, started: float) -> Response:
        """401 (recorded): it says where to get a token and for what.

        Managed HSM's has no body, but to a GET that is the text OK.
        """
        if host.kind is Kind.VAULT:
            content = _json({"error": {"code": "Unauthorized", "message": message}})
        else:
            content = b"OK" if request.method == "GET" else b""
        response = Response(content, 401, self._headers(request, host, 401, started))
        authorization = f"https://{host.cloud.login}/{self._tenant.id}"
        response.headers["WWW-Authenticate"] = (
            f'Bearer authorization="{authorization}", resource="{host.resource}"'
        )
        return response

    async def _carry_out(
        self, request: Request, host: Host, client: Client, drop: Callable[[], None], started: float
    ) -> Response:
        status, body, fault = 200, None, None
        operation, name = "unknown", ""
        try:
            route, parameters = _find(request)
            operation, name = route.operation, parameters.get("name", "")
            vault = self.vault(host)
            latest = vault.properties.latest_api_version
            rules.api_version(request.query_params.get("api-version"), latest)
            call = await _call(request, route, parameters)
            self._admit(vault, client, call)
            fault = self.faults.take(operation, host.name, name)
            body = await suffer(fault, lambda: _work(route, vault, call), drop)
            status = 200 if body is not None else 204
        except Refusal as refusal:
            status, body = refusal.status, _error(request, host, refusal)
        self.journal.record(
            operation, request, status, started, name, fault.kind if fault else None
        )
        # Recorded: a Managed HSM's members are in alphabetical order.
        content = b"" if body is None else _json(body, in_order=host.kind is Kind.MANAGED_HSM)
        assignment = "" if status in (401, 403) else self._assignment(host, client)
        headers = self._headers(request, host, status, started, assignment)
        return Response(content, status, headers)

    def _admit(self, vault: Vault, client: Client, call: Call) -> None:
        """Let a call pass the firewall, the roles and the rate limits, in this order."""
        host, properties = vault.host, vault.properties
        if properties.firewall:
            raise firewall()
        roles = properties.roles.get(
            client.name, DEFAULT_ROLES.get(client.name, {}).get(host.kind, [])
        )
        if not allowed(host.kind, roles, call.operation):
            caller = f"appid={client.client_id};oid={client.object_id};iss=https://sts.windows.net/{self._tenant.id}/"
            raise missing_role(host, properties.roles, call.operation, call.name, caller)
        kty, size = _key_class(vault, call)
        self._limits.admit(
            host.name, allowance(host.kind, call.operation, kty, size), self._clock.now()
        )

    def _assignment(self, host: Host, client: Client) -> str:
        """The id of the role assignment by which a client came in; empty for an access policy."""
        policy = by_access_policy(self.properties(host).roles)
        return "" if policy else client.object_id.replace("-", "")

    def _headers(
        self, request: Request, host: Host, status: int, started: float, assignment: str = ""
    ) -> Headers:
        if host.kind is Kind.VAULT:
            own_id = request.headers.get("x-ms-client-request-id", "")
            headers = vault_headers(status, self._clock.now(), own_id, assignment)
        else:
            headers = managed_hsm_headers(request.method, status, time.monotonic() - started)
        return headers | {"x-ms-request-id": request_id(request)}


def _json(body: Body, in_order: bool = False) -> bytes:
    return json.dumps(body, separators=(",", ":"), sort_keys=in_order).encode()


def _error(request: Request, host: Host, refusal: Refusal) -> Body:
    """The body of a refusal.

    A Managed HSM's text ends with the request's id (recorded of 404, published of AccessDenied).
    """
    error = dict(refusal.error)
    if host.kind is Kind.MANAGED_HSM:
        error["message"] += f" (Activity ID: {request_id(request)})"
    return {"error": error}


def _find(request: Request) -> tuple[_Route, dict[str, str]]:
    """Return the operation that a request asks for, and what its path names."""
    path = request.url.path.rstrip("/")  # the SDK asks for /keys/NAME/
    for route in _ROUTES:
        if route.method == request.method and (match := route.path.fullmatch(path)):
            return route, {name: value for name, value in match.groupdict().items() if value}
    raise Refusal(404, "NotFound", f"The lab does not model {request.method} {path}.")


async def _call(request: Request, route: _Route, parameters: dict[str, str]) -> Call:
    query = dict(request.query_params)
    if "name" in parameters:
        rules.key_name(parameters["name"])
    content = await request.body()
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise bad_parameter("The request body is no JSON object.")
    return Call(route.operation, body=body, query=query, **parameters)


async def _work(route: _Route, vault: Vault, call: Call) -> Body | None:
    """Do what is asked, after what time alone has done."""
    await vault.rotate_due(call.name)
    return await route.work(vault, call)


def _key_class(vault: Vault, call: Call) -> tuple[str, int]:
    """Return type and size in bits of the key of a call.

    Of a key to be made the size does not matter.
    """
    if call.operation in ("create", "import"):
        asked = call.body.get("key", call.body)
        return (str(asked.get("kty")) if isinstance(asked, dict) else "", 0)
    return vault.key_class(call.name, call.version)
