# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Reading the versions of keys, updating their attributes, and looking for deleted ones."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import FORMER_NAMES
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import MAX_TAGS
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    PublicKey,
    RsaPublicKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import InVault, Version
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    NOT_LET_THROUGH,
    AzureError,
)

T = t.TypeVar("T")


def read_version(vault: Vault, name: str, version: str | None = None) -> Version | None:
    """Return one version of a key, the newest where none is named; None when it is not there."""
    bundle = vault.read_if_there(
        f"Reading the key {name} in the {vault}",
        lambda **options: vault.client.get_key(name, version, **options),
    )
    return bundle and to_version(bundle)


def read_versions(vault: Vault, name: str) -> list[Version]:
    """Return all versions of a key, newest first; none for a name that is not there."""
    versions = (
        read_version(vault, name, properties.version) for properties in list_versions(vault, name)
    )
    return [version for version in versions if version]


def observe(vault: Vault, name: str, is_wanted: t.Callable[[Version], bool]) -> InVault:
    """Look at a key: its newest version, and the others only where that is not the wanted one."""
    current = read_version(vault, name)
    if current is None:
        return InVault(None, deleted=read_deleted(vault, name))
    if is_wanted(current):
        return InVault(current)
    return InVault(
        current,
        tuple(each for each in read_versions(vault, name) if each.version != current.version),
    )


def list_keys(vault: Vault) -> list[t.Any]:
    """Return the SDK's KeyProperties of all keys, of all pages: attributes and tags, but no key material.

    :raises AzureError: when the vault cannot be listed
    """
    return vault.read(
        f"Listing the keys of the {vault}",
        lambda **options: list(vault.client.list_properties_of_keys(**options)),
    )


def list_versions(vault: Vault, name: str) -> list[t.Any]:
    """Return the SDK's KeyProperties of all versions, newest first: attributes and tags, but no key material."""
    listed = vault.read(
        f"Listing the versions of the key {name} in the {vault}",
        lambda **options: list(vault.client.list_properties_of_key_versions(name, **options)),
    )
    return sorted(listed, key=lambda properties: properties.created_on, reverse=True)


def read_deleted(vault: Vault, name: str, forbidden: T | None = None) -> Version | T | None:
    """Return the newest version of the deleted key that holds the name, None where there is none.

    :param forbidden: the answer where the identity may not look at deleted keys (403): what stands in the way, Azure says later
    """
    try:
        bundle = vault.read_if_there(
            f"Looking for a deleted key {name} in the {vault}",
            lambda **options: vault.client.get_deleted_key(name, **options),
        )
    except AzureError as error:
        if error.status == 403 and error.code not in NOT_LET_THROUGH:
            return forbidden
        raise
    return bundle and to_version(bundle)


def update(vault: Vault, name: str, version: Version, changes: t.Mapping[str, t.Any]) -> Version:
    """Change attributes of one version.

    :param changes: new values by the names of Version.attributes(); tags as the whole new set, as Azure replaces it
    :raises ByokError: when Azure refuses
    """
    if len(changes.get("tags", {})) > MAX_TAGS:
        raise ByokError(
            f"The key {name} in the {vault} would have {len(changes['tags'])} tags, and Azure takes {MAX_TAGS}",
            "Declare fewer tags, or remove some from the key",
        )
    wanted = {
        "key_operations": changes.get("operations"),
        "enabled": changes.get("enabled"),
        "not_before": changes.get("not_before") and parse_moment(changes["not_before"]),
        "expires_on": changes.get("expires") and parse_moment(changes["expires"]),
        "tags": changes.get("tags"),
    }

    def landed() -> Version | None:
        found = read_version(vault, name, version.version)
        return found if found and {**found.attributes(), **changes} == found.attributes() else None

    return vault.write(
        f"Updating {', '.join(changes)} of the key {name} in the {vault}",
        lambda **options: to_version(
            vault.client.update_key_properties(name, version.version, **wanted, **options)
        ),
        landed,
    )


def to_version(bundle: t.Any) -> Version:
    """Read the SDK's KeyVaultKey."""
    properties, kind = bundle.properties, _plain(bundle.key_type)
    return Version(
        kid=bundle.id,
        version=properties.version,
        type=kind,
        public_key=_public_key(kind, bundle.key),
        operations=tuple(map(_plain, bundle.key_operations or ())),
        enabled=properties.enabled is not False,
        not_before=properties.not_before,
        expires=properties.expires_on,
        created=properties.created_on,
        tags=properties.tags or {},
        recovery_level=_plain(properties.recovery_level or ""),
        retention_days=getattr(properties, "recoverable_days", None),
        hsm_platform=getattr(properties, "hsm_platform", None),
    )


def _public_key(kind: str, key: t.Any) -> PublicKey | None:
    # By kty alone: Azure echoes a stray crv on RSA keys.
    if kind.startswith("RSA"):
        return RsaPublicKey(int.from_bytes(key.n, "big"), int.from_bytes(key.e, "big"))
    if kind.startswith("EC"):
        curve = _plain(key.crv)
        return EcPublicKey(
            FORMER_NAMES.get(curve, curve),
            int.from_bytes(key.x, "big"),
            int.from_bytes(key.y, "big"),
        )
    return None


def _plain(value: t.Any) -> str:
    return str(getattr(value, "value", value))  # the SDK mixes enum members and strings
