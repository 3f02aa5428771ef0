# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The shapes of results that no other step takes: what people and their programs read; pure.

The modules' RETURN documentation is compared with these classes by a test.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    ActionName,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape
from ansible_collections.keyferry.azure.plugins.module_utils._core.validity import Validity


@dataclass(frozen=True)
class RotatedKey(Shape):
    """What byok_rotate did with a key, or would.

    :ivar replaced: the version that was the newest before
    :ivar identity: as ImportedKey has it; None where nothing was imported or updated
    :ivar envelope: what this run states of the import (imported/v1); None where it imported nothing
    :ivar wrapped_sha256: digest of what it stated of the package
    """

    name: str
    action: ActionName
    reason: str
    code: str
    generation: str | None
    thumbprint: str | None
    kid: str | None
    version: str | None
    next_due: datetime | None
    replaced: str | None = None
    request_id: str | None = None
    identity: str | None = None
    proof: Mapping[str, t.Any] | None = None
    receipt: Mapping[str, t.Any] | None = None
    imported: bool = False
    locked: bool = False
    envelope: str | None = None
    wrapped_sha256: str | None = None


@dataclass(frozen=True)
class KeptVersion(Shape):
    """An older version that stays enabled."""

    version: str
    reason: str


@dataclass(frozen=True)
class RetiredKey(Shape):
    """What byok_rotate did with the older versions of a key (stage retire), or would.

    :ivar retired: the versions that were disabled
    """

    name: str
    action: t.Literal["retire", "none"]
    reason: str
    code: str
    retired: tuple[str, ...] = ()
    kept: tuple[KeptVersion, ...] = ()
    request_id: str | None = None


@dataclass(frozen=True)
class Deletion(Shape):
    """A key of a vault that byok_import deleted, purged or recovered.

    :ivar version: its newest
    :ivar state: ``deleted``, ``purged`` or ``recovered``
    """

    name: str
    version: str
    kid: str
    state: str
    recovery_level: str
    retention_days: int | None
    request_id: str | None


@dataclass(frozen=True)
class VersionFacts(Shape):
    """A version of a key in a vault, as byok_plan reports it under ``versions``.

    :ivar generation: of the token, which it is; None for none
    :ivar ours: whether there is such a generation
    :ivar active: whether it is the newest
    :ivar state: whether it has expired, expires soon or is not yet valid; None otherwise
    """

    version: str
    kid: str
    type: str
    thumbprint: str | None
    generation: str | None
    ours: bool
    active: bool
    created: datetime | None
    operations: tuple[str, ...]
    enabled: bool
    not_before: datetime | None
    expires: datetime | None
    tags: Mapping[str, t.Any]
    state: Validity | None = None


@dataclass(frozen=True)
class KeyVersions(Shape):
    """All versions of a key in a vault, newest first.

    :ivar deleted: whether a deleted key holds the name; None where that must not be seen
    :ivar last_rotated: when the newest version of this token was made, if this token has others
    :ivar next_due: when the newest version is due to be replaced; None where it is foreign
    """

    name: str
    deleted: bool | None
    last_rotated: datetime | None
    next_due: datetime | None
    versions: tuple[VersionFacts, ...]


@dataclass(frozen=True)
class VaultVersions(Shape):
    """All versions of the declared keys in a vault, as byok_plan reports them (``versions``).

    :ivar read_at: by the clock of the host
    """

    vault_url: str
    read_at: datetime
    target_keys: tuple[KeyVersions, ...]


@dataclass(frozen=True)
class StayingKek(Shape):
    """A KEK that stays, as byok_plan looks at it.

    :ivar state: whether it has expired, expires soon or is not yet valid; None otherwise
    """

    name: str
    kid: str
    expires: datetime | None
    state: Validity | None


@dataclass(frozen=True)
class UnmanagedKey(Shape):
    """A key of a vault that nobody declared, as byok_plan reports it.

    :ivar marked: a tag says that Keyferry brought it, and anybody can set a tag
    """

    name: str
    kid: str
    enabled: bool
    created: datetime | None
    expires: datetime | None
    marked: bool


@dataclass(frozen=True)
class VaultKey(Shape):
    """A key of a vault with its newest version, as byok_vault_info lists it.

    :ivar kek: it can do nothing but import
    :ivar managed: it belongs to a certificate
    """

    name: str
    kid: str
    version: str
    kind: str
    type: str
    size: int | None
    curve: str | None
    thumbprint: str | None
    created: datetime | None
    kek: bool
    managed: bool
    operations: tuple[str, ...]
    enabled: bool
    not_before: datetime | None
    expires: datetime | None
    tags: Mapping[str, t.Any]


