# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which permissions each kind of work takes in a vault, by the names that Azure has for them; pure.

Sources, all of Microsoft: for access policies the Key Vault REST reference ("This operation requires the keys/get
permission") and for rotation policies "Configure key auto-rotation"; for Azure RBAC "Permissions for Security",
Microsoft.KeyVault; for a Managed HSM "Local RBAC built-in roles for Managed HSM" and for rotation policies "Configure key
autorotation in Managed HSM", which names the permission to set one. That reading one takes the permission to read keys there
is a conclusion.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._declaration import Declaration

#: The built-in role that allows all operations in a vault (data actions keys/* and keyrotationpolicies/*)
CRYPTO_OFFICER = "Key Vault Crypto Officer"

#: The built-in roles of a Managed HSM; neither has what the other one has
HSM_CRYPTO_USER = "Managed HSM Crypto User"
HSM_CRYPTO_OFFICER = "Managed HSM Crypto Officer"


@dataclass(frozen=True)
class Permission:
    """What one operation takes.

    :ivar does: the operation in words
    :ivar access_policy: key permission in a vault's access policy
    :ivar rbac_action: data action of Azure RBAC, for a vault
    :ivar hsm_action: data action of a Managed HSM's local RBAC
    :ivar hsm_role: the built-in role of a Managed HSM that has it
    """

    does: str
    access_policy: str
    rbac_action: str
    hsm_action: str
    hsm_role: str = HSM_CRYPTO_USER


def _permission(does: str, access_policy: str, rbac: str, hsm: str, hsm_role: str = HSM_CRYPTO_USER) -> Permission:
    return Permission(does, access_policy, f"Microsoft.KeyVault/vaults/{rbac}", f"Microsoft.KeyVault/managedHsm/{hsm}", hsm_role)


#: By the operation's name in our results
PERMISSIONS: t.Mapping[str, Permission] = {
    "list": _permission("list keys and versions", "list", "keys/read", "keys/read/action"),
    "get": _permission("read keys", "get", "keys/read", "keys/read/action"),
    "create": _permission("make keys", "create", "keys/create/action", "keys/create"),
    "import": _permission("import keys", "import", "keys/import/action", "keys/import/action"),
    "update": _permission("update keys", "update", "keys/update/action", "keys/write/action"),
    "delete": _permission("delete keys", "delete", "keys/delete", "keys/delete"),
    "get_deleted": _permission("read deleted keys", "get", "keys/read", "keys/deletedKeys/read/action", HSM_CRYPTO_OFFICER),
    "recover": _permission(
        "recover deleted keys", "recover", "keys/recover/action", "keys/deletedKeys/recover/action", HSM_CRYPTO_OFFICER
    ),
    "purge": _permission("purge deleted keys", "purge", "keys/purge/action", "keys/deletedKeys/delete", HSM_CRYPTO_OFFICER),
    "get_policy": _permission(
        "read rotation policies", "getrotationpolicy", "keyrotationpolicies/read", "keys/read/action"
    ),
    "set_policy": _permission(
        "set rotation policies", "setrotationpolicy", "keyrotationpolicies/write", "keys/write/action"
    ),
    "sign": _permission("sign with keys", "sign", "keys/sign/action", "keys/sign/action"),
    "decrypt": _permission("decrypt with keys", "decrypt", "keys/decrypt/action", "keys/decrypt/action"),
    "unwrapKey": _permission("unwrap with keys", "unwrapKey", "keys/unwrap/action", "keys/unwrap/action"),
}  # fmt: skip

#: What proves that a key which arrived is the token's
PROVING = ("sign", "decrypt", "unwrapKey")

#: Only where every run makes its KEK and deletes it
_EPHEMERAL_KEK = ("create", "delete")

_TRANSFER = ("list", "get", *_EPHEMERAL_KEK, "import", "update")

#: kind of work -> (what it cannot do without, what it can)
WORK: t.Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "transfer": (_TRANSFER, ("get_deleted",)),
    "rotate": (_TRANSFER, ("get_deleted", "get_policy", "set_policy")),
    "retire": (("list", "get", "update"), ()),
    "delete": (("get", "delete"), ("get_deleted",)),
    "purge": (("get_deleted", "purge"), ()),
    "recover": (("get", "get_deleted", "recover"), ()),
    "show": (("list", "get"), ("get_policy",)),
}

#: What brings keys to a vault, and so may need a KEK and prove what arrived
BRINGING = ("transfer", "rotate")

#: What becomes of the work without what it can do without
WITHOUT: t.Mapping[str, str] = {
    "get_deleted": "that a deleted key holds a name is then learnt from Azure's refusal alone",
    "get_policy": "rotation policies are then not looked at",
    "set_policy": "a policy by which Azure would rotate a key by itself then stays",
}


@dataclass(frozen=True)
class Need:
    """Why an operation is needed.

    :ivar work: the kinds of work that use it
    :ivar must: those of them that cannot do without
    """

    work: tuple[str, ...]
    must: tuple[str, ...]


def needed_operations(work: t.Collection[str], ephemeral_kek: bool, declared: t.Collection[str]) -> dict[str, Need]:
    """Return what kinds of work take, by operation in the order of PERMISSIONS.

    :param ephemeral_kek: whether each run makes its KEK and deletes it
    :param declared: what declared_operations() says
    """
    needs = {}
    for operation in PERMISSIONS:
        musts = [kind for kind in WORK if kind in work and _must(kind, operation, ephemeral_kek, declared)]
        users = [kind for kind in WORK if kind in work and (kind in musts or operation in WORK[kind][1])]
        if users:
            needs[operation] = Need(tuple(users), tuple(musts))
    return needs


def _must(kind: str, operation: str, ephemeral_kek: bool, declared: t.Collection[str]) -> bool:
    musts, cans = WORK[kind]
    if kind in BRINGING and operation in declared:
        return operation in PROVING or operation in cans
    if kind in BRINGING and operation in _EPHEMERAL_KEK:
        return ephemeral_kek
    return operation in musts


def declared_operations(declarations: t.Collection[Declaration], prove: bool) -> set[str]:
    """Return the operations that bringing keys takes because of what is declared of them.

    :param declarations: none where it is not known which keys they are
    :param prove: whether RSA and EC keys are proved as well; oct keys always are, as they have no public key to compare
    """
    operations = {operation for operation in (_proving_operation(each, prove) for each in declarations) if operation}
    if prove and not declarations:
        operations.update(PROVING)
    if any(each.rotation and each.rotation.notify_before for each in declarations):
        operations.update(("get_policy", "set_policy"))
    return operations


def _proving_operation(declaration: Declaration, prove: bool) -> str | None:
    allowed = [operation for operation in PROVING if operation in declaration.wanted_operations]
    if declaration.spec.type == "oct":
        # The token's challenge is encrypted where the key may encrypt there, and else wrapped.
        answer = "decrypt" if "encrypt" in declaration.made_for else "unwrapKey"
        return answer if answer in allowed else None
    return allowed[0] if prove and allowed else None
