# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what. Sources: Azure's built-in roles, Managed HSM's local built-in roles, the recorded 403."""

from __future__ import annotations

from lab.hosts import Host, Kind
from lab.refusals import Refusal, forbidden

_VAULT_ACTIONS = {
    "create": "create/action",
    "import": "import/action",
    "get": "read",
    "list": "read",
    "versions": "read",
    "update": "update/action",
    "delete": "delete",
    "list_deleted": "read",
    "get_deleted": "read",
    "recover": "recover/action",
    "purge": "purge/action",
    "sign": "sign/action",
    "verify": "verify/action",
    "encrypt": "encrypt/action",
    "decrypt": "decrypt/action",
    "wrapKey": "wrap/action",
    "unwrapKey": "unwrap/action",
}
_READ = frozenset({"get", "list", "versions", "list_deleted", "get_deleted"})
_DELETED = frozenset({"list_deleted", "get_deleted", "recover", "purge"})
_ALL = frozenset(_VAULT_ACTIONS)

# The operations that a role allows; the second name of the vault roles is the lab's own, as a custom role would be.
ROLES = {
    Kind.VAULT: {
        "Key Vault Crypto Officer": _ALL,
        "Key Vault Crypto Officer without purge": _ALL - {"purge"},
        "Key Vault Reader": _READ,
    },
    Kind.MANAGED_HSM: {
        "Managed HSM Crypto User": _ALL - _DELETED,
        "Managed HSM Crypto Officer": _DELETED,
        "Managed HSM Crypto Auditor": _READ - _DELETED,
    },
}
# What the lab's clients have where a vault's properties do not say otherwise.
DEFAULT_ROLES: dict[str, dict[Kind, list[str]]] = {
    "operator": {
        Kind.VAULT: ["Key Vault Crypto Officer"],
        Kind.MANAGED_HSM: ["Managed HSM Crypto User", "Managed HSM Crypto Officer"],
    },
    "user": {
        Kind.VAULT: ["Key Vault Crypto Officer without purge"],
        Kind.MANAGED_HSM: ["Managed HSM Crypto User"],
    },
    "reader": {Kind.VAULT: ["Key Vault Reader"], Kind.MANAGED_HSM: ["Managed HSM Crypto Auditor"]},
}


def allowed(kind: Kind, roles: list[str], operation: str) -> bool:
    """Tell whether one of these roles allows an operation."""
    return any(operation in ROLES[kind].get(role, ()) for role in roles)


def missing_role(host: Host, operation: str, name: str, caller: str) -> Refusal:
    """403 ForbiddenByRbac (recorded). Managed HSM's own body is not known: the lab gives a shorter one."""
    if host.kind is Kind.MANAGED_HSM:
        return forbidden(f"Caller is not authorized to perform action on resource. Operation: {operation}")
    vault = host.name.partition(".")[0]
    resource = "/subscriptions/lab/resourcegroups/lab/providers/microsoft.keyvault/vaults/" + vault
    return forbidden(
        "Caller is not authorized to perform action on resource.\r\n"
        "If role assignments, deny assignments or role definitions were changed recently,"
        " please observe propagation time.\r\n"
        f"Caller: {caller}\r\n"
        f"Action: 'Microsoft.KeyVault/vaults/keys/{_VAULT_ACTIONS[operation]}'\r\n"
        f"Resource: '{resource}{f'/keys/{name}' if name else ''}'\r\n"
        "Assignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\n"
        f"Vault: {vault};location=lab\r\n",
        "ForbiddenByRbac",
    )
