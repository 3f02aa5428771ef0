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
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import VaultKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    list_keys,
    read_version,
)


def list_all_keys(vault: Vault, outcome: Outcome) -> list[dict[str, t.Any]]:
    """Return all keys by name; one that could not be read is not among them, but in the failures.

    :raises AzureError: when the vault cannot be listed
    """
    listed = list_keys(vault)
    found = Outcome({"keys": []})

    def add(item: t.Mapping[str, t.Any], part: Outcome) -> None:
        version = read_version(vault, item["name"])
        if version:  # it was not deleted meanwhile
            part.add("keys", _describe(item["name"], version, item["managed"]))

    items = [
        {"name": each.name, "managed": each.managed}
        for each in sorted(listed, key=lambda each: str(each.name))
    ]
    each_key(vault, items, found, add)
    outcome.absorb(found)
    keys: list[dict[str, t.Any]] = found.result["keys"]
    return keys


def _describe(name: str, version: Version, managed: bool) -> VaultKey:
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