@dataclass(frozen=True)
class KekFacts(Shape):
    """More about a KEK, as byok_kek reports it.

    :ivar size: in bits
    """

    name: str
    size: int
    expires: datetime | None
    enabled: bool
    tags: Mapping[str, t.Any]
    recovery_level: str


@dataclass(frozen=True)
class PermissionFacts(Shape):
    """Whether the identity may do something in a vault, as byok_vault_info reports it.

    :ivar granted: None where the answer does not tell, or nobody asked
    :ivar required: the work cannot be done without
    :ivar access_policy: the key permission; None for a Managed HSM, which has no access policy
    """

    operation: str
    granted: bool | None
    needed_for: tuple[str, ...]
    required: bool
    access_policy: str | None
    rbac_action: str
    role: str
    answer: str | None


@dataclass(frozen=True)
class VaultInfo(Shape):
    """What byok_vault_info finds of a vault; None where nothing tells.

    :ivar clock: what time it is for runs with this vault: ``source`` (``vault``, ``entra`` or
        ``host``), ``time``, and ``difference``, by how many seconds it is ahead of this host
    :ivar missing: operations that are required and were refused
    :ivar owner_roots: of a Managed HSM the SHA-256 of what may be its owner's root certificate
    """

    url: str
    name: str
    kind: str
    reachable: bool
    firewall: str
    authenticated: bool | None
    recovery_level: str | None
    purge_protection: bool | None
    retention_days: int | None
    clock: Mapping[str, t.Any] | None
    permissions: tuple[PermissionFacts, ...]
    missing: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    owner_roots: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProfileFacts(Shape):
    """What kind of token it is taken for, and where what is known of it comes from."""

    name: str
    title: str
    source: str


@dataclass(frozen=True)
class MechanismFacts(Shape):
    """A mechanism that the token offers; ``number`` is hexadecimal."""

    name: str
    number: str


@dataclass(frozen=True)
class PolicyFacts(Shape):
    """A partition policy of a token.

    :ivar wanted: None where either is right
    :ivar command: the vendor's, which sets it; empty where it is as it must be
    """

    number: int
    name: str
    value: int
    wanted: int | None
    met: bool
    why: str
    command: str


@dataclass(frozen=True)
class KeyTypeFacts(Shape):
    """Whether keys of one kind can be made in a token, and wrapped; None where nothing tells."""

    kind: str
    make: bool | None
    wrap: bool | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class EvidenceKeyFacts(Shape):
    """The key that signs evidence; None for what is known only when it is made.

    :ivar keyid: SHA-256 of the SubjectPublicKeyInfo, by which signatures name it
    :ivar attributes: of the private key, by CKA_*
    :ivar token: the token that holds it
    """

    label: str
    keyid: str | None
    public_key: str | None
    attributes: Mapping[str, t.Any] | None
    token: Mapping[str, t.Any]


@dataclass(frozen=True)
class DeviceProof(Shape):
    """A device's own proof of the evidence key, as it was given.

    :ivar content: as base64
    """

    path: str
    sha256: str
    content: str


@dataclass(frozen=True)
class PolicyFileFacts(Shape):
    """A wrapping policy.

    :ivar sha256: of its text
    :ivar owner: who can change it: ``root`` or ``the acting user``
    :ivar demands: in words
    """

    path: str
    sha256: str
    owner: str
    demands: tuple[str, ...]


@dataclass(frozen=True)
class WrappingPolicyFacts(Shape):
    """What a host lets out of its token.

    :ivar told: in a sentence
    :ivar files: the policies, which have to agree; empty where there is none
    """

    told: str
    files: tuple[PolicyFileFacts, ...]


@dataclass(frozen=True)
class HsmInfo(Shape):
    """What byok_hsm_info finds of a token.

    :ivar pin: ``ok``, ``count_low``, ``final_try`` or ``locked``
    :ivar free_memory: bytes for ``public`` and ``private`` objects
    :ivar rehearsal: None where there was none or it failed
    :ivar nameless_objects: keys with neither label nor CKA_ID; None where they were not counted
    :ivar evidence_key: None where none was asked for, or it is missing or not fit
    :ivar wrapping_policy: what this host lets out of the token
    """

    token: Mapping[str, t.Any]
    profile: ProfileFacts
    pin: str
    logged_in: bool
    write_protected: bool
    free_memory: Mapping[str, t.Any]
    mechanisms: tuple[MechanismFacts, ...]
    policies: tuple[PolicyFacts, ...]
    fips_mode: bool | None
    fips_mode_source: str
    rehearsal: Mapping[str, t.Any] | None
    key_types: tuple[KeyTypeFacts, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    nameless_objects: int | None
    evidence_key: EvidenceKeyFacts | None
    wrapping_policy: WrappingPolicyFacts
