# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The headers of answers, as recorded of vaults and Managed HSMs; pure.

Headers that no recording has are not here either: a Managed HSM sends no Date.
"""

from __future__ import annotations

from email.utils import formatdate

from lab.hosts import Kind

Headers = dict[str, str]

_CONTENT_TYPE = {"Content-Type": "application/json; charset=utf-8"}
_ALWAYS = {
    Kind.VAULT: {
        "Cache-Control": "no-cache",
        "Pragma": "no-cache",
        "Expires": "-1",
        "Strict-Transport-Security": "max-age=31536000;includeSubDomains",
        "X-Content-Type-Options": "nosniff",
        "x-ms-keyvault-region": "lab",
        "x-ms-keyvault-service-version": "lab",
        "x-ms-keyvault-network-info": "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;",
    },
    Kind.MANAGED_HSM: {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "default-src 'self'",
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
    },
}
_HSM_SUCCESS = {
    "x-ms-keyvault-region": "lab",
    "x-ms-keyvault-network-info": "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=Ipv4;",
}


def vault_headers(status: int, now: float, client_request_id: str, assignment: str) -> Headers:
    """The headers of a vault's answer, but for the request's id.

    `assignment` names the role assignment by which the caller was let in; empty where no role was.
    """
    headers = _ALWAYS[Kind.VAULT] | {"Date": formatdate(now, usegmt=True)}
    if status != 204:
        headers |= _CONTENT_TYPE
    if client_request_id:
        headers["x-ms-client-request-id"] = client_request_id
    if assignment:
        headers["x-ms-keyvault-rbac-assignment-id"] = assignment
    return headers


def managed_hsm_headers(method: str, status: int, seconds: float) -> Headers:
    """The headers of a Managed HSM's answer, but for the request's id.

    `seconds` is how long the work took. The caller's own id for a request does not come back.
    """
    headers = _ALWAYS[Kind.MANAGED_HSM] | _CONTENT_TYPE
    headers["x-ms-server-latency"] = str(round(1000 * seconds))
    if method == "GET":
        headers["x-ms-build-version"] = "lab"
    if status < 300:
        headers |= _HSM_SUCCESS
    if status == 204:
        headers["Content-Length"] = "0"
    return headers
