# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_plan does: look at a vault and say what has to be done with every declared key."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import items_of
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import (
    InToken,
    in_the_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    refuse_kek_of_other_vault,
    unusable_kek,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    Duration,
    parse_duration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import parse_kid
from ansible_collections.keyferry.azure.plugins.module_utils._core.plan import (
    Action,
    Rotating,
    plan_key,
    with_interrupted,
    with_policy,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import StayingKek
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    MakeOrder,
    PlanEntry,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import short_overlap
from ansible_collections.keyferry.azure.plugins.module_utils._core.sent_import import (
    FINISHED,
    INTERRUPTED,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.validity import (
    OF_SEVERAL,
    VALIDITIES,
    Dated,
    state_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.evidence_folder import (
    EvidenceFolder,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.journal import Journal
from ansible_collections.keyferry.azure.plugins.module_utils._steps.receipts import (
    look_at_receipts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import refuse_type
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault, open_vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import AzureError
from ansible_collections.keyferry.azure.plugins.module_utils._vault.inventory import take_inventory
from ansible_collections.keyferry.azure.plugins.module_utils._vault.rotation_policy import (
    Policy,
    read_policy,
    refuse_notification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.unmanaged import (
    expired,
    list_to_report,
    list_unmanaged,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    Listed,
    Names,
    list_deleted,
    list_keys,
    list_versions,
    observe,
    read_version,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.wanted_import import (
    Believed,
    read_import,
)

#: Whether a Managed HSM, how many versions a key can have, what happens then (Managed HSM service
#: limits; Key Vault backup)
_MOST_VERSIONS = {True: (100, "takes no more"), False: (500, "cannot back the key up with more")}

#: Keys on a page of a list (Azure's REST reference: maxresults): for fewer new ones, a list of the
#: deleted keys is no gain
_LISTED_AT_ONCE = 25

#: What locking a key changes in the token, before and after
_LOCKED = {"CKA_EXTRACTABLE": True}, {"CKA_EXTRACTABLE": False}

#: Options of byok_import that a plan does not know
_NOT_TOLD: t.Mapping[str, t.Any] = {
    "thumbprint": None,
    "replaces": None,
    "path": None,
    "package": None,
    "sha256": None,
    "challenge": None,
    "prove": False,
}

#: What a plan tells of a version that an import will make
_OF_NEW_VERSION = ("operations", "enabled", "not_before", "expires", "tags")

#: From this part of the limit on, it is spoken of
_NEAR = 0.9

#: How many keys a warning names
_MOST_NAMED = 10

#: How long before its expiry a version expires soon, where nothing else is said
SOON = "P30D"
_SOON = parse_duration(SOON)


#: Actions that make a new version in the vault
_BRINGING = ("transfer", "rotate")

#: Actions that byok_import carries out
_IMPORTING = (*_BRINGING, "update", "recover")


@dataclass(frozen=True)
class Asked:
    """What a run is asked for, beside its keys.

    :ivar force: identities of generations that are replaced whatever their age, or names of their
        keys; None rotates nothing
    :ivar on_deleted: ``fail``, ``recover`` or ``purge`` where a deleted key holds a name
    :ivar journal: the imports that interrupted runs of this host sent to the vault
    :ivar soon: how long before its expiry a version expires soon
    """

    force: frozenset[str] | None
    on_deleted: str
    journal: Journal
    soon: Duration = _SOON


@dataclass(frozen=True)
class _Planned:
    """What has to be done with one key, and what that changes.

    :ivar before: what the newest version and its rotation policy are
    :ivar policy_changes: what has to change in the policy, with the new values
    :ivar name_taken: what becomes of a deleted key that holds the name, as on_deleted says; None
        where there is none
    :ivar now: what time it was by the vault
    :ivar finishes: an interrupted run sent an import that has to be looked after
    :ivar dated: the state of the newest version, or else of what would be brought
    """

    declaration: Declaration
    action: Action
    before: t.Mapping[str, t.Any]
    policy_changes: t.Mapping[str, t.Any]
    name_taken: str | None
    now: datetime
    finishes: bool
    dated: Dated

    @property
    def reason(self) -> str:
        """Why, for people, with the state of the newest version."""
        if self.dated.sentence is None:
            return self.action.reason
        which = "the newest version" if self.action.version else "what would be brought"
        return f"{self.action.reason}; {which} {self.dated.sentence}"

    @property
    def brings(self) -> bool:
        """Whether the vault gets a new version."""
        return self.action.action in _BRINGING

    @property
    def makes(self) -> bool:
        """Whether the generation has to be made first."""
        action = self.action
        return action.action == "rotate" or (action.action == "transfer" and action.wanted is None)


def plan_keys(params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome) -> None:
    """Return the plan for the declared keys; nothing is changed, in check mode or not.

    :raises ByokError: when the vault cannot be looked at; what fails for one key is in the
        outcome's failures
    """
    vault = open_vault(params, outcome.warnings.append)
    items = items_of(params, "declarations")
    check_unique(item["name"] for item in items)
    force = frozenset(params["force"]) if params["rotate"] else None
    journal = Journal(params["state_directory"], vault.address.url)
    asked = Asked(force, params["on_deleted"], journal, parse_duration(params["expires_soon"]))
    names = [item["name"] for item in items]
    lists = _Lists(vault, names) if params["expired_prefix"] else None
    plan(vault, items, params["target_keys"], asked, outcome=outcome, lists=lists)
    warn_of_unknown(force or (), params["target_keys"], outcome)
    listed = None
    if params["unmanaged"] == "report":
        listed = lists.keys if lists else None
        if listed is None:
            listed = list_to_report(vault)
        outcome.result["unmanaged"] = list_unmanaged(vault, names, listed)
    if (params["kek_name"] or params["kek_id"]) and not outcome.failures:
        _tell_of_kek(vault, params["kek_name"], params["kek_id"], asked.soon, outcome)
    if lists and not outcome.failures:
        outcome.result["expired_keks"] = lists.expired_keks(params["expired_prefix"], outcome)
    folder = EvidenceFolder(params["receipt_directory"], vault.address.url)
    warn = outcome.warnings.append
    outcome.result["receipts"] = look_at_receipts(folder, outcome.result["plan"], warn)
    versions = None
    if params["all_versions"]:
        versions = take_inventory(vault, items, params["target_keys"], outcome, asked.soon)
    outcome.result["versions"] = versions


def plan(
    vault: Vault,
    items: t.Sequence[t.Mapping[str, t.Any]],
    target_keys: t.Iterable[t.Mapping[str, t.Any]],
    asked: Asked,
    *,
    outcome: Outcome | None = None,
    lists: _Lists | None = None,
) -> Outcome:
    """Return the plan for keys.

    :param items: the options of one key each
    :param target_keys: the results of byok_target_key
    :param outcome: is filled as this goes, and returned; a new one where none is given
    :param lists: of the vault, where they are taken anyway: they save a request for each new key
    """
    observed = {result["name"]: result for result in target_keys}
    outcome = Outcome() if outcome is None else outcome
    outcome.result.update(plan=[], transfers=[], orders=[], imports=[])
    outcome.result.update(unmanaged=None, expired_keks=[], kek=None)

    def add(item: t.Mapping[str, t.Any], part: Outcome) -> None:
        declaration = parse_declaration(item)
        refuse_type(vault.address, declaration)
        if declaration.rotation:
            refuse_notification(vault.address, declaration.name, declaration.rotation)
        if warning := short_overlap(declaration.name, declaration.rotation):
            part.warnings.append(warning)
        in_token = in_the_token(declaration, observed.get(declaration.name))
        names = lists.names if lists else Names()
        planned = _plan_one(vault, declaration, in_token, asked, names)
        _report(vault, item, planned, part)

    each_key(vault, items, outcome, add, lists.take if lists else None)
    _warn_of_states(vault, outcome)
    outcome.result["rotations"] = outcome.result["orders"]  # its former name
    return outcome


def _warn_of_states(vault: Vault, outcome: Outcome) -> None:
    """Say, in one sentence for each state, which keys have expired, expire soon or are not yet
    valid; what is replaced in this run needs no warning.
    """
    for state in VALIDITIES:
        names = [
            entry["name"]
            for entry in outcome.result["plan"]
            if entry["state"] == state and not (entry["version"] and entry["action"] in _BRINGING)
        ]
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            outcome.warnings.append(
                f"Keys in the {vault} that {OF_SEVERAL[state]}: {', '.join(names[:_MOST_NAMED])}"
                f"{more}. The plan tells the moments"
            )


def _tell_of_kek(
    vault: Vault, name: str | None, kid: str | None, soon: Duration, outcome: Outcome
) -> None:
    """Report a KEK that stays, and warn of one that cannot be used now or soon; nothing that is
    planned depends on it yet.

    :param name: of the KEK, of which the newest version counts
    :param kid: instead, the identifier of one version
    :raises ByokError: for an identifier of another vault
    """
    version = None
    if kid:
        refuse_kek_of_other_vault(kid, vault.address.url)
        key_id = parse_kid(kid)
        name, version = key_id.name, key_id.version
    what = f"The KEK {name} in the {vault}"
    try:
        kek = read_version(vault, str(name), version)
    except AzureError as error:
        outcome.warnings.append(f"When the KEK {name} expires is not known: {error.what}")
        return
    if kek is None:
        if kid:
            outcome.warnings.append(f"{what} is not there: its version {version} does not exist")
        return
    dated = state_of(kek.not_before, kek.expires, vault.now, soon)
    outcome.result["kek"] = StayingKek(str(name), kek.kid, kek.expires, dated.validity).to_dict()
    if dated.sentence:
        outcome.warnings.append(unusable_kek(what, dated.sentence))


class _Lists:
    """What the lists of a vault tell of its keys, each taken once.

    :ivar keys: the list of keys; None as long as it was not taken, or Azure does not tell
    :ivar names: what they have; nothing as long as they were not taken, and where Azure does not
        tell
    """

    def __init__(self, vault: Vault, declared: t.Sequence[str]) -> None:
        self.names = Names()
        self._vault = vault
        self._declared = declared
        self.keys: list[Listed] | None = None

    def take(self) -> None:
        """Look which keys are there, before each is looked at; nothing fails that does not then."""
        try:
            self.keys = list_keys(self._vault)
        except AzureError:
            return
        there = frozenset(key.name.lower() for key in self.keys)
        missing = [name for name in self._declared if name.lower() not in there]
        many = len(missing) > _LISTED_AT_ONCE
        self.names = Names(there, list_deleted(self._vault) if many else None)

    def expired_keks(self, prefix: str, outcome: Outcome) -> list[str]:
        """Return the KEKs that interrupted runs left; nothing depends on them, so nothing fails."""
        try:
            keys = list_keys(self._vault) if self.keys is None else self.keys
        except AzureError as error:
            outcome.warnings.append(
                f"Whether interrupted runs left KEKs in the {self._vault} is not known: "
                f"{error.what}"
            )
            return []
        return expired(keys, prefix, self._vault.now)


def _plan_one(
    vault: Vault,
    declaration: Declaration,
    in_token: InToken,
    asked: Asked,
    names: Names,
) -> _Planned:
    """Look at one key in the vault, and decide what has to be done with it.

    :param names: what the vault's lists have
    :raises ByokError: when Azure refuses, or its answer cannot be read
    """
    name, rotation, wanted = declaration.name, declaration.rotation, in_token.wanted
    in_vault = observe(vault, name, lambda version: bool(wanted and wanted.is_in(version)), names)
    now = vault.now  # with a wrong clock nothing is planned at all
    rotating = None if asked.force is None else Rotating(now, asked.force)
    action = plan_key(declaration, in_token, in_vault, rotating, asked.on_deleted)
    interrupted = asked.journal.has(name)
    if interrupted:
        action = with_interrupted(action)
    policy = Policy()
    policy_changes: dict[str, t.Any] = {}
    if rotation and action.action != "conflict":
        if action.version and not in_vault.deleted:
            policy = read_policy(vault, name, rotation)
        policy_changes = policy.changes(rotation)
    attributes = action.version.attributes() if action.version else {}
    described = action.version or declaration
    return _Planned(
        declaration,
        with_policy(action, policy_changes),
        before={**attributes, **policy.facts()},
        policy_changes=policy_changes,
        name_taken=asked.on_deleted if in_vault.deleted else None,
        now=now,
        finishes=interrupted and action.action == "update",
        dated=state_of(described.not_before, described.expires, now, asked.soon),
    )


def _report(vault: Vault, item: t.Mapping[str, t.Any], planned: _Planned, part: Outcome) -> None:
    """Add the plan of one key to the results, and what the later steps have to be told.

    :param item: the options of the key
    """
    name, action = planned.declaration.name, planned.action
    if planned.brings and action.version:
        warn_of_many_versions(vault, name, part)
    import_options = _import_of(item, planned)
    facts = _facts_after_import({**item, **import_options}, planned.now) if planned.brings else {}
    part.planned += _changes(vault, facts, planned)
    part.add("plan", _entry(planned, facts))
    if action.action in _IMPORTING:
        part.result["imports"].append(import_options)
    if planned.brings:
        part.result["transfers"].append(_as_declared(item))
    if planned.makes:
        order = MakeOrder(name, action.newer_than, planned.now, action.reason)
        part.add("orders", order)


def warn_of_unknown(
    force: t.Iterable[str], target_keys: t.Sequence[t.Mapping[str, t.Any]], outcome: Outcome
) -> None:
    """Say which of the identities and names that must be replaced are of no generation and no key;
    one that was replaced already is no news.

    :param target_keys: the results of byok_target_key
    """
    identities = {key["name"] for key in target_keys}
    for key in target_keys:
        for generation in key["generations"]:
            identities.add(generation["thumbprint"] or generation["generation"])
    unknown = sorted(set(force) - identities)
    if unknown:
        outcome.warnings.append(
            f"force names no generation and no name of the declared keys: {', '.join(unknown)}"
        )


def warn_of_many_versions(vault: Vault, name: str, outcome: Outcome) -> None:
    """Say so in time when a key comes near the number of versions that it can have."""
    most, consequence = _MOST_VERSIONS[vault.address.managed_hsm]
    count = len(list_versions(vault, name))
    if count >= _NEAR * most:
        outcome.warnings.append(
            f"{name}: it has {count} versions in the {vault}, which {consequence} than {most}. "
            "None can be deleted alone, so rotate less often, or continue under a new name"
        )


def _changes(vault: Vault, facts: t.Mapping[str, t.Any], planned: _Planned) -> list[Change]:
    """Return what byok_import will say that it changes, and after it byok_target_key.

    :param facts: what byok_import will say of the version that it makes
    """
    action, before, policy_changes = planned.action, planned.before, planned.policy_changes
    where = f"key {planned.declaration.name} in the {vault}"
    changes = []
    if planned.name_taken and action.action != "conflict":
        state = {"purge": "purged", "recover": "recovered"}[planned.name_taken]
        changes.append(Change(f"deleted {where}", {"state": "deleted"}, {"state": state}))
    after = {**action.changes, **policy_changes}
    if planned.finishes:
        changes.append(Change(where, INTERRUPTED, FINISHED))
    if planned.brings:
        superseded: dict[str, t.Any] = {}
        if action.version:
            policy_before = {fact: before[fact] for fact in policy_changes}
            superseded = {"version": action.version.version, **policy_before}
        changes.append(Change(where, superseded, {**facts, **policy_changes}))
    elif after:
        changes.append(Change(where, {fact: before[fact] for fact in after}, after))
    if action.locks:
        changes.append(Change(f"key {planned.declaration.name} in its token", *_LOCKED))
    return changes


def _facts_after_import(item: t.Mapping[str, t.Any], now: datetime) -> dict[str, t.Any]:
    """Return what byok_import will say of the version that it makes.

    :param item: the options of the key, with what byok_import is told
    """
    options = {**_NOT_TOLD, **item}
    version = read_import(parse_declaration(options), options, None, Believed())
    return version.facts(now)


def _entry(planned: _Planned, facts: t.Mapping[str, t.Any]) -> PlanEntry:
    """Return the plan of a key as it leaves.

    :param facts: what byok_import will say of the version that it makes
    """
    action, before = planned.action, planned.before
    version, generation = action.version, action.wanted
    changes = {
        attribute: {"before": before[attribute], "after": after}
        for attribute, after in action.changes.items()
    }
    if planned.finishes:
        changes["import"] = {"before": INTERRUPTED["import"], "after": FINISHED["import"]}
    if action.locks:
        changes["CKA_EXTRACTABLE"] = {"before": True, "after": False}
    return PlanEntry(
        name=planned.declaration.name,
        action=action.action,
        reason=planned.reason,
        kind=str(planned.declaration.spec),
        generation=generation.generation if generation else None,
        thumbprint=generation.thumbprint if generation else None,
        remedy=action.remedy,
        new_version={name: facts[name] for name in _OF_NEW_VERSION if name in facts},
        version=version.version if version else None,
        kid=version.kid if version else None,
        foreign=action.foreign,
        next_due=action.next_due,
        changes=changes,
        code=action.code,
        state=planned.dated.validity,
        state_at=planned.dated.at,
    )


def _as_declared(item: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options of a key that declare it, as far as they are given."""
    declaring = [option for option in item if option in DECLARATION_OPTIONS]
    return {option: item[option] for option in declaring if item[option] is not None}


def _import_of(item: t.Mapping[str, t.Any], planned: _Planned) -> dict[str, t.Any]:
    """Return what byok_import has to be told of this key: the version that it supersedes, or the
    key that is there.
    """
    action = planned.action
    facts: dict[str, t.Any] = {}
    if planned.brings and action.version:
        facts["replaces"] = action.version.version
    if action.wanted:
        facts["generation"] = action.wanted.generation
        facts["thumbprint"] = action.wanted.thumbprint
    told = {option: value for option, value in facts.items() if value}
    return {**_as_declared(item), **told}
