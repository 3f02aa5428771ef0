# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The plan: what turns a vault as it was observed into what is declared; a pure function."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._version import Version, drift


@dataclass(frozen=True)
class KnownGeneration:
    """A generation in the token, as byok_target_key reported it; ``thumbprint`` is None for oct keys."""

    generation: str
    thumbprint: str | None

    def is_in(self, version: Version) -> bool:
        """Tell whether ``version`` is this generation."""
        return version.is_of(self.thumbprint, self.generation)


@dataclass(frozen=True)
class InToken:
    """What the token holds of a key.

    :ivar generations: oldest first
    :ivar wanted: the one that the vault shall have as its newest; None when it has yet to be made
    """

    generations: tuple[KnownGeneration, ...]
    wanted: KnownGeneration | None


@dataclass(frozen=True)
class InVault:
    """What the vault holds of a key.

    :ivar current: its newest version
    :ivar older: its other versions; looked at only where the newest is not what is wanted
    :ivar soft_deleted: the name is taken by a deleted key
    """

    current: Version | None
    older: tuple[Version, ...] = ()
    soft_deleted: bool = False


@dataclass(frozen=True)
class Action:
    """What is to be done with one key, and why.

    :ivar action: ``transfer``, ``update``, ``none`` or ``conflict``
    :ivar wanted: the generation that it is about
    :ivar version: the vault's newest version, which a transfer supersedes
    :ivar changes: attributes to update, with their new values
    """

    action: str
    reason: str
    wanted: KnownGeneration | None = None
    version: Version | None = None
    changes: t.Mapping[str, t.Any] = field(default_factory=dict)


def plan_key(declaration: Declaration, in_token: InToken, in_vault: InVault) -> Action:
    """Return what has to be done with one key."""
    wanted, current = in_token.wanted, in_vault.current
    if current is None:
        if in_vault.soft_deleted:
            return Action("conflict", "a deleted key holds this name in the vault; recover or purge it first", wanted)
        missing = "it is in the token, not in the vault" if wanted else "it is neither in the token nor in the vault"
        return Action("transfer", missing, wanted)
    if wanted and wanted.is_in(current):
        changes = drift(declaration, current)
        reason = f"differs in {', '.join(changes)}" if changes else "the newest version is this key, as declared"
        return Action("update" if changes else "none", reason, wanted, current, changes)
    ours = next((known for known in in_token.generations if known.is_in(current)), None)
    if ours is None:
        whose = "a key that is not in the token" if current.public_key else "not marked as a key of this token"
        return Action("conflict", f"the newest version {current.version} is {whose}", wanted, current)
    order = in_token.generations
    if wanted and order.index(wanted) < order.index(ours):
        return Action(
            "conflict", f"the newest version is generation {ours.generation}, younger than the one declared", wanted, current
        )
    if wanted and any(wanted.is_in(version) for version in in_vault.older):
        return Action("conflict", "it is there as an older version, which is never made the newest again", wanted, current)
    return Action("transfer", f"the newest version is the older generation {ours.generation}", wanted, current)
