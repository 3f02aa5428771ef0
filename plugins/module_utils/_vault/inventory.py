# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Everything that a vault holds of the declared keys: all their versions, and which generation each one is."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import (
    InToken,
    in_the_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    KeyVersions,
    VersionFacts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import UNSCHEDULED
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
) -> dict[str, t.Any]:
    """Return all versions of the declared keys; a key that could not be read is not among them, but in the failures.

    :param items: the options of one key each
    :param target_keys: the results of byok_target_key
    """
    observed = {result["name"]: result for result in target_keys}
    found = Outcome({"target_keys": []})

    def add(item: t.Mapping[str, t.Any], part: Outcome) -> None:
        declaration = parse_declaration(item)
        in_token = in_the_token(declaration, observed.get(declaration.name))
        versions = read_versions(vault, declaration.name)
        deleted = None if versions else read_deleted(vault, declaration.name, forbidden=False)
        # Which one is the newest, a list does not tell: two may be of the same second.
        newest = (
            read_version(vault, declaration.name)
            if len(versions) > 1
            else next(iter(versions), None)
        )
        versions.sort(key=lambda version: newest is None or version.version != newest.version)
        rotation, due = declaration.rotation or UNSCHEDULED, None
        if newest and newest.created and in_token.holder_of(newest):
            due = rotation.due_at(newest.created, newest.expires)
        active = versions[0] if versions else None
        part.add(
            "target_keys",
            KeyVersions(
                name=declaration.name,
                deleted=None if deleted is False else deleted is not None,
                last_rotated=newest.created if newest and len(versions) > 1 else None,
                next_due=due,
                versions=tuple(
                    _facts(version, in_token, active=version is active) for version in versions
                ),
            ),
        )

    each_key(vault, items, found, add)
    outcome.absorb(found)
    return {
        "vault_url": vault.address.url,
        "read_at": format_moment(
            host_clock()
        ),  # by this host's clock: whether it was in this run, that tells
        "target_keys": found.result["target_keys"],
    }


def _facts(version: Version, in_token: InToken, *, active: bool) -> VersionFacts:
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
