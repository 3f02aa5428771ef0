# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""All keys of a vault, each with its newest version."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    RsaPublicKey,
)
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
            part.result["keys"].append(
                {**_facts(item["name"], version), "managed": item["managed"]}
            )

    items = [
        {"name": each.name, "managed": bool(each.managed)}
        for each in sorted(listed, key=lambda each: str(each.name))
    ]
    each_key(vault, items, found, add)
    outcome.absorb(found)
    keys: list[dict[str, t.Any]] = found.result["keys"]
    return keys


def _facts(name: str, version: Version) -> dict[str, t.Any]:
    key = version.public_key
    return {
        "name": name,
        "kid": version.kid,
        "version": version.version,
        "kind": str(key or version.type),
        "type": version.type,
        "size": key.size if isinstance(key, RsaPublicKey) else None,
        "curve": key.curve if isinstance(key, EcPublicKey) else None,
        "thumbprint": version.thumbprint,
        "created": version.created and format_moment(version.created),
        "kek": version.operations == ("import",),
        **version.attributes(),
    }
