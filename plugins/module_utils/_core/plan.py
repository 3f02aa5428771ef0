# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The plan: what turns a vault as it was observed into what is declared; a pure function."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import (
    InToken,
    KnownGeneration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import UNSCHEDULED
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    InVault,
    Version,
    drift,
)

#: Why a key is not as it shall be although it has arrived
TO_BE_LOCKED = "in the token it has yet to be locked (after_transfer), once all its vaults have it"


@dataclass(frozen=True)
class Rotating:
    """A run that replaces what is due.

    :ivar now: by the vault's Date header
    :ivar force: identities of generations that shall be replaced whatever their age
    """

    now: datetime
    force: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Action:
    """What is to be done with one key, and why.

    :ivar action: ``transfer``, ``rotate``, ``update``, ``recover``, ``lock``, ``none`` or ``conflict``; rotate is a transfer of
        a generation that has yet to be made, and lock is all that is left to do
    :ivar wanted: the generation that it is about
    :ivar version: the vault's newest version, which a transfer supersedes
    :ivar changes: attributes to update, with their new values
    :ivar newer_than: for rotate, the youngest generation that is there
    :ivar next_due: when the newest version is due to be replaced; None for never
    :ivar foreign: the newest version is not of this token
    :ivar locks: in the token it is locked when it has arrived
    """

    action: str
    reason: str
    wanted: KnownGeneration | None = None
    version: Version | None = None
    changes: t.Mapping[str, t.Any] = field(default_factory=dict)
    newer_than: str | None = None
    next_due: datetime | None = None
    foreign: bool = False
    locks: bool = False


def plan_key(
    declaration: Declaration,
    in_token: InToken,
    in_vault: InVault,
    rotating: Rotating | None = None,
    on_deleted: str = "fail",
) -> Action:
    """Return what has to be done with one key.

    :param rotating: replace what is due; if None, nothing is
    :param on_deleted: ``fail``, ``recover`` or ``purge`` where a deleted key holds the name
    """
    action = _plan_vault(declaration, in_token, in_vault, rotating, on_deleted)
    wanted = action.wanted
    if action.action == "transfer" and wanted and wanted.extractable is False:
        action = _plan_instead_of_locked(declaration, in_token, action, wanted, rotating)
    if declaration.after_transfer != "lock" or action.action == "conflict":
        return action
    if action.action in ("transfer", "rotate"):
        return replace(action, locks=True)
    # A tag alone does not show that it has arrived
    if wanted and wanted.thumbprint and wanted.extractable:
        kind = "lock" if action.action == "none" else action.action
        return replace(action, action=kind, reason=f"{action.reason}; {TO_BE_LOCKED}", locks=True)
    return action


def _plan_instead_of_locked(
    declaration: Declaration,
    in_token: InToken,
    action: Action,
    wanted: KnownGeneration,
    rotating: Rotating | None,
) -> Action:
    """Return what is done where a generation is wanted that can leave the token no more."""
    if rotating and wanted.identity in rotating.force and not declaration.generation:
        why = f"the replacement of {wanted.identity}, which was locked, is forced"
        return _plan_another(declaration, in_token, action, rotating, why, forced=True)
    locked = (
        f"the generation {wanted.generation} was locked, so it can go to no further vault; to make another one for all its "
        f"vaults, force the replacement of {wanted.identity}"
    )
    return replace(action, action="conflict", reason=f"{action.reason}, but {locked}")


def _plan_vault(
    declaration: Declaration,
    in_token: InToken,
    in_vault: InVault,
    rotating: Rotating | None,
    on_deleted: str,
) -> Action:
    """Return what has to be done with one key, of which all generations can leave the token, and none is locked."""
    if in_vault.deleted:
        return _plan_deleted(declaration, in_token, in_vault.deleted, rotating, on_deleted)
    standing = _plan_standing(declaration, in_token, in_vault)
    current = in_vault.current
    if current is None:
        return standing
    rotation = declaration.rotation or UNSCHEDULED
    if not standing.foreign and current.created:
        standing = replace(standing, next_due=rotation.due_at(current.created, current.expires))
    if (
        rotating is None or standing.action == "transfer"
    ):  # which brings a younger generation already
        return standing
    ours, due = in_token.holder_of(current), standing.next_due
    forced = ours is not None and ours.identity in rotating.force
    if forced and declaration.generation:
        reason = "its replacement is forced, and it is declared with a generation that is meant; leave generation out"
        return replace(standing, action="conflict", reason=reason)
    if forced and ours:
        why = f"the replacement of {ours.identity} is forced"
    elif ours is None and rotation.on_foreign == "rotate":
        why = "the newest version is foreign"
    elif due and due <= rotating.now:
        why = f"it is due since {format_moment(due)}"
    else:
        return standing
    younger = _younger(in_token, in_vault)
    if younger:
        reason = f"{why}, and the generation {younger.generation} is there"
        return Action("transfer", reason, younger, current, foreign=standing.foreign)
    return _plan_another(declaration, in_token, standing, rotating, why, forced=forced)


