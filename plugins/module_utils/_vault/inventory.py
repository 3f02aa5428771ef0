# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Everything that a vault holds of the declared keys: all their versions, and the generation of
each.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import (
    InToken,
    in_the_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    Duration,
    format_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import (
    KeyVersions,
    VersionFacts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import UNSCHEDULED
from ansible_collections.keyferry.azure.plugins.module_utils._core.validity import state_of
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    read_deleted,
    read_version,
    read_versions,
)


def take_inventory(
    vault: Vault,
    items: t.Sequence[t.Mapping[str, t.Any]],
    target_keys: t.Iterable[t.Mapping[str, t.Any]],
    outcome: Outcome,
    soon: Duration,
) -> dict[str, t.Any]:
    """Return all versions of the declared keys; a key that could not be read is not among them,
    but in the failures.

    :param items: the options of one key each
    :param target_keys: the results of byok_target_key
    :param soon: how long before its expiry a version expires soon
    :returns: ``vault_url``, ``read_at`` by this host's clock (so that it tells whether that was in
        this run), and ``target_keys`` with the fields of KeyVersions
    """
    observed = {result["name"]: result for result in target_keys}
    inventory = Outcome({"target_keys": []})

    def add(item: t.Mapping[str, t.Any], part: Outcome) -> None:
        declaration = parse_declaration(item)
        in_token = in_the_token(declaration, observed.get(declaration.name))
        part.add("target_keys", _take(vault, declaration, in_token, soon))

    each_key(vault, items, inventory, add)
    outcome.absorb(inventory)
    return {
        "vault_url": vault.address.url,
        "read_at": format_moment(host_clock()),
        "target_keys": inventory.result["target_keys"],
    }


def _take(vault: Vault, declaration: Declaration, in_token: InToken, soon: Duration) -> KeyVersions:
    """Return what a vault holds of one key.

    :raises AzureError: when Azure refuses, or its answer cannot be read
    """
    name = declaration.name
    versions, now = read_versions(vault, name), vault.now
    deleted = None if versions else read_deleted(vault, name, forbidden=False)
    newest = versions[0] if versions else None
    # Which one is the newest, a list does not tell: two may be of the same second
    if len(versions) > 1:
        newest = read_version(vault, name)
    versions.sort(key=lambda version: newest is None or version.version != newest.version)
    # A foreign version tells nothing of when this token's key was replaced, or has to be
    ours = [version for version in versions if in_token.holder_of(version)]
    due = None
    if newest and newest.created and in_token.holder_of(newest):
        rotation = declaration.rotation or UNSCHEDULED
        due = rotation.due_at(newest.created, newest.expires)
    return KeyVersions(
        name=name,
        deleted=None if deleted is False else deleted is not None,
        last_rotated=ours[0].created if len(ours) > 1 else None,
        next_due=due,
        versions=tuple(
            replace(
                _facts(version, in_token, active=version is versions[0]),
                state=state_of(version.not_before, version.expires, now, soon).validity,
            )
            for version in versions
        ),
    )


def _facts(version: Version, in_token: InToken, *, active: bool) -> VersionFacts:
    """Return the public facts of a version.

    :param active: whether Azure uses this version where none is named
    """
    ours = in_token.holder_of(version)
    return VersionFacts(
        version=version.version,
        kid=version.kid,
        type=version.type,
        thumbprint=version.thumbprint,
        generation=ours.generation if ours else None,
        ours=ours is not None,
        active=active,
        created=version.created,
        operations=tuple(sorted(version.operations)),
        enabled=version.enabled,
        not_before=version.not_before,
        expires=version.expires,
        tags=version.tags,
    )
