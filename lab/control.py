# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control endpoint: what a test or a demo can change of the lab, and see of it."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lab import rules
from lab.clock import Clock
from lab.faults import KINDS, Fault
from lab.hosts import Host, Kind, find_host
from lab.proxy import CONTROL
from lab.refusals import Refusal
from lab.roles import known_roles
from lab.service import Vaults
from lab.store import Properties
from lab.tenant import CLIENTS
from lab.vault import Call

_Endpoint = Callable[[Request], Awaitable[Response]]
_RETENTION = range(7, rules.FULL_RETENTION + 1)  # days
_VALUES = {"hsm_platform": ("1", "2"), "latest_api_version": rules.API_VERSIONS}


def control_app(key: str, vaults: Vaults, clock: Clock) -> Starlette:
    """Return the endpoint (ASGI); each request must bring the lab's control key as bearer token."""

    async def show_faults(request: Request) -> Response:
        return JSONResponse([asdict(fault) for fault in vaults.faults.pending])

    async def add_fault(request: Request) -> Response:
        fault = _fault(await request.json())
        vaults.faults.pending.append(fault)
        return JSONResponse(asdict(fault))

    async def clear_faults(request: Request) -> Response:
        vaults.faults.pending.clear()
        return Response(status_code=204)

    async def show_vault(request: Request) -> Response:
        return JSONResponse(asdict(vaults.properties(_host(request))))

    async def change_vault(request: Request) -> Response:
        host = _host(request)
        properties = _changed(host.kind, vaults.properties(host), await request.json())
        vaults.set_properties(host, properties)
        return JSONResponse(asdict(properties))

    async def set_clock(request: Request) -> Response:
        clock.offset = float((await request.json())["offset"])
        return JSONResponse({"offset": clock.offset})

    async def show_clock(request: Request) -> Response:
        return JSONResponse({"offset": clock.offset})

    async def show_requests(request: Request) -> Response:
        return JSONResponse(vaults.journal.answers[int(request.query_params.get("since", 0)) :])

    async def make_key(request: Request) -> Response:
        """Make a key as somebody else would: without a client, a role or a rate limit."""
        call = Call("create", request.path_params["name"], body=await request.json())
        try:
            return JSONResponse(await vaults.vault(_host(request)).create(call))
        except Refusal as refusal:
            raise HTTPException(refusal.status, str(refusal)) from None

    endpoints: tuple[tuple[str, str, _Endpoint], ...] = (
        ("GET", "/faults", show_faults),
        ("POST", "/faults", add_fault),
        ("DELETE", "/faults", clear_faults),
        ("GET", "/vaults/{host}", show_vault),
        ("PUT", "/vaults/{host}", change_vault),
        ("GET", "/clock", show_clock),
        ("POST", "/clock", set_clock),
        ("GET", "/requests", show_requests),
        ("POST", "/keys/{host}/{name}", make_key),
    )
    return Starlette(
        routes=[
            Route(CONTROL + path, _authorized(endpoint, key), methods=[method])
            for method, path, endpoint in endpoints
        ]
    )


def _authorized(endpoint: _Endpoint, key: str) -> _Endpoint:
    async def checked(request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {key}"):
            raise HTTPException(401, "The control endpoint needs the lab's control key (lab.json).")
        return await endpoint(request)

    return checked


def _host(request: Request) -> Host:
    host = find_host(request.path_params["host"])
    if host is None or host.kind is Kind.LOGIN:
        raise HTTPException(404, f"{request.path_params['host']} is no vault of the lab.")
    return host


def _fault(members: dict[str, Any]) -> Fault:
    try:
        fault = Fault(**members)
    except TypeError as error:
        raise HTTPException(400, f"A fault has no such members: {error}") from None
    if fault.kind not in KINDS:
        raise HTTPException(400, f"The kind of a fault is one of {', '.join(KINDS)}.")
    return fault


def _changed(kind: Kind, present: Properties, changes: dict[str, Any]) -> Properties:
    try:
        properties = replace(present, **changes)
    except TypeError as error:
        raise HTTPException(400, f"A vault has no such properties: {error}") from None
    if properties.retention_days not in _RETENTION:
        raise HTTPException(400, f"retention_days is {_RETENTION[0]} to {_RETENTION[-1]}.")
    for name, values in _VALUES.items():
        if getattr(properties, name) not in values:
            raise HTTPException(400, f"{name} is one of {', '.join(values)}.")
    _check_roles(kind, properties.roles)
    return properties


def _check_roles(kind: Kind, roles: object) -> None:
    """Refuse a name that gives nothing, which is most likely a slip."""
    if not isinstance(roles, dict) or not all(isinstance(given, list) for given in roles.values()):
        raise HTTPException(400, "roles has a list of roles or operations for each client.")
    known = known_roles(kind)
    for names, expected in (
        (roles, CLIENTS),
        ([name for given in roles.values() for name in given], known),
    ):
        if unknown := [name for name in names if name not in expected]:
            raise HTTPException(
                400, f"roles names {unknown[0]}, which is unknown. Known are {', '.join(expected)}."
            )
