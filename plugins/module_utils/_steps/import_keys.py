# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_import does: bring packages into a vault once, compare what arrived, repair attributes; delete and recover keys."""

from __future__ import annotations

import os
import typing as t
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import (
    add_singles,
    items_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core import package as _package
from ansible_collections.keyferry.azure.plugins.module_utils._core import receipt as _receipt
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    check_name,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
    parse_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import RsaPublicKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    InVault,
    Version,
    drift,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import (
    see_directory,
    write_private,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._steps.kek import refuse_unfit_kek
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import refuse_type
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault, open_vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.deletion import (
    delete,
    purge,
    recover,
    refuse_purge,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.proof import NotOurKey, prove
from ansible_collections.keyferry.azure.plugins.module_utils._vault.rotation_policy import (
    Policy,
    change_policy,
    read_policy,
    refuse_notification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    list_versions,
    observe,
    read_deleted,
    read_version,
    read_versions,
    to_version,
    update,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.wanted_import import (
    Import,
    read_import,
)

#: Why it is not known whether there is a deleted key
_UNSEEN = "cannot be seen, because this identity may not look at deleted keys (a Managed HSM wants keys/deletedKeys/read/action)"


@dataclass
class Importing:
    """A run that brings keys into a vault.

    :ivar on_deleted: ``fail``, ``recover`` or ``purge`` where a deleted key holds a name
    :ivar timeout: seconds that a deletion or recovery may take
    :ivar receipt_directory: where receipts are written as well
    :ivar keks: the KEKs that were looked at
    :ivar known: for each key that was imported, the new version and those that were there before
    """

    vault: Vault
    check_mode: bool
    on_deleted: str
    timeout: float
    receipt_directory: str | None = None
    keks: dict[str, RsaPublicKey] = field(default_factory=dict)
    known: dict[str, set[str]] = field(default_factory=dict)


def import_keys(params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome) -> None:
    """Import what is not there yet in any version and bring attributes in line; or delete keys, or recover deleted ones.

    :raises ByokError: when nothing can be done at all; what fails for one key is in the outcome's failures
    """
    outcome.result.update(imports=[], deletions=[])
    vault = open_vault(params)
    items = items_of(params, "declarations")
    check_unique(item["name"] for item in items)
    importing = Importing(
        vault,
        check_mode,
        params["on_deleted"],
        params["delete_timeout"],
        params["receipt_directory"],
    )
    if importing.receipt_directory and not check_mode:
        see_directory(importing.receipt_directory, "the receipts")
    wrapped = {package["name"]: package for package in params["packages"] or []}
    unverified = params["allow_unverified_origin"]
    work: dict[str, t.Callable[[t.Mapping[str, t.Any], Outcome], None]] = {
        "present": lambda item, part: bring(
            importing, item, wrapped.get(item["name"]), part, unverified
        ),
        "absent": lambda item, part: _delete(importing, item, params["purge"], part),
        "recovered": lambda item, part: _recover(importing, item, part),
    }
    with nullcontext() if check_mode else one_writer(vault, params, outcome):
        each_key(vault, items, outcome, work[params["state"]])
        warn_of_rivals(importing, outcome)
    singles = {"import": "imports", "deletion": "deletions"}
    add_singles(params, "declarations", outcome, **singles)


@contextmanager
def one_writer(vault: Vault, params: t.Mapping[str, t.Any], outcome: Outcome) -> t.Iterator[None]:
    """Keep other runs on this host from writing to the vault: two that both miss a version would both import it.

    :raises ByokError: when another run is at work for too long
    """
    with process_lock(
        f"vault {vault.address.url}", params["lock_directory"], params["lock_timeout"]
    ) as waited:
        if waited >= 1:
            outcome.warnings.append(
                f"Another run was at work in the {vault}; this one waited {waited:.0f} seconds for it"
            )
        yield


def bring(
    importing: Importing,
    item: t.Mapping[str, t.Any],
    wrapped: t.Mapping[str, t.Any] | None,
    outcome: Outcome,
    allow_unverified: bool = False,
) -> None:
    """Import a key that is not there yet in any version, else bring its attributes in line.

    :param item: the options of byok_import for this key
    :param wrapped: byok_wrap's result for it
    :raises ByokError: when it cannot be imported
    """
    vault = importing.vault
    declaration = parse_declaration(item)
    refuse_type(vault.address, declaration)
    if declaration.rotation:
        refuse_notification(vault.address, declaration.name, declaration.rotation)
    wanted = read_import(declaration, item, wrapped, allow_unverified)
    name = declaration.name
    in_vault = observe(vault, name, wanted.is_in)
    if in_vault.deleted and importing.on_deleted != "fail":
        in_vault = _undelete(importing, wanted, item["confirm"], in_vault.deleted, outcome)
    found = next((each for each in in_vault.versions if wanted.is_in(each)), None)
    if found is None:
        return _import(importing, wanted, in_vault, outcome)
    current = found is in_vault.current
    if not current:
        outcome.warnings.append(
            f"{name}: the key is there as the older version {found.version} and is not made the newest again"
        )
    changes = drift(declaration, found) if current else {}
    before = found.attributes()
    if changes and not importing.check_mode:
        found = update(vault, name, found, changes)
    policy_before, policy_changes = (
        _settle_policy(importing, wanted, exists=True) if current else ({}, {})
    )
    if changes or policy_changes:
        before = {**{at: before[at] for at in changes}, **policy_before}
        outcome.changes.append(
            Change(f"key {name} in the {vault}", before, {**changes, **policy_changes})
        )
    result = _result(wanted, found, current=current, updated=bool(changes or policy_changes))
    outcome.result["imports"].append(result)
    if wanted.prove and not importing.check_mode:
        _add_proof(result, prove(vault, name, found, wanted.challenge))
    return None


def warn_of_rivals(importing: Importing, outcome: Outcome) -> None:
    """Look whether somebody else made a version of the same keys at the same time: Azure has no way to forbid that.

    The keys have arrived, so nothing fails where that cannot be seen.
    """
    vault, seen = importing.vault, Outcome({})

    def look(item: t.Mapping[str, t.Any], part: Outcome) -> None:
        name = item["name"]
        known = importing.known[name]
        others = [each.version for each in list_versions(vault, name) if each.version not in known]
        if others:
            known.update(others)
            part.warnings.append(
                f"{name}: somebody else made the version {', '.join(others)} in the {vault} while this run imported one. Nothing "
                "is lost, and the next run goes on from the newest; see that one run at a time works on a vault."
            )

    each_key(vault, [{"name": name} for name in importing.known], seen, look)
    outcome.warnings += seen.warnings
    outcome.warnings += [
        f"{failure.name}: whether somebody else made a version too is not known: {failure.msg}"
        for failure in seen.failures
    ]


def _undelete(
    importing: Importing, wanted: Import, confirm: str | None, deleted: Version, outcome: Outcome
) -> InVault:
    """Recover or purge the deleted key that holds the name; returns what is there then."""
    vault, name = importing.vault, wanted.declaration.name
    where = f"deleted key {name} in the {vault}"
    if importing.on_deleted == "purge":
        _refuse_unconfirmed(vault, name, deleted, confirm, "purged")
        refuse_purge(vault, name, deleted)
        if not importing.check_mode:
            purge(vault, name)
        outcome.changes.append(Change(where, {"state": "deleted"}, {"state": "purged"}))
        return InVault(None)
    recovery = Change(where, {"state": "deleted"}, {"state": "recovered"})
    if importing.check_mode:
        outcome.changes.append(recovery)
        return InVault(deleted)
    recover(vault, name, importing.timeout)
    outcome.changes.append(recovery)
    return observe(vault, name, wanted.is_in)


def _settle_policy(
    importing: Importing, wanted: Import, *, exists: bool
) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Bring Azure's own rotation policy of a key in line with its declaration.

    :param exists: in check mode, whether the key is there already
    :returns: what changes, before and after
    """
    vault, name, rotation = importing.vault, wanted.declaration.name, wanted.declaration.rotation
    if rotation is None:
        return {}, {}
    policy = read_policy(vault, name, rotation) if exists or not importing.check_mode else Policy()
    changes = policy.changes(rotation)
    if changes and not importing.check_mode:
        change_policy(vault, name, policy, changes)
    there = policy.facts()
    return {fact: there[fact] for fact in changes}, changes


def _delete(
    importing: Importing, item: t.Mapping[str, t.Any], purged: bool, outcome: Outcome
) -> None:
    """Delete all versions of a key in the vault, and purge them where that is asked for.

    :raises ByokError: when its newest version is not the one that was confirmed
    """
    vault, name = importing.vault, check_name(item["name"])
    current = read_version(vault, name)
    deleted = None if current or not purged else read_deleted(vault, name, forbidden=False)
    if deleted is False:
        outcome.warnings.append(
            f"{name}: whether there is a deleted key to purge in the {vault} {_UNSEEN}"
        )
    version = current or (deleted if isinstance(deleted, Version) else None)
    if version is None:
        return
    _refuse_unconfirmed(vault, name, version, item["confirm"], "purged" if purged else "deleted")
    if purged:
        refuse_purge(vault, name, version)

    def report(state: str) -> None:
        before = {"state": "present" if current else "deleted", "version": version.version}
        retention = (
            {}
            if state == "purged"
            else {"recovery level": version.recovery_level, "retention": _days(version)}
        )
        outcome.changes.append(
            Change(f"key {name} in the {vault}", before, {"state": state, **retention})
        )
        outcome.result["deletions"].append(_deletion(vault, name, version, state))

    if not importing.check_mode:
        if current and not delete(vault, name, importing.timeout):
            outcome.warnings.append(
                f"{name}: Azure has taken the deletion in the {vault}; whether it is done {_UNSEEN}"
            )
        if purged:
            try:
                purge(vault, name)
            except ByokError:
                if current:
                    report("deleted")
                raise
    report("purged" if purged else "deleted")


def _recover(importing: Importing, item: t.Mapping[str, t.Any], outcome: Outcome) -> None:
    """Recover a deleted key.

    :raises ByokError: when there is no such key, deleted or not
    """
    vault, name = importing.vault, check_name(item["name"])
    if read_version(vault, name):
        return
    deleted = read_deleted(vault, name)
    if deleted is None:
        raise ByokError(
            f"There is no deleted key {name} in the {vault}, or this identity may not look at deleted keys",
            "See that its retention is not over, and that the identity may look at deleted keys (a Managed HSM wants "
            "keys/deletedKeys/read/action)",
        )
    if not importing.check_mode:
        recover(vault, name, importing.timeout)
    after = {"state": "present", "version": deleted.version}
    outcome.changes.append(Change(f"key {name} in the {vault}", {"state": "deleted"}, after))
    outcome.result["deletions"].append(_deletion(vault, name, deleted, "recovered"))


def _refuse_unconfirmed(
    vault: Vault, name: str, newest: Version, confirm: str | None, done: str
) -> None:
    if (confirm or "").lower().rpartition("/")[2] != newest.version.lower():
        given = f"{confirm} was confirmed" if confirm else "none was confirmed"
        raise ByokError(
            f"The key {name} in the {vault} is not {done}: its newest version is {newest.version}, and {given}",
            "See that nothing uses the key, then set confirm to that version",
        )


def _deletion(vault: Vault, name: str, version: Version, state: str) -> dict[str, t.Any]:
    return {
        "name": name,
        "version": version.version,
        "kid": version.kid,
        "state": state,
        "recovery_level": version.recovery_level,
        "retention_days": version.retention_days,
        "request_id": vault.request_id,
    }


def _days(version: Version) -> str | None:
    return f"{version.retention_days} days" if version.retention_days else None


def _import(importing: Importing, wanted: Import, in_vault: InVault, outcome: Outcome) -> None:
    vault, check_mode = importing.vault, importing.check_mode
    name, spec, current = wanted.declaration.name, wanted.declaration.spec, in_vault.current
    _refuse_to_supersede(vault, wanted, in_vault)
    if wanted.text:
        package = _package.parse(wanted.text)
        if package.kid not in importing.keks:
            importing.keks[package.kid] = refuse_unfit_kek(vault, package.kid)
        _package.lint(package, spec, importing.keks[package.kid].size)
    elif not check_mode:
        raise ByokError(
            f"The key {name} is not in the {vault}, and there is no package of it",
            "Wrap it with byok_wrap first",
        )
    now = vault.now
    attributes, facts = wanted.attributes(now), wanted.facts(now)
    change = Change(
        f"key {name} in the {vault}", {"version": current.version} if current else {}, facts
    )
    version = None if check_mode else _send(vault, wanted, attributes, in_vault)
    result = _result(wanted, version, current=True, imported=True)
    result["request_id"] = version and vault.request_id
    result["replaced"] = current and current.version
    outcome.changes.append(change)
    outcome.result["imports"].append(result)
    if version is not None:
        importing.known[name] = {version.version, *(each.version for each in in_vault.versions)}
        change.after = {**facts, "version": version.version}
        try:
            result["identity"] = _compare(vault, wanted, version)
            if wanted.prove or wanted.challenge:
                _add_proof(result, prove(vault, name, version, wanted.challenge))
        except NotOurKey as error:
            outcome.result["imports"].remove(result)  # it must not pass for the key
            raise _disable(vault, name, version, error) from error
        if wanted.receipt:
            _complete_receipt(importing, wanted, version, result)
    before, changes = _settle_policy(importing, wanted, exists=current is not None)
    change.before = (
        {**change.before, **before} if current else {}
    )  # what Azure gave a new key was not there before
    change.after = {**change.after, **changes}


def _add_proof(result: dict[str, t.Any], proof: dict[str, t.Any]) -> None:
    result["proof"] = proof
    if result["identity"] == "tag_only" and "operation" in proof:
        result["identity"] = "proved"


def _complete_receipt(
    importing: Importing, wanted: Import, version: Version, result: dict[str, t.Any]
) -> None:
    vault, directory = importing.vault, importing.receipt_directory
    imported = {
        "kid": version.kid,
        "type": version.type,
        "hsm_platform": version.hsm_platform,
        "attributes": version.attributes(),
        "compared": "thumbprint" if version.public_key else "challenge",
        "time": format_moment(
            vault.clock.look().time
        ),  # no receipt of what is there fails for a clock
        **{
            fact: result[fact]
            for fact in ("thumbprint", "origin", "identity", "proof", "replaced", "request_id")
        },
    }
    result["receipt"] = _receipt.complete(wanted.receipt or {}, imported)
    beside = directory and os.path.join(
        directory, f"{vault.address.name}-{wanted.declaration.name}-{version.version}.json"
    )
    for path in filter(None, (wanted.receipt_path, beside)):
        write_private(path, _receipt.to_text(result["receipt"]))


def _refuse_to_supersede(vault: Vault, wanted: Import, in_vault: InVault) -> None:
    """See that the import makes the name's first version, or supersedes the one that it is meant to.

    :raises ByokError: otherwise
    """
    name, current = wanted.declaration.name, in_vault.current
    if in_vault.deleted:
        raise ByokError(
            f"A deleted key holds the name {name} in the {vault}",
            "Set on_deleted to recover or purge it, or use another name",
        )
    if wanted.replaces != (current and current.version):
        there = (
            f"its newest version is {current.version} with the thumbprint {current.thumbprint}"
            if current
            else "it has no version"
        )
        raise ByokError(
            f"The key {name} in the {vault} is another one than expected: {there}",
            "Find out whose it is; if the import shall supersede it, set replaces to that version"
            if current
            else "Leave replaces out",
        )


def _send(
    vault: Vault, wanted: Import, attributes: t.Mapping[str, t.Any], before: InVault
) -> Version:
    declaration, text = wanted.declaration, wanted.text or ""
    name = declaration.name
    known = {version.version for version in before.versions}

    def landed() -> Version | None:
        new = [version for version in read_versions(vault, name) if version.version not in known]
        if wanted.thumbprint or wanted.generation:
            new = [version for version in new if wanted.is_in(version)]
        return new[0] if new else None

    return vault.write(
        f"Importing the key {name} into the {vault}",
        lambda **options: to_version(
            vault.import_package(
                name,
                declaration.spec,
                attributes["operations"],
                text,
                enabled=attributes["enabled"],
                not_before=attributes["not_before"] and parse_moment(attributes["not_before"]),
                expires_on=attributes["expires"] and parse_moment(attributes["expires"]),
                tags=attributes["tags"] or None,
                **options,
            )
        ),
        landed,
    )


def _compare(vault: Vault, wanted: Import, version: Version) -> str:
    """Return why the version that arrived is believed to be the key.

    :raises NotOurKey: when it is another one
    """
    name, type_ = wanted.declaration.name, wanted.declaration.spec.azure_type
    if version.type == type_:
        if version.public_key is None:
            return "tag_only"
        if wanted.thumbprint is None:
            return "unverified"
        if version.thumbprint == wanted.thumbprint:
            return "public_key"
    raise NotOurKey(
        f"Another key than the token's arrived as {name} in the {vault}: version {version.version} is {version.type} "
        f"with the thumbprint {version.thumbprint} instead of {type_} with {wanted.thumbprint}",
        "The package held another key: find out who made it, and wrap the key again",
    )


def _disable(vault: Vault, name: str, version: Version, error: NotOurKey) -> ByokError:
    """Disable a version that must not be used, and return what to tell the user."""
    try:
        update(vault, name, version, {"enabled": False})
    except ByokError as refused:
        return ByokError(
            f"{error} The version could not be disabled", f"Disable it by hand at once ({refused})"
        )
    return ByokError(
        f"{error} The version was disabled", "It cannot be deleted alone; leave it disabled"
    )


def _result(
    wanted: Import,
    version: Version | None,
    *,
    current: bool,
    imported: bool = False,
    updated: bool = False,
) -> dict[str, t.Any]:
    return {
        "name": wanted.declaration.name,
        "kid": version and version.kid,
        "version": version and version.version,
        "thumbprint": version.thumbprint if version else wanted.thumbprint,
        "generation": wanted.generation,
        "imported": imported,
        "updated": updated,
        "current": current,
        "origin": wanted.origin,
        "identity": version and ("public_key" if version.public_key else "tag_only"),
        "proof": None,
        "attributes": version and version.attributes(),
        "hsm_platform": version and version.hsm_platform,
        "request_id": None,
        "replaced": None,
        "receipt": wanted.receipt,
    }
