# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_plan does: look at a vault and say what has to be done with every declared key."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import items_of
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import in_the_token
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.plan import (
    Action,
    Rotating,
    plan_key,
    with_policy,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    MakeOrder,
    PlanEntry,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import refuse_type
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault, open_vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.inventory import take_inventory
from ansible_collections.keyferry.azure.plugins.module_utils._vault.rotation_policy import (
    Policy,
    read_policy,
    refuse_notification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.unmanaged import list_unmanaged
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    list_versions,
    observe,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.wanted_import import read_import

#: Whether a Managed HSM, how many versions a key can have, what happens then (Managed HSM service
#: limits; Key Vault backup)
_MOST_VERSIONS = {True: (100, "takes no more"), False: (500, "cannot back the key up with more")}

#: What locking a key changes in the token, before and after
_LOCKED = {"CKA_EXTRACTABLE": True}, {"CKA_EXTRACTABLE": False}

#: From this part of the limit on, it is spoken of
_NEAR = 0.9


def plan_keys(params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome) -> None:
    """Return the plan for the declared keys; nothing is changed, in check mode or not.

    :raises ByokError: when the vault cannot be looked at; what fails for one key is in the
        outcome's failures
    """
    vault = open_vault(params)
    items = items_of(params, "declarations")
    check_unique(item["name"] for item in items)
    force = frozenset(params["force"]) if params["rotate"] else None
    plan(vault, items, params["target_keys"], force, params["on_deleted"], outcome=outcome)
    warn_of_unknown(force or (), params["target_keys"], outcome)
    if params["unmanaged"] == "report":
        outcome.result["unmanaged"] = list_unmanaged(vault, [item["name"] for item in items])
    outcome.result["versions"] = (
        take_inventory(vault, items, params["target_keys"], outcome)
        if params["all_versions"]
        else None
    )


def plan(
    vault: Vault,
    items: t.Sequence[t.Mapping[str, t.Any]],
    target_keys: t.Iterable[t.Mapping[str, t.Any]],
    force: frozenset[str] | None,
    on_deleted: str = "fail",
    *,
    outcome: Outcome | None = None,
) -> Outcome:
    """Return the plan for keys.

    :param items: the options of one key each
    :param target_keys: the results of byok_target_key
    :param force: identities of generations that are replaced whatever their age; None rotates none
    :param outcome: is filled as this goes, and returned; a new one where none is given
    """
    observed = {result["name"]: result for result in target_keys}
    outcome = Outcome() if outcome is None else outcome
    outcome.result.update(plan=[], transfers=[], orders=[], imports=[], unmanaged=None)

    def add(item: t.Mapping[str, t.Any], part: Outcome) -> None:
        declaration = parse_declaration(item)
        refuse_type(vault.address, declaration)
        if declaration.rotation:
            refuse_notification(vault.address, declaration.name, declaration.rotation)
        in_token = in_the_token(declaration, observed.get(declaration.name))
        in_vault = observe(
            vault,
            declaration.name,
            lambda version: bool(in_token.wanted and in_token.wanted.is_in(version)),
        )
        now = vault.now  # with a wrong clock nothing is planned at all
        rotating = None if force is None else Rotating(now, force)
        action = plan_key(declaration, in_token, in_vault, rotating, on_deleted)
        rotation, policy, policy_changes = declaration.rotation, Policy(), {}
        if rotation and action.action != "conflict":
            if action.version and not in_vault.deleted:
                policy = read_policy(vault, declaration.name, rotation)
            policy_changes = policy.changes(rotation)
        action = with_policy(action, policy_changes)
        if action.action in ("transfer", "rotate") and action.version:
            warn_of_many_versions(vault, declaration.name, part)
        before = {**(action.version.attributes() if action.version else {}), **policy.facts()}
        name_taken = on_deleted if in_vault.deleted else None
        wanted = _import_of(item, action)
        part.planned += _changes(
            vault, {**item, **wanted}, action, before, policy_changes, name_taken
        )
        result = part.result
        part.add("plan", _entry(declaration, action, before))
        if action.action in ("transfer", "rotate", "update", "recover"):
            result["imports"].append(wanted)
        if action.action in ("transfer", "rotate"):
            result["transfers"].append(_as_declared(item))
        if action.action == "rotate" or (action.action == "transfer" and action.wanted is None):
            order = MakeOrder(declaration.name, action.newer_than, now, action.reason)
            part.add("orders", order)

    each_key(vault, items, outcome, add)
    outcome.result["rotations"] = outcome.result["orders"]  # its former name
    return outcome


def warn_of_unknown(
    force: t.Iterable[str], target_keys: t.Sequence[t.Mapping[str, t.Any]], outcome: Outcome
) -> None:
    """Say which of the identities that are to be replaced are of no generation; one that was
    replaced already is no news.
    """
    known = {
        each["thumbprint"] or each["generation"]
        for key in target_keys
        for each in key["generations"]
    }
    unknown = sorted(set(force) - known)
    if unknown:
        outcome.warnings.append(
            f"force names no generation of the declared keys: {', '.join(unknown)}"
        )


def warn_of_many_versions(vault: Vault, name: str, outcome: Outcome) -> None:
    """Say so in time when a key comes near the number of versions that it can have."""
    most, consequence = _MOST_VERSIONS[vault.address.managed_hsm]
    count = len(list_versions(vault, name))
    if count >= _NEAR * most:
        outcome.warnings.append(
            f"{name}: it has {count} versions in the {vault}, which {consequence} than {most}. None can be deleted alone, "
            "so rotate less often, or continue under a new name"
        )


def _changes(
    vault: Vault,
    item: t.Mapping[str, t.Any],
    action: Action,
    before: t.Mapping[str, t.Any],
    policy_changes: t.Mapping[str, t.Any],
    name_taken: str | None,
) -> list[Change]:
    """Return what byok_import will say that it changes, and after it byok_target_key.

    :param item: the options of the key, with what byok_import is told
    :param before: what the newest version and its rotation policy are
    :param name_taken: what becomes of a deleted key that holds the name, as on_deleted says; None
        where there is none
    """
    name = item["name"]
    where = f"key {name} in the {vault}"
    changes = []
    if name_taken and action.action != "conflict":
        after = {"purge": "purged", "recover": "recovered"}[name_taken]
        changes.append(Change(f"deleted {where}", {"state": "deleted"}, {"state": after}))
    if action.action in ("transfer", "rotate"):
        unknown = {
            "thumbprint": None,
            "replaces": None,
            "path": None,
            "package": None,
            "prove": False,
        }
        options = {**unknown, **item}
        facts = read_import(
            parse_declaration(options), options, None, allow_unverified=False
        ).facts(vault.now)
        there: dict[str, t.Any] = {}
        if action.version:
            there = {"version": action.version.version}
            there.update({attribute: before[attribute] for attribute in policy_changes})
        changes.append(Change(where, there, {**facts, **policy_changes}))
    elif wanted := {**action.changes, **policy_changes}:
        changes.append(Change(where, {at: before[at] for at in wanted}, wanted))
    if action.locks:
        changes.append(Change(f"key {name} in its token", *_LOCKED))
    return changes


def _entry(declaration: Declaration, action: Action, before: t.Mapping[str, t.Any]) -> PlanEntry:
    """Return the plan of a key as it leaves.

    :param before: what the newest version and its rotation policy are
    """
    version, generation = action.version, action.wanted
    changes = {
        attribute: {"before": before[attribute], "after": after}
        for attribute, after in action.changes.items()
    }
    if action.locks:
        changes["CKA_EXTRACTABLE"] = {"before": True, "after": False}
    return PlanEntry(
        name=declaration.name,
        action=action.action,
        reason=action.reason,
        kind=str(declaration.spec),
        generation=generation.generation if generation else None,
        thumbprint=generation.thumbprint if generation else None,
        version=version.version if version else None,
        kid=version.kid if version else None,
        foreign=action.foreign,
        next_due=action.next_due,
        changes=changes,
        code=action.code,
    )


def _as_declared(item: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        option: value
        for option, value in item.items()
        if value is not None and option in DECLARATION_OPTIONS
    }


def _import_of(item: t.Mapping[str, t.Any], action: Action) -> dict[str, t.Any]:
    """Return what byok_import has to be told of this key: the version that it supersedes, or the
    key that is there.
    """
    known: dict[str, t.Any] = {}
    if action.action in ("transfer", "rotate") and action.version:
        known["replaces"] = action.version.version
    if action.wanted:
        known["generation"] = action.wanted.generation
        known["thumbprint"] = action.wanted.thumbprint
    return {**_as_declared(item), **{option: value for option, value in known.items() if value}}
