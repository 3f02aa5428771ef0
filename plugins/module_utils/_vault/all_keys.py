# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""All keys of a vault, each with its newest version."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    RsaPublicKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import VaultKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    list_keys,
    read_version,
)


def list_all_keys(vault: Vault, outcome: Outcome) -> list[dict[str, t.Any]]:
    """Return all keys by name; one that could not be read is not among them, but in the failures.

    :returns: of each key the fields of VaultKey
    :raises AzureError: when the vault cannot be listed
    """
    listed = sorted(list_keys(vault), key=lambda key: str(key.name))
    items = [{"name": key.name, "managed": key.managed} for key in listed]
    described = Outcome({"keys": []})

    def add(item: t.Mapping[str, t.Any], part: Outcome) -> None:
        version = read_version(vault, item["name"])
        if version:  # it was not deleted meanwhile
            part.add("keys", _describe(item["name"], version, item["managed"]))

    each_key(vault, items, described, add)
    outcome.absorb(described)
    keys: list[dict[str, t.Any]] = described.result["keys"]
    return keys


def _describe(name: str, version: Version, managed: bool) -> VaultKey:
    """Return the public facts of a key, by its newest version.

    :param managed: whether the key belongs to a certificate
    """
    key = version.public_key
    return VaultKey(
        name=name,
        kid=version.kid,
        version=version.version,
        kind=str(key or version.type),
        type=version.type,
        size=key.size if isinstance(key, RsaPublicKey) else None,
        curve=key.curve if isinstance(key, EcPublicKey) else None,
        thumbprint=version.thumbprint,
        created=version.created,
        kek=version.operations == ("import",),
        managed=managed,
        operations=tuple(sorted(version.operations)),
        enabled=version.enabled,
        not_before=version.not_before,
        expires=version.expires,
        tags=version.tags,
    )
