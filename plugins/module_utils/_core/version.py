# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A version of a key in a vault as it was observed, and how it differs from what is declared; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    OUR_TAGS,
    Declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    PublicKey,
    thumbprint,
)

#: Tags on what is imported: the CKA_ID of the generation, the serial number of the token, the thumbprint (lists of versions
#: hold no keys), and the SHA-256 of the package, which its receipt has as well. They tell where to look, and prove nothing.
GENERATION_TAG = f"{OUR_TAGS}generation"
TOKEN_TAG = f"{OUR_TAGS}token"
THUMBPRINT_TAG = f"{OUR_TAGS}thumbprint"
PACKAGE_TAG = f"{OUR_TAGS}package"


@dataclass(frozen=True)
class Version:
    """One version of a key in a vault.

    :ivar kid: its identifier with the version
    :ivar version: 32 hexadecimal digits
    :ivar type: Azure's kty
    :ivar public_key: None for oct keys
    :ivar retention_days: how long a deleted key can be recovered
    :ivar hsm_platform: 2 for FIPS 140-3 level 3, 1 for the older HSMs, 0 for software; None where Azure does not tell
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
    def thumbprint(self) -> str | None:
        """RFC 7638 thumbprint of the public key."""
        return thumbprint(self.public_key) if self.public_key else None

    def is_of(self, wanted_thumbprint: str | None, generation: str | None) -> bool:
        """Tell whether this version is the key with that thumbprint or, for oct keys, looks like that generation."""
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
    :ivar older: its other versions; looked at only where the newest is not what is wanted
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
    """Return the attributes of a version imported for this declaration, as Version.attributes() gives them.

    :param now: when it is imported
    :param marks: tags of ours
    """
    valid_for = declaration.rotation and declaration.rotation.valid_for
    expires = valid_for.after(now) if valid_for else declaration.expires
    return {
        "operations": sorted(declaration.wanted_operations),
        "enabled": declaration.enabled is not False,
        "not_before": declaration.not_before and format_moment(declaration.not_before),
        "expires": expires and format_moment(expires),
        "tags": {**(declaration.tags or {}), **marks},
    }


def drift(declaration: Declaration, version: Version) -> dict[str, t.Any]:
    """Return the attributes that have to change and their new values; what is not declared stays as it is.

    Declared tags are merged into those that are there.
    """
    wanted = {
        "operations": sorted(declaration.operations) if declaration.operations else None,
        "enabled": declaration.enabled,
        "not_before": declaration.not_before and format_moment(declaration.not_before),
        "expires": declaration.expires and format_moment(declaration.expires),
        "tags": {**version.tags, **declaration.tags} if declaration.tags else None,
    }
    return differing(version, wanted)


def differing(version: Version, wanted: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return those of the ``wanted`` attributes that ``version`` has otherwise; None means: left as it is."""
    there = version.attributes()
    return {
        name: value for name, value in wanted.items() if value is not None and value != there[name]
    }
