# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Which permissions each kind of work takes in a vault, by the names that Azure has for them; pure.

Sources, all of Microsoft: for access policies the Key Vault REST reference ("This operation
requires the keys/get permission") and for rotation policies "Configure key auto-rotation"; for
Azure RBAC "Permissions for Security", Microsoft.KeyVault; for a Managed HSM "Local RBAC built-in
roles for Managed HSM" and for rotation policies "Configure key autorotation in Managed HSM", which
names the permission to set one. That reading one takes the permission to read keys there is a
conclusion.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration

#: The built-in role that allows all operations in a vault (data actions keys/* and
#: keyrotationpolicies/*)
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


def _permission(
    does: str, access_policy: str, rbac: str, hsm: str, hsm_role: str = HSM_CRYPTO_USER
) -> Permission:
    return Permission(
        does,
        access_policy,
        f"Microsoft.KeyVault/vaults/{rbac}",
        f"Microsoft.KeyVault/managedHsm/{hsm}",
        hsm_role,
    )


#: By the operation's name in our results: words, key permission, data action of Azure RBAC, data
#: action of a Managed HSM
PERMISSIONS: t.Mapping[str, Permission] = {
    "list": _permission("list keys and versions", "list", "keys/read", "keys/read/action"),
    "get": _permission("read keys", "get", "keys/read", "keys/read/action"),
    "create": _permission("make keys", "create", "keys/create/action", "keys/create"),
    "import": _permission("import keys", "import", "keys/import/action", "keys/import/action"),
    "update": _permission("update keys", "update", "keys/update/action", "keys/write/action"),
    "delete": _permission("delete keys", "delete", "keys/delete", "keys/delete"),
    "get_deleted": _permission(
        "read deleted keys", "get", "keys/read",
        "keys/deletedKeys/read/action", HSM_CRYPTO_OFFICER,
    ),
    "recover": _permission(
        "recover deleted keys", "recover", "keys/recover/action",
        "keys/deletedKeys/recover/action", HSM_CRYPTO_OFFICER,
    ),
    "purge": _permission(
        "purge deleted keys", "purge", "keys/purge/action",
        "keys/deletedKeys/delete", HSM_CRYPTO_OFFICER,
    ),
    "get_policy": _permission(
        "read rotation policies", "getrotationpolicy", "keyrotationpolicies/read",
        "keys/read/action",
    ),
    "set_policy": _permission(
        "set rotation policies", "setrotationpolicy", "keyrotationpolicies/write",
        "keys/write/action",
    ),
    "sign": _permission("sign with keys", "sign", "keys/sign/action", "keys/sign/action"),
    "decrypt": _permission(
        "decrypt with keys", "decrypt", "keys/decrypt/action", "keys/decrypt/action"
    ),
    "unwrapKey": _permission(
        "unwrap with keys", "unwrapKey", "keys/unwrap/action", "keys/unwrap/action"
    ),
}  # fmt: skip

#: What proves that a key which arrived is the token's
PROVING = ("sign", "decrypt", "unwrapKey")

#: Azure's own rotation policy, which is looked at for keys that declare ``rotation``
_POLICY = ("get_policy", "set_policy")

#: Only where every run makes its KEK and deletes it
_EPHEMERAL_KEK = ("create", "delete")

_TRANSFER = (("list", "get", *_EPHEMERAL_KEK, "import", "update"), ("get_deleted", *_POLICY))

#: kind of work -> (what it cannot do without, what it can)
WORK: t.Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "transfer": _TRANSFER,
    "rotate": _TRANSFER,
    "prepare": (("list", "get"), ("get_deleted", "get_policy")),
    "retire": (("list", "get", "update"), ()),
    "delete": (("get", "delete"), ("get_deleted",)),
    "purge": (("get", "get_deleted", "purge"), ()),
    "purge_keks": (("purge",), ("get_deleted",)),
    "recover": (("get", "get_deleted", "recover"), ()),
    "show": (("list", "get"), ("get_deleted", "get_policy")),
}

#: What brings keys to a vault, and so may need a KEK and prove what arrived
BRINGING = ("transfer", "rotate")

