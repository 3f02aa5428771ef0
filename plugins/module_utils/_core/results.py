# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The shapes that pass from step to step, and so between hosts, written once; pure.

The modules' RETURN documentation and the options that take such results are compared with these
classes by a test.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape
from ansible_collections.keyferry.azure.plugins.module_utils._core.validity import Validity

ActionName = t.Literal["transfer", "rotate", "update", "recover", "lock", "none", "conflict"]


@dataclass(frozen=True)
class Failure(Shape):
    """A key that failed while others went on.

    :ivar code: why, for programs (docs/reasons.md)
    """

    name: str
    msg: str
    code: str = "failed"


@dataclass(frozen=True)
class GenerationFacts(Shape):
    """A generation of a key in the token, as byok_target_key reports it.

    :ivar generation: CKA_ID in hexadecimal digits
    :ivar thumbprint: RFC 7638; None for oct keys
    :ivar made: by the time in a CKA_ID that Keyferry gave
    :ivar CKA_KEY_GEN_MECHANISM: None, like all CKA_*, where the token does not tell
    """

    generation: str
    thumbprint: str | None
    kind: str | None = None
    public_key: str | None = None
    made_by_keyferry: bool = False
    made: datetime | None = None
    withdrawn: bool = False
    half_made: bool = False
    public_only: bool = False
    origin: str = "unknown"
    CKA_LOCAL: bool | None = None
    CKA_ALWAYS_SENSITIVE: bool | None = None
    CKA_SENSITIVE: bool | None = None
    CKA_EXTRACTABLE: bool | None = None
    CKA_NEVER_EXTRACTABLE: bool | None = None
    CKA_KEY_GEN_MECHANISM: int | None = None

    @property
    def identity(self) -> str:
        """What people name it by: its thumbprint, or for oct keys its CKA_ID."""
        return self.thumbprint or self.generation


@dataclass(frozen=True)
class TargetKey(Shape):
    """A key in the token, as byok_target_key reports it.

    :ivar generation: the one that is meant; None for a key that would be made
    :ivar generations: oldest first
    :ivar challenge: for an oct key, if it was asked for: what proves that a vault has it
    """

    name: str
    generation: str | None
    thumbprint: str | None
    generations: tuple[GenerationFacts, ...]
    created: bool = False
    locked: bool = False
    challenge: Mapping[str, t.Any] | None = None


@dataclass(frozen=True)
class NamedGeneration(Shape):
    """A generation that was destroyed or withdrawn, as byok_target_key reports it."""

    name: str
    generation: str
    thumbprint: str | None


@dataclass(frozen=True)
class PlannedKey(Shape):
    """What has to be done with a key, as far as the engine reads it.

    :ivar code: why, for programs (docs/reasons.md)
    :ivar generation: the one that it is about; None for one that has to be made
    :ivar remedy: what to do about a conflict; None for other actions
    :ivar version: the newest version in the vault
    :ivar changes: by attribute, ``before`` and ``after``
    """

    name: str
    action: ActionName
    reason: str
    generation: str | None = None
    thumbprint: str | None = None
    remedy: str | None = None
    version: str | None = None
    kid: str | None = None
    next_due: datetime | None = None
    changes: Mapping[str, t.Any] = field(default_factory=dict)
    code: str = "unknown"

    @property
    def told(self) -> str:
        """The reason, and for a conflict what to do, as sentences."""
        return f"{self.reason}. {self.remedy}." if self.remedy else self.reason


@dataclass(frozen=True, kw_only=True)
class PlanEntry(PlannedKey):
    """The same, as byok_plan reports it.

    :ivar new_version: attributes of the version that an import will make; empty for none
    :ivar state: whether that version has expired, expires soon or is not yet valid; None otherwise
    :ivar state_at: when it expires or expired, or from when on it is valid
    """

    kind: str
    new_version: Mapping[str, t.Any] = field(default_factory=dict)
    foreign: bool = False
    state: Validity | None = None
    state_at: datetime | None = None


@dataclass(frozen=True)
class MakeOrder(Shape):
    """A generation that has to be made, as byok_plan orders it of byok_target_key (``rotations``).

    :ivar newer_than: CKA_ID of the youngest generation that is there; None where there is none
    :ivar made_at: the time that the new generation's CKA_ID will tell
    """

    name: str
    newer_than: str | None = None
    made_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Package(Shape):
    """A key transfer package, as byok_wrap returns it.

    :ivar content: the text of the .byok file
    :ivar sha256: of the content, in hexadecimal digits
    :ivar sha256_spoken: the same in groups, to be read aloud
    :ivar wrapped: by this run; False for a package that was kept
    :ivar challenge: what proves an oct key in the vault
    :ivar envelope: the receipt in a DSSE envelope, signed if there is an evidence key
    """

    name: str
    generation: str
    thumbprint: str | None
    kek_id: str | None
    path: str | None
    content: str
    sha256: str
    wrapped: bool
    receipt: Mapping[str, t.Any] | None
    challenge: Mapping[str, t.Any] | None = None
    sha256_spoken: str | None = None
    envelope: str | None = None


@dataclass(frozen=True)
class EvidenceSignature(Shape):
    """A signature of the evidence key, as byok_sign returns it.

    :ivar sha256: of the statement's payload
    :ivar keyid: SHA-256 of the evidence key's SubjectPublicKeyInfo
    :ivar sig: DER, as base64
    """

    sha256: str
    keyid: str
    sig: str


@dataclass(frozen=True)
class ImportedKey(Shape):
    """A key in the vault after byok_import.

    :ivar current: whether it is the newest version
    :ivar origin: why the package is believed to hold our key
    :ivar identity: why the version is believed to be our key; None in check mode before an import
    :ivar created: when the vault made the version
    :ivar interrupted_at: when an interrupted run sent the import that this run finished; None for
        an import of this run
    :ivar envelope: what this run states of the import (imported/v1); None where it imported nothing
    :ivar wrapped_sha256: digest of what byok_wrap stated of the package
    """

    name: str
    kid: str | None
    version: str | None
    thumbprint: str | None
    generation: str | None
    imported: bool
    updated: bool
    current: bool
    origin: str
    identity: str | None
    proof: Mapping[str, t.Any] | None = None
    attributes: Mapping[str, t.Any] | None = None
    hsm_platform: str | None = None
    created: datetime | None = None
    request_id: str | None = None
    replaced: str | None = None
    receipt: Mapping[str, t.Any] | None = None
    interrupted_at: datetime | None = None
    envelope: str | None = None
    wrapped_sha256: str | None = None


@dataclass(frozen=True)
class Approval(Shape):
    """Who approved something, as the host that acts has checked it.

    :ivar subject: a Kind of ``_core/approval.py``
    :ivar digest: SHA-256 in hexadecimal digits
    :ivar principals: names in allowed_signers, each once
    """

    subject: str
    digest: str
    principals: tuple[str, ...]
