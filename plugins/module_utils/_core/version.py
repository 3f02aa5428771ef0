# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The versions of a key in a vault as observed, and how they differ from what is declared; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    OUR_TAGS,
    Declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    PublicKey,
    thumbprint,
)

#: Tags on what is imported: the CKA_ID of the generation, the serial number of the token, the
#: thumbprint (lists of versions hold no keys), and the SHA-256 of the package, which its receipt
#: has as well. They tell where to look, and prove nothing.
GENERATION_TAG = f"{OUR_TAGS}generation"
TOKEN_TAG = f"{OUR_TAGS}token"
THUMBPRINT_TAG = f"{OUR_TAGS}thumbprint"
PACKAGE_TAG = f"{OUR_TAGS}package"

#: On a version that came out of a file and is not yet shown to be the key, which is disabled until
#: then. A run that dies in between leaves it, and a later run goes on.
UNCHECKED_TAG = f"{OUR_TAGS}unchecked"


@dataclass(frozen=True)
class Version:
    """One version of a key in a vault.

    :ivar kid: its identifier with the version
    :ivar version: 32 hexadecimal digits
    :ivar type: Azure's kty
    :ivar public_key: None for oct keys
    :ivar retention_days: how long a deleted key can be recovered
    :ivar hsm_platform: 2 for FIPS 140-3 level 3, 1 for the older HSMs, 0 for software; None if
        Azure does not tell
    """

    kid: str
    version: str
    type: str
    public_key: PublicKey | None
    operations: tuple[str, ...]
    enabled: bool
    not_before: datetime | None
    expires: datetime | None
    created: datetime | None
    tags: t.Mapping[str, str]
    recovery_level: str
    retention_days: int | None = None
    hsm_platform: str | None = None

    @property
    def unchecked(self) -> bool:
        """Whether a run imported it out of a file, and died before it was shown to be the key."""
        return UNCHECKED_TAG in self.tags

    @cached_property
    def thumbprint(self) -> str | None:
        """RFC 7638 thumbprint of the public key."""
        return thumbprint(self.public_key) if self.public_key else None

    def is_of(self, wanted_thumbprint: str | None, generation: str | None) -> bool:
        """Tell whether this version is the key with that thumbprint.

        Oct keys have none, so one of them only looks like that generation, by its tag.

        :param generation: a CKA_ID in hexadecimal digits
        """
        if self.public_key is not None:
            return self.thumbprint == wanted_thumbprint
        return generation is not None and self.tags.get(GENERATION_TAG) == generation

    def attributes(self) -> dict[str, t.Any]:
        """Return what can be declared, in the words of the options."""
        return {
            "operations": sorted(self.operations),
            "enabled": self.enabled,
            "not_before": self.not_before and format_moment(self.not_before),
            "expires": self.expires and format_moment(self.expires),
            "tags": dict(self.tags),
        }


@dataclass(frozen=True)
class InVault:
    """What the vault holds of a key.

    :ivar current: its newest version
    :ivar older: its other versions, newest first; read only if the newest is not the wanted one
    :ivar deleted: the newest version of a deleted key that holds the name
    """

    current: Version | None
    older: tuple[Version, ...] = ()
    deleted: Version | None = None

    @property
    def versions(self) -> tuple[Version, ...]:
        """All versions that were looked at, newest first."""
        return (self.current, *self.older) if self.current else self.older


def declared_attributes(
    declaration: Declaration, now: datetime, marks: t.Mapping[str, str]
) -> dict[str, t.Any]:
    """Return the attributes of a version that is imported, as Version.attributes() gives them.

    :param now: when it is imported
    :param marks: the tags that Keyferry adds
    """
    expires = declaration.expires
    if declaration.rotation and declaration.rotation.valid_for:
        expires = declaration.rotation.valid_for.after(now)
    return {
        "operations": sorted(declaration.wanted_operations),
        "enabled": declaration.enabled is not False,
        "not_before": declaration.not_before and format_moment(declaration.not_before),
        "expires": expires and format_moment(expires),
        "tags": {**(declaration.tags or {}), **marks},
    }


def drift(declaration: Declaration, version: Version) -> dict[str, t.Any]:
    """Return the attributes that have to change, with their new values.

    What is not declared stays unchanged, but of a version that is unchecked: it gets what an import
    gives. Declared tags are merged into those of the version.
    """
    operations, enabled = declaration.operations, declaration.enabled
    if version.unchecked:
        operations, enabled = declaration.wanted_operations, declaration.enabled is not False
    declared = {
        "operations": sorted(operations) if operations else None,
        "enabled": enabled,
        "not_before": declaration.not_before and format_moment(declaration.not_before),
        "expires": declaration.expires and format_moment(declaration.expires),
        "tags": {**checked_tags(version.tags), **(declaration.tags or {})},
    }
    return differing(version, declared)


def checked_tags(tags: t.Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a version once it is shown to be the key."""
    return {tag: value for tag, value in tags.items() if tag != UNCHECKED_TAG}


def differing(version: Version, wanted: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return those of the wanted attributes that a version has otherwise.

    :param wanted: by the names of Version.attributes(); None leaves an attribute unchanged
    """
    attributes = version.attributes()
    different = {}
    for name, value in wanted.items():
        if value is not None and value != attributes[name]:
            different[name] = value
    return different