#: Kinds of work that are called otherwise in a sentence
IN_WORDS: t.Mapping[str, str] = {"purge_keks": "purge KEKs"}

_TAKEN_NAME = "that a deleted key holds a name is then learnt from Azure's refusal alone"
_NO_POLICY = "rotation policies are then not checked"
_NO_CHANGE = "a key that Azure would rotate by itself then fails"

#: operation -> kind of work -> what becomes of the work without it
WITHOUT: t.Mapping[str, t.Mapping[str, str]] = {
    "get_deleted": {
        **dict.fromkeys(("transfer", "rotate", "prepare"), _TAKEN_NAME),
        "delete": "whether a deletion is done is then not seen",
        "purge_keks": "a KEK is then purged without seeing that its deletion is done",
        "show": "that a deleted key holds a name is then not shown",
    },
    "get_policy": dict.fromkeys(("transfer", "rotate", "prepare", "show"), _NO_POLICY),
    "set_policy": dict.fromkeys(BRINGING, _NO_CHANGE),
}


@dataclass(frozen=True)
class Need:
    """Why an operation is needed.

    :ivar work: the kinds of work that use it
    :ivar must: those of them that cannot do without
    """

    work: tuple[str, ...]
    must: tuple[str, ...]


def needed_operations(
    work: t.Collection[str],
    ephemeral_kek: bool,
    declarations: t.Collection[Declaration] = (),
    prove: bool = False,
) -> dict[str, Need]:
    """Return what kinds of work take, by operation in the order of PERMISSIONS.

    :param ephemeral_kek: whether each run makes its KEK and deletes it
    :param declarations: of the keys; none where it is not known which they are
    :param prove: whether RSA and EC keys that were brought are proved as well
    """
    takes = {
        kind: _takes(kind, ephemeral_kek, declarations, prove) for kind in WORK if kind in work
    }
    needs = {}
    for operation in PERMISSIONS:
        musts = tuple(kind for kind, (must, _can) in takes.items() if operation in must)
        users = tuple(kind for kind, (must, can) in takes.items() if operation in {*must, *can})
        if users:
            needs[operation] = Need(users, musts)
    return needs


def _takes(
    kind: str, ephemeral_kek: bool, declarations: t.Collection[Declaration], prove: bool
) -> tuple[set[str], set[str]]:
    """Return the operations that one kind of work cannot do without, and those that it can.

    The parameters are those of needed_operations().
    """
    musts, cans = map(set, WORK[kind])
    if kind in BRINGING and not ephemeral_kek:
        musts -= set(_EPHEMERAL_KEK)
    musts |= _proving_operations(kind, declarations, prove)
    rotations = [declaration.rotation for declaration in declarations if declaration.rotation]
    if declarations and not rotations:
        cans -= set(_POLICY)
    if any(rotation.notify_before for rotation in rotations):
        musts |= cans & set(_POLICY)
    return musts, cans - musts


def _proving_operations(
    kind: str, declarations: t.Collection[Declaration], prove: bool
) -> set[str]:
    """Return what keys are proved by: oct keys always, as they have no public key to compare."""
    if kind == "retire":
        operations = {
            _proving_operation(declaration, False)
            for declaration in declarations
            if declaration.rotation and declaration.rotation.retire == "disable"
        }
    elif kind in BRINGING:
        operations = {_proving_operation(declaration, prove) for declaration in declarations}
        if prove and not declarations:
            operations.update(PROVING)
    else:
        return set()
    return {operation for operation in operations if operation}


def _proving_operation(declaration: Declaration, prove: bool) -> str | None:
    """Return what one key is proved by; None where it is not proved.

    :param prove: whether RSA and EC keys are proved as well
    """
    allowed = [operation for operation in PROVING if operation in declaration.wanted_operations]
    if declaration.spec.type == "oct":
        # The token's challenge is encrypted where the key may encrypt there, and else wrapped.
        answer = "decrypt" if "encrypt" in declaration.made_for else "unwrapKey"
        return answer if answer in allowed else None
    return allowed[0] if prove and allowed else None
