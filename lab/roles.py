# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what.

Sources: Azure's built-in roles, Managed HSM's local built-in roles, key permissions, the recorded
403s of vaults, and those of Managed HSM that users have published.
"""

from __future__ import annotations

from lab.hosts import Host, Kind
from lab.refusals import Refusal, forbidden

# The data actions of Azure's RBAC, under Microsoft.KeyVault/vaults/.
_VAULT_ACTIONS = {
    "create": "keys/create/action",
    "import": "keys/import/action",
    "get": "keys/read",
    "attestation": "keys/read",
    "list": "keys/read",
    "versions": "keys/read",
    "update": "keys/update/action",
    "delete": "keys/delete",
    "list_deleted": "keys/read",
    "get_deleted": "keys/read",
    "recover": "keys/recover/action",
    "purge": "keys/purge/action",
    "get_policy": "keyrotationpolicies/read",
    "set_policy": "keyrotationpolicies/write",
    "rotate": "keys/rotate/action",
    "sign": "keys/sign/action",
    "verify": "keys/verify/action",
    "encrypt": "keys/encrypt/action",
    "decrypt": "keys/decrypt/action",
    "wrapKey": "keys/wrap/action",
    "unwrapKey": "keys/unwrap/action",
}
# Those of a Managed HSM's local RBAC, under Microsoft.KeyVault/managedHsm/, where they differ.
_HSM_ACTIONS = _VAULT_ACTIONS | {
    "create": "keys/create",
    "get": "keys/read/action",
    "attestation": "keys/read/action",
    "list": "keys/read/action",
    "versions": "keys/read/action",
    "update": "keys/write/action",
    "list_deleted": "keys/deletedKeys/read/action",
    "get_deleted": "keys/deletedKeys/read/action",
    "recover": "keys/deletedKeys/recover/action",
    "purge": "keys/deletedKeys/delete",
    "get_policy": "keys/read/action",
    "set_policy": "keys/write/action",
}
# What a Managed HSM refuses for all keys at once; published of create, the others are not known.
_ON_ALL_KEYS = frozenset({"create", "import", "list", "list_deleted"})
# The permissions of access policies that are not named as the operation (documented with it).
_PERMISSIONS = {
    "versions": "list",
    "attestation": "get",
    "list_deleted": "list",
    "get_deleted": "get",
    "get_policy": "getrotationpolicy",
    "set_policy": "setrotationpolicy",
}
_READ = frozenset(
    {"get", "attestation", "list", "versions", "list_deleted", "get_deleted", "get_policy"}
)
_DELETED = frozenset({"list_deleted", "get_deleted", "recover", "purge"})
_ALL = frozenset(_VAULT_ACTIONS)

# The operations that a role allows; the second name of the vault roles is the lab's own, as a
# custom role would be.
ROLES = {
    Kind.VAULT: {
        "Key Vault Crypto Officer": _ALL,
        "Key Vault Crypto Officer without purge": _ALL - {"purge"},
        "Key Vault Reader": _READ,
    },
    Kind.MANAGED_HSM: {
        # Documented: includes what sets a policy (keys/write/action) and what rotates; that
        # keys/read/action reads one is not.
        "Managed HSM Crypto User": _ALL - _DELETED,
        "Managed HSM Crypto Officer": _DELETED,
        "Managed HSM Crypto Auditor": _READ - _DELETED,
    },
}
# What a single operation allows in the place of a role: itself, and what else its permission covers
# in an access policy.
_SINGLE = {
    name: frozenset(
        operation for operation in _ALL if name in (operation, _PERMISSIONS.get(operation))
    )
    for name in (*_VAULT_ACTIONS, *_PERMISSIONS.values())
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


def known_roles(kind: Kind) -> list[str]:
    """What can be given in a vault: roles, operations, and permissions of access policies."""
    return [*ROLES[kind], *_SINGLE]


def allowed(kind: Kind, roles: list[str], operation: str) -> bool:
    """Tell whether one of these roles or single operations allows an operation."""
    return any(operation in ROLES[kind].get(role, _SINGLE.get(role, ())) for role in roles)


def by_access_policy(roles: dict[str, list[str]]) -> bool:
    """Tell whether a vault's `roles` are single operations alone, as an access policy's are."""
    given = [role for each in roles.values() for role in each]
    return bool(given) and all(role in _SINGLE for role in given)


def missing_role(
    host: Host, roles: dict[str, list[str]], operation: str, name: str, caller: str
) -> Refusal:
    """403, by the `roles` of the vault.

    ForbiddenByPolicy where the roles are single operations alone, else ForbiddenByRbac. Both are
    recorded. Managed HSM's text is published; its status is not known.
    """
    if host.kind is Kind.MANAGED_HSM:
        scope = "/keys" if operation in _ON_ALL_KEYS else f"/keys/{name}"
        action = f"Microsoft.KeyVault/managedHsm/{_HSM_ACTIONS[operation]}"
        return Refusal(403, "AccessDenied", f"Not authorized to access {action} on '{scope}'")
    vault = host.name.partition(".")[0]
    if by_access_policy(roles):
        return forbidden(
            f"The user, group or application '{caller}' does not have keys "
            f"{_PERMISSIONS.get(operation, operation)} permission on key vault "
            f"'{vault};location=lab'. For help resolving this issue, please see "
            "https://go.microsoft.com/fwlink/?linkid=2125287",
            "ForbiddenByPolicy",
        )
    resource = "/subscriptions/lab/resourcegroups/lab/providers/microsoft.keyvault/vaults/" + vault
    return forbidden(
        "Caller is not authorized to perform action on resource.\r\n"
        "If role assignments, deny assignments or role definitions were changed recently,"
        " please observe propagation time.\r\n"
        f"Caller: {caller}\r\n"
        f"Action: 'Microsoft.KeyVault/vaults/{_VAULT_ACTIONS[operation]}'\r\n"
        f"Resource: '{resource}{f'/keys/{name}' if name else ''}'\r\n"
        "Assignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\n"
        f"Vault: {vault};location=lab\r\n",
        "ForbiddenByRbac",
    )
