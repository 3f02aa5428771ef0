# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The plan: what turns a vault as it was observed into what is declared; pure.

``RULES`` is a chain of small functions: the first one that decides wins. What holds for a decision
whichever rule made it, such as that a locked key goes nowhere, is in ``AMENDMENTS``.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import MOST_DIFFERENCE
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import (
    InToken,
    KnownGeneration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import ActionName
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import (
    UNSCHEDULED,
    Rotation,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    InVault,
    Version,
    drift,
)

#: Why a version without a public key is taken for a generation
BY_TAG = "by its tag, not proved"

#: Why a key is not as declared although it has arrived
TO_BE_LOCKED = "in the token it has yet to be locked (after_transfer), once all its vaults have it"


@dataclass(frozen=True)
class Rotating:
    """A run that replaces what is due.

    :ivar now: as the vault's clock decides it
    :ivar force: identities of generations to replace whatever their age, or names of their keys
    """

    now: datetime
    force: frozenset[str] = frozenset()

    def forces(self, name: str, generation: KnownGeneration) -> bool:
        """Tell whether a generation of the key ``name`` must be replaced whatever its age."""
        return bool(self.force & {generation.identity, name})


@dataclass(frozen=True)
class Action:
    """What has to be done with one key, and why.

    :ivar action: ``rotate`` is a transfer of a generation that must be made first; ``lock`` means
        that nothing else is left to do
    :ivar code: why, for programs: a key of reasons.DECISIONS
    :ivar reason: why, for people
    :ivar wanted: the generation that it is about
    :ivar version: the vault's newest version, which a transfer supersedes
    :ivar changes: attributes to update, with their new values; none in a conflict
    :ivar newer_than: for ``rotate``, CKA_ID of the youngest generation in the token
    :ivar next_due: when the newest version is due to be replaced; None for never
    :ivar foreign: the newest version is not of this token
    :ivar locks: once the key has arrived, it is locked in the token
    :ivar remedy: what to do about a conflict; None for other actions. Options that are words of
        English are called "the option force"
    """

    action: ActionName
    code: str
    reason: str
    wanted: KnownGeneration | None = None
    version: Version | None = None
    changes: t.Mapping[str, t.Any] = field(default_factory=dict)
    newer_than: str | None = None
    next_due: datetime | None = None
    foreign: bool = False
    locks: bool = False
    remedy: str | None = None


@dataclass(frozen=True)
class Cause:
    """Why the newest version must be replaced now.

    :ivar code: ``forced``, ``foreign_version`` or ``due``
    """

    code: str
    reason: str
    now: datetime


@dataclass(frozen=True)
class Situation:
    """All that the plan of one key depends on.

    :ivar rotating: None for a run that replaces nothing
    :ivar on_deleted: ``fail``, ``recover`` or ``purge`` if a deleted key holds the name
    """

    declaration: Declaration
    in_token: InToken
    in_vault: InVault
    rotating: Rotating | None = None
    on_deleted: str = "fail"

    @property
    def wanted(self) -> KnownGeneration | None:
        """The generation that the vault should have as its newest version."""
        return self.in_token.wanted

    @property
    def rotation(self) -> Rotation:
        """How the key is rotated, declared or not."""
        return self.declaration.rotation or UNSCHEDULED

    @cached_property
    def versions(self) -> tuple[Version, ...]:
        """The versions in the vault, newest first, after ``on_deleted`` was followed."""
        deleted = self.in_vault.deleted
        if deleted is None:
            return self.in_vault.versions
        return (deleted,) if self.on_deleted == "recover" else ()

    @property
    def current(self) -> Version | None:
        """The newest version."""
        return self.versions[0] if self.versions else None

    @cached_property
    def holder(self) -> KnownGeneration | None:
        """The generation that the newest version is; None for a foreign version."""
        return self.in_token.holder_of(self.current) if self.current else None

    @property
    def is_foreign(self) -> bool:
        """Tell whether the newest version is not of this token."""
        return self.current is not None and self.holder is None

    @property
    def holds_wanted(self) -> bool:
        """Tell whether the newest version is the wanted generation."""
        return bool(self.wanted and self.current and self.wanted.is_in(self.current))

    @cached_property
    def youngest_held(self) -> int:
        """The place, in the token's order, of the youngest generation in the vault; -1 for none."""
        place = len(self.in_token.generations) - 1
        for generation in reversed(self.in_token.generations):
            if any(generation.is_in(version) for version in self.versions):
                break
            place -= 1
        return place

    @property
    def wanted_is_youngest(self) -> bool:
        """Tell whether the wanted generation is younger than all that the vault has or had."""
        wanted = self.wanted
        return wanted is not None and self._place(wanted) > self.youngest_held

    @property
    def wanted_is_older_than_holder(self) -> bool:
        """Tell whether the newest version is a younger generation than the wanted one."""
        if self.wanted is None or self.holder is None:
            return False
        return self._place(self.wanted) < self._place(self.holder)

    @property
    def next_due(self) -> datetime | None:
        """When the newest version is due to be replaced; None for never, and for a foreign one."""
        current = self.current
        if current is None or self.is_foreign or current.created is None:
            return None
        return self.rotation.due_at(current.created, current.expires)

    @property
    def is_forced(self) -> bool:
        """Tell whether the run was told to replace the newest version."""
        if self.rotating is None or self.holder is None:
            return False
        return self.rotating.forces(self.declaration.name, self.holder)

    @cached_property
    def cause(self) -> Cause | None:
        """Why the newest version must be replaced now; None if it need not be."""
        if self.rotating is None or self.current is None:
            return None
        now, due = self.rotating.now, self.next_due
        if self.holder and self.is_forced:
            reason = f"the replacement of {self.holder.identity} is forced"
            return Cause("forced", reason, now)
        if self.holder is None and self.rotation.on_foreign == "rotate":
            return Cause("foreign_version", "the newest version is foreign", now)
        if due and due <= now:
            return Cause("due", f"it is due since {format_moment(due)}", now)
        return None

    def decide(self, action: ActionName, code: str, reason: str) -> Action:
        """Return an action on the wanted generation and the newest version."""
        return Action(
            action,
            code,
            reason,
            self.wanted,
            self.current,
            next_due=self.next_due,
            foreign=self.is_foreign,
        )

    def conflict(self, code: str, reason: str, remedy: str) -> Action:
        """Return that somebody has to decide.

        :param remedy: what they can do
        """
        return replace(self.decide("conflict", code, reason), remedy=remedy)

    def _place(self, generation: KnownGeneration) -> int:
        return self.in_token.generations.index(generation)


#: Decides, or leaves the decision to the next rule
Rule: t.TypeAlias = "t.Callable[[Situation], Action | None]"

#: Returns the decision as it is, or another one
Amendment = t.Callable[[Situation, Action], Action]


def plan_key(
    declaration: Declaration,
    in_token: InToken,
    in_vault: InVault,
    rotating: Rotating | None = None,
    on_deleted: str = "fail",
) -> Action:
    """Return what has to be done with one key.

    :param rotating: replace what is due; if None, nothing is
    :param on_deleted: ``fail``, ``recover`` or ``purge`` if a deleted key holds the name
    """
    situation = Situation(declaration, in_token, in_vault, rotating, on_deleted)
    action = first(RULES, situation)
    for amend in AMENDMENTS:
        action = amend(situation, action)
    return action


def first(rules: t.Iterable[Rule], situation: Situation) -> Action:
    """Return the action of the first rule that decides.

    :raises LookupError: when none does, which a property test excludes
    """
    for rule in rules:
        action = rule(situation)
        if action:
            return action
    raise LookupError(f"No rule decides on the key {situation.declaration.name}")


def with_policy(action: Action, policy_changes: t.Mapping[str, t.Any]) -> Action:
    """Return an action that updates Azure's own rotation policy as well.

    :param policy_changes: what has to change in the policy of a key that is in the vault, with the
        new values; an import sets the policy itself
    """
    if not policy_changes or action.action not in ("none", "lock", "update"):
        return action
    changes = {**action.changes, **policy_changes}
    if action.action == "update":
        return replace(action, changes=changes)
    reason = f"Azure's rotation policy differs in {', '.join(policy_changes)}"
    if action.locks:
        reason = f"{reason}; {TO_BE_LOCKED}"
    return replace(
        action, action="update", code="rotation_policy_differs", reason=reason, changes=changes
    )


def with_interrupted(action: Action) -> Action:
    """Return an action that also looks after an import that an interrupted run sent.

    Where the key is brought or changed, that is done anyway; a conflict comes first.
    """
    if action.action not in ("none", "lock"):
        return action
    reason = "an interrupted run imported it, and it has yet to be verified and recorded"
    if action.locks:
        reason = f"{reason}; {TO_BE_LOCKED}"
    return replace(action, action="update", code="interrupted_import", reason=reason)


# Rules: what the vault does not have yet


def deleted_name(situation: Situation) -> Action | None:
    """A deleted key holds the name, and nobody said what to do with it."""
    if situation.in_vault.deleted is None or situation.on_deleted in ("recover", "purge"):
        return None
    return situation.conflict(
        "deleted_name",
        "a deleted key holds this name in the vault",
        "Recover it (playbook recover), or set on_deleted to recover or purge",
    )


def not_in_vault(situation: Situation) -> Action | None:
    """The vault has no version."""
    if situation.current:
        return None
    if situation.wanted:
        reason = "it is in the token, not in the vault"
        return situation.decide("transfer", "not_in_vault", reason)
    reason = "it is neither in the token nor in the vault"
    return situation.decide("transfer", "not_anywhere", reason)


def older_generation_in_vault(situation: Situation) -> Action | None:
    """The vault lags behind the token, so it gets the wanted generation, in a rotation as well."""
    holder = situation.holder
    if holder is None or holder.withdrawn:
        return None
    if situation.wanted and not situation.wanted_is_youngest:
        return None
    reason = f"the newest version is the older generation {holder.generation}"
    return situation.decide("transfer", "older_generation_in_vault", reason)


# Rules: what a rotation replaces


def generation_fixed(situation: Situation) -> Action | None:
    """Nothing replaces a generation that the declaration names."""
    if not (situation.is_forced and situation.declaration.generation):
        return None
    return situation.conflict(
        "generation_fixed",
        "its replacement is forced, but its declaration fixes the generation",
        "Remove generation from the declaration, or leave the key out of the option force",
    )


def made_ahead(situation: Situation) -> Action | None:
    """A generation that was made ahead replaces the newest version."""
    cause, wanted = situation.cause, situation.wanted
    if cause is None or wanted is None:
        return None
    if not (wanted.usable and situation.wanted_is_youngest):
        return None
    reason = f"{cause.reason}, and the generation {wanted.generation} is there"
    foreign = situation.is_foreign
    return Action("transfer", cause.code, reason, wanted, situation.current, foreign=foreign)


def min_interval(situation: Situation) -> Action | None:
    """Another generation must be made, but it is too early: do what else there is to do."""
    if situation.cause is None:
        return None
    return _wait(situation, situation.cause, first(WITHOUT_ROTATION, situation))


def replacement(situation: Situation) -> Action | None:
    """Another generation must be made."""
    if situation.cause is None:
        return None
    return _make_another(situation, situation.cause)


# Rules: what has to be done with the newest version as it is


def attributes_differ(situation: Situation) -> Action | None:
    """The wanted generation is there, with other attributes than declared."""
    if situation.current is None or not situation.holds_wanted:
        return None
    changes = drift(situation.declaration, situation.current)
    if not changes:
        return None
    reason = f"differs in {', '.join(changes)}"
    return replace(situation.decide("update", "attributes_differ", reason), changes=changes)


def in_place(situation: Situation) -> Action | None:
    """The wanted generation is there."""
    if not situation.holds_wanted:
        return None
    return situation.decide("none", "in_place", "the newest version is this key, as declared")


def foreign_version(situation: Situation) -> Action | None:
    """The newest version is not of this token, so somebody has to find out whose it is."""
    current = situation.current
    if current is None or not situation.is_foreign:
        return None
    if current.public_key:
        whose = "a key that is not in the token"
    else:
        whose = "not marked as a key of this token"
    return situation.conflict(
        "foreign_version",
        f"the newest version {current.version} is {whose}",
        "Find out who made that version. If the token's key should replace it, declare rotation "
        "with on_foreign: rotate, and rotate the key. If not, declare the key under another name",
    )


def withdrawn_version(situation: Situation) -> Action | None:
    """The newest version is a generation that nobody should use any more."""
    holder = situation.holder
    if holder is None or not holder.withdrawn:
        return None
    return situation.conflict(
        "withdrawn_version",
        f"the newest version is the generation {holder.generation}, which was withdrawn",
        _how_to_replace(holder),
    )


def younger_than_declared(situation: Situation) -> Action | None:
    """The newest version is younger than the declared generation."""
    holder = situation.holder
    if holder is None or not situation.wanted_is_older_than_holder:
        return None
    return situation.conflict(
        "younger_than_declared",
        f"the newest version is generation {holder.generation}, younger than the one declared",
        f"To keep that version, declare generation: {holder.generation}. {_how_to_replace(holder)}",
    )


def superseded_generation(situation: Situation) -> Action | None:
    """The wanted generation was the newest version once."""
    wanted, holder = situation.wanted, situation.holder
    if wanted is None or holder is None:
        return None
    if not any(wanted.is_in(version) for version in situation.versions[1:]):
        return None
    return situation.conflict(
        "superseded_generation",
        "it is there as an older version, which is never made the newest again",
        _how_to_replace(holder),
    )


def younger_generation_in_vault(situation: Situation) -> Action | None:
    """A younger generation than the wanted one was the newest version once."""
    wanted, holder = situation.wanted, situation.holder
    if wanted is None or holder is None or situation.wanted_is_youngest:
        return None
    return situation.conflict(
        "younger_generation_in_vault",
        f"an older version is of a younger generation than {wanted.generation}, which is never "
        "brought after it",
        _how_to_replace(holder),
    )


#: For what the vault has, when nothing replaces it
WITHOUT_ROTATION: tuple[Rule, ...] = (
    attributes_differ,
    in_place,
    foreign_version,
    withdrawn_version,
    younger_than_declared,
    superseded_generation,
    younger_generation_in_vault,
)

RULES: tuple[Rule, ...] = (
    deleted_name,
    not_in_vault,
    older_generation_in_vault,
    generation_fixed,
    made_ahead,
    min_interval,
    replacement,
    *WITHOUT_ROTATION,
)


# Amendments


def name_what_becomes_of_deleted(situation: Situation, action: Action) -> Action:
    """A deleted key that holds the name is recovered or purged before anything else is done."""
    if situation.in_vault.deleted is None or action.code == "deleted_name":
        return action
    if situation.on_deleted == "purge":
        reason = f"a deleted key holds this name and is purged first; {action.reason}"
        return replace(action, code="purge_deleted", reason=reason)
    reason = f"a deleted key holds this name and is recovered; {action.reason}"
    if action.action in ("none", "update"):
        return replace(action, action="recover", code="recover_deleted", reason=reason)
    return replace(action, reason=reason)


def refuse_locked(situation: Situation, action: Action) -> Action:
    """A locked generation cannot leave the token, so only another one can go to a further vault."""
    wanted, rotating = action.wanted, situation.rotating
    if action.action != "transfer" or wanted is None or wanted.extractable is not False:
        return action
    is_forced = rotating is not None and rotating.forces(situation.declaration.name, wanted)
    if rotating and is_forced and not situation.declaration.generation:
        reason = f"the replacement of {wanted.identity}, which was locked, is forced"
        cause = Cause("forced", reason, rotating.now)
        return _wait(situation, cause, action) or _make_another(situation, cause)
    reason = (
        f"{action.reason}, but the generation {wanted.generation} was locked, so it can go to no "
        "further vault"
    )
    remedy = (
        "To make another generation for all its vaults, rotate the key with the option force set "
        f"to {wanted.identity}"
    )
    return replace(
        action, action="conflict", code="locked_generation", reason=reason, remedy=remedy
    )


def lock_after_transfer(situation: Situation, action: Action) -> Action:
    """A key that is declared so is locked in the token once it has arrived.

    A run that died may have left older generations unlocked; they are locked with it.
    """
    if situation.declaration.after_transfer != "lock" or action.action == "conflict":
        return action
    if action.action in ("transfer", "rotate"):
        return replace(action, locks=True)
    wanted = action.wanted
    # A tag alone, which is all that marks a key without a thumbprint, does not show its arrival.
    if not (wanted and wanted.thumbprint):
        return action
    superseded = replace(situation.in_token, wanted=wanted).superseded_unlocked()
    if wanted.extractable:
        reason = f"{action.reason}; {TO_BE_LOCKED}"
    elif superseded:
        which = ", ".join(generation.generation for generation in superseded)
        reason = f"{action.reason}; {TO_BE_LOCKED}: its superseded generations {which}"
    else:
        return action
    if action.action == "none":
        return replace(action, action="lock", code="not_locked", reason=reason, locks=True)
    return replace(action, reason=reason, locks=True)


def tell_what_a_tag_tells(situation: Situation, action: Action) -> Action:
    """That a version without a public key is the wanted one, its tag alone says, and tags can be
    written by others.
    """
    current = situation.current
    if action.action not in ("none", "update", "lock", "recover") or not situation.holds_wanted:
        return action
    if current is None or current.public_key is not None:
        return action
    return replace(action, reason=f"{action.reason} ({BY_TAG})")


AMENDMENTS: tuple[Amendment, ...] = (
    name_what_becomes_of_deleted,
    refuse_locked,
    lock_after_transfer,
    tell_what_a_tag_tells,
)


def _wait(situation: Situation, cause: Cause, otherwise: Action) -> Action | None:
    """Return what is done until min_interval has passed; None if it has.

    :param otherwise: what there is to do when no generation is made
    """
    latest = cause.now + MOST_DIFFERENCE
    moments = [generation.made for generation in situation.in_token.generations if generation.made]
    made = max((moment for moment in moments if moment <= latest), default=None)
    if made is None:
        return None
    interval = situation.rotation.min_interval
    earliest = interval.after(made)
    if cause.now >= earliest:
        return None
    reason = (
        f"{cause.reason}, but its youngest generation was made at {format_moment(made)}, and "
        f"another one is not made before {format_moment(earliest)} (min_interval {interval})"
    )
    action = replace(otherwise, code="min_interval", reason=reason, next_due=earliest)
    if cause.code != "forced":
        return action
    # Whoever names a key to be replaced now must hear that it was not.
    remedy = "Rotate the key again then, or declare a shorter min_interval"
    return replace(action, action="conflict", changes={}, remedy=remedy)


def _how_to_replace(holder: KnownGeneration) -> str:
    """Return how a person has the newest version replaced.

    :param holder: the generation that it is
    """
    return (
        "To replace it by another generation, declare no generation, and rotate the key with the "
        f"option force set to {holder.identity}"
    )


def _make_another(situation: Situation, cause: Cause) -> Action:
    generations = situation.in_token.generations
    return Action(
        "rotate",
        cause.code,
        cause.reason,
        version=situation.current,
        newer_than=generations[-1].generation if generations else None,
        foreign=situation.is_foreign,
    )