def _plan_another(
    declaration: Declaration,
    in_token: InToken,
    standing: Action,
    rotating: Rotating,
    why: str,
    *,
    forced: bool,
) -> Action:
    """Return the action that makes another generation, unless one was made a short time ago.

    :param standing: what else there is to do
    """
    rotation, current = declaration.rotation or UNSCHEDULED, standing.version
    made = max((known.made for known in in_token.generations if known.made), default=None)
    earliest = made and rotation.min_interval.after(made)
    if made and earliest and rotating.now < earliest:
        reason = (
            f"{why}, but its youngest generation was made at {format_moment(made)}, and another one is not made before "
            f"{format_moment(earliest)} (min_interval {rotation.min_interval})"
        )
        # Who names a key to be replaced now has to hear that it was not.
        return replace(
            standing,
            action="conflict" if forced else standing.action,
            reason=reason,
            next_due=earliest,
        )
    newest = in_token.generations[-1].generation if in_token.generations else None
    return Action("rotate", why, None, current, newer_than=newest, foreign=standing.foreign)


def _plan_deleted(
    declaration: Declaration,
    in_token: InToken,
    deleted: Version,
    rotating: Rotating | None,
    on_deleted: str,
) -> Action:
    if on_deleted == "purge":
        action = _plan_vault(declaration, in_token, InVault(None), rotating, on_deleted)
        return replace(
            action, reason=f"a deleted key holds this name and is purged first; {action.reason}"
        )
    if on_deleted == "recover":
        action = _plan_vault(declaration, in_token, InVault(deleted), rotating, on_deleted)
        kind = "recover" if action.action in ("none", "update") else action.action
        return replace(
            action,
            action=kind,
            reason=f"a deleted key holds this name and is recovered; {action.reason}",
        )
    return Action(
        "conflict",
        "a deleted key holds this name in the vault; recover or purge it first",
        in_token.wanted,
    )


def _plan_standing(declaration: Declaration, in_token: InToken, in_vault: InVault) -> Action:
    """Return what has to be done when nothing is rotated."""
    wanted, current = in_token.wanted, in_vault.current
    if current is None:
        missing = (
            "it is in the token, not in the vault"
            if wanted
            else "it is neither in the token nor in the vault"
        )
        return Action("transfer", missing, wanted)
    if wanted and wanted.is_in(current):
        changes = drift(declaration, current)
        reason = (
            f"differs in {', '.join(changes)}"
            if changes
            else "the newest version is this key, as declared"
        )
        return Action("update" if changes else "none", reason, wanted, current, changes)
    ours = in_token.holder_of(current)
    if ours is None:
        whose = (
            "a key that is not in the token"
            if current.public_key
            else "not marked as a key of this token"
        )
        return Action(
            "conflict",
            f"the newest version {current.version} is {whose}",
            wanted,
            current,
            foreign=True,
        )
    if ours.withdrawn:
        reason = f"the newest version is the generation {ours.generation}, which was withdrawn; rotate the key"
        return Action("conflict", reason, wanted, current)
    order = in_token.generations
    if wanted and order.index(wanted) < order.index(ours):
        return Action(
            "conflict",
            f"the newest version is generation {ours.generation}, younger than the one declared",
            wanted,
            current,
        )
    if wanted and any(wanted.is_in(version) for version in in_vault.older):
        return Action(
            "conflict",
            "it is there as an older version, which is never made the newest again",
            wanted,
            current,
        )
    if wanted and _youngest_held(in_token, in_vault) > order.index(wanted):
        reason = f"an older version is of a younger generation than {wanted.generation}, which is never brought after it"
        return Action("conflict", reason, wanted, current)
    return Action(
        "transfer", f"the newest version is the older generation {ours.generation}", wanted, current
    )


def _younger(in_token: InToken, in_vault: InVault) -> KnownGeneration | None:
    """Return a generation that is there and may replace all versions: one of ours, younger than what any of them holds."""
    wanted = in_token.wanted
    if (
        wanted
        and wanted.usable
        and in_token.generations.index(wanted) > _youngest_held(in_token, in_vault)
    ):
        return wanted
    return None


def _youngest_held(in_token: InToken, in_vault: InVault) -> int:
    """Return which of the token's generations is the youngest that a version holds, -1 where none does."""
    order = enumerate(in_token.generations)
    return max(
        (
            number
            for number, known in order
            if any(known.is_in(version) for version in in_vault.versions)
        ),
        default=-1,
    )
