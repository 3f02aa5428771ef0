# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_import does: bring packages into a vault once, compare what arrived, repair attributes;
delete and recover keys.
"""

from __future__ import annotations

import os
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import (
    add_singles,
    items_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    check_name,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    version_named,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
    parse_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import (
    lint,
    parse,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import RsaPublicKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import complete, to_text
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import Deletion
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import ImportedKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.sent_import import (
    FINISHED,
    INTERRUPTED,
    SentImport,
    pauses,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    PACKAGE_TAG,
    InVault,
    Version,
    drift,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import (
    write_private,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.journal import Journal
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._steps.evidence import Evidence
from ansible_collections.keyferry.azure.plugins.module_utils._steps.gate import Gate
from ansible_collections.keyferry.azure.plugins.module_utils._steps.kek import refuse_unfit_kek
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import refuse_type
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import (
    Uncertain,
    UncertainUnavailable,
    Vault,
    open_vault,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.deletion import (
    delete,
    purge,
    recover,
    refuse_purge,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    AzureError,
    UnreadableAnswer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.evidence_signer import (
    evidence_signer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.proof import (
    NotOurKey,
    NotProved,
    answering_operation,
    prove,
    why_unprovable,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.rotation_policy import (
    Policy,
    change_policy,
    read_policy,
    refuse_notification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.transport import (
    ANSWERED_WITHIN,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    Names,
    disable,
    list_versions,
    observe,
    read_deleted,
    read_version,
    update,
    version_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.wanted_import import (
    Believed,
    Import,
    read_import,
)

Params = t.Mapping[str, t.Any]

#: What is found out of a version that a dead run left unchecked
_FOUND = ("identity", "proof", "receipt", "envelope", "wrapped_sha256")

#: Why it is not known whether there is a deleted key
_UNSEEN = (
    "cannot be seen, because this identity may not look at deleted keys (a Managed HSM wants "
    "keys/deletedKeys/read/action)"
)


@dataclass
class Importing:
    """A run that brings keys into a vault.

    :ivar on_deleted: ``fail``, ``recover`` or ``purge`` where a deleted key holds a name
    :ivar timeout: seconds that a deletion or recovery may take
    :ivar journal: the imports of the vault that are on their way
    :ivar evidence: what imports leave
    :ivar gate: demands approvals of what is deleted or purged
    :ivar believed: whose word counts on what is imported
    :ivar keks: the KEKs that were looked at
    :ivar versions: for each key that was imported, the new version and those that were there
        before
    """

    vault: Vault
    check_mode: bool
    on_deleted: str
    timeout: float
    journal: Journal
    evidence: Evidence
    gate: Gate
    believed: Believed = field(default_factory=Believed)
    keks: dict[str, RsaPublicKey] = field(default_factory=dict)
    versions: dict[str, set[str]] = field(default_factory=dict)


def import_keys(params: Params, check_mode: bool, outcome: Outcome) -> None:
    """Import what is not there yet in any version and bring attributes in line; or delete keys, or
    recover deleted ones.

    :raises ByokError: when nothing can be done at all; what fails for one key is in the outcome's
        failures
    """
    outcome.result.update(imports=[], deletions=[])
    vault = open_vault(params, outcome.warnings.append)
    items = items_of(params, "declarations")
    check_unique(item["name"] for item in items)
    evidence_key = params["evidence_key_id"] if params["state"] == "present" else None
    importing = Importing(
        vault,
        check_mode,
        params["on_deleted"],
        params["delete_timeout"],
        Journal(params["state_directory"], vault.address.url),
        Evidence.of(
            params,
            vault.address.url,
            params["kek_attestation"],
            evidence_signer(vault, evidence_key),
        ),
        Gate((), params),
        Believed(params["wrapped_in_this_run"], params["allow_unverified_origin"]),
    )
    if params["state"] == "present" and not check_mode:
        importing.journal.prepare()
        importing.evidence.folder.prepare()
    with _writing(importing, params, outcome):
        each_key(vault, items, outcome, _work(importing, params))
        warn_of_rivals(importing, outcome)
    importing.gate.report(outcome)
    singles = {"import": "imports", "deletion": "deletions"}
    add_singles(params, "declarations", outcome, **singles)


@contextmanager
def _writing(importing: Importing, params: Params, outcome: Outcome) -> t.Iterator[None]:
    """Keep other runs from writing to the vault, and the journal until results are returned."""
    if importing.check_mode:
        yield
        return
    with one_writer(importing.vault, params, outcome), importing.journal.until_told():
        yield


def _work(importing: Importing, params: Params) -> t.Callable[[Params, Outcome], None]:
    """Return what is done with each key."""
    packages = {package["name"]: package for package in params["packages"] or []}

    def import_one(item: Params, part: Outcome) -> None:
        bring(importing, item, packages.get(item["name"]), part)

    def delete_one(item: Params, part: Outcome) -> None:
        _delete(importing, item, params["purge"], part)

    def recover_one(item: Params, part: Outcome) -> None:
        _recover(importing, item, part)

    work = {"present": import_one, "absent": delete_one, "recovered": recover_one}
    return work[params["state"]]


@contextmanager
def one_writer(vault: Vault, params: Params, outcome: Outcome) -> t.Iterator[None]:
    """Keep other runs on this host from writing to the vault: two that both miss a version would
    both import it.

    :raises ByokError: when another run is at work for too long
    """
    with process_lock(
        f"vault {vault.address.url}", params["lock_directory"], params["lock_timeout"]
    ) as waited:
        if waited >= 1:
            outcome.warnings.append(
                f"Another run was at work in the {vault}; this one waited {waited:.0f} seconds "
                "for it"
            )
        yield


def bring(importing: Importing, item: Params, wrapped: Params | None, outcome: Outcome) -> None:
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
    path = item["path"] or (wrapped or {}).get("path")
    stated = importing.evidence.stated(declaration.name, wrapped, path)
    wanted = read_import(declaration, item, wrapped, importing.believed, stated)
    if finish_interrupted(importing, wanted, outcome):
        return
    # Azure refuses the import where a deleted key holds the name (recorded: 409).
    tried = bool(wanted.text) and not importing.check_mode and importing.on_deleted == "fail"
    names = Names(deleted=frozenset()) if tried else Names()
    in_vault = observe(vault, declaration.name, wanted.is_in, names)
    if in_vault.deleted and importing.on_deleted != "fail":
        in_vault = _undelete(importing, wanted, item["confirm"], in_vault.deleted, outcome)
    version = next((version for version in in_vault.versions if wanted.is_in(version)), None)
    if version is None:
        _import(importing, wanted, in_vault, outcome)
    else:
        _keep(importing, wanted, version, version is in_vault.current, outcome)


def _keep(
    importing: Importing, wanted: Import, version: Version, current: bool, outcome: Outcome
) -> None:
    """Bring the attributes of a key in line that is there; an older version is left alone."""
    vault, name = importing.vault, wanted.declaration.name
    after: dict[str, t.Any] = {}
    found = _describe(wanted, version).to_dict()
    if current:
        version, after = _bring_in_line(importing, wanted, version, found, outcome)
    else:
        outcome.warnings.append(
            f"{name}: the key is there as the older version {version.version} and is not made the "
            "newest again"
        )
    kept = replace(
        _describe(wanted, version),
        current=current,
        updated=bool(after),
        **{fact: found[fact] for fact in _FOUND},
    )
    entry = outcome.add("imports", kept)
    if wanted.prove and kept.proof is None and not importing.check_mode:
        proof = prove(vault, name, version, wanted.challenge)
        entry.update(_with_proof(kept, proof).to_dict())
        if "unprovable" in proof:
            outcome.failures.add(name, NotProved(vault, name, proof["unprovable"]))


def _bring_in_line(
    importing: Importing,
    wanted: Import,
    version: Version,
    found: dict[str, t.Any],
    outcome: Outcome,
) -> tuple[Version, dict[str, t.Any]]:
    """Change what of a version and of the key's rotation policy is not as declared.

    One that a dead run left unchecked is enabled when it is shown to be the key.

    :param found: the ImportedKey of the results; gets what was found of such a version
    :returns: the version as it is then, and what changed
    """
    vault, name = importing.vault, wanted.declaration.name
    attributes = version.attributes()
    after = drift(wanted.declaration, version)
    before = {attribute: attributes[attribute] for attribute in after}
    change = Change(f"key {name} in the {vault}", before, after)
    if after:
        if not importing.check_mode:
            if version.unchecked:
                version = _verify(vault, wanted, version, found)
                _complete_receipt(importing, wanted, version, found, outcome)
            else:
                version = update(vault, name, version, after)
        outcome.changes.append(change)
    policy_before, policy_after = _settle_policy(importing, wanted, exists=True)
    if policy_after and not after:
        outcome.changes.append(change)
    change.before, change.after = {**before, **policy_before}, {**after, **policy_after}
    return version, {**after, **policy_after}


def warn_of_rivals(importing: Importing, outcome: Outcome) -> None:
    """Look whether somebody else made a version of the same keys at the same time: Azure has no
    way to forbid that.

    The keys have arrived, so nothing fails where that cannot be seen.
    """
    vault, rivals = importing.vault, Outcome()

    def look(item: Params, part: Outcome) -> None:
        name = item["name"]
        expected = importing.versions[name]
        listed = list_versions(vault, name)
        others = [version.version for version in listed if version.version not in expected]
        if others:
            expected.update(others)
            part.warnings.append(
                f"{name}: somebody else made the version {', '.join(others)} in the {vault} while "
                "this run imported one. Nothing is lost, and the next run goes on from the newest; "
                "ensure that one run at a time works on a vault."
            )

    each_key(vault, [{"name": name} for name in importing.versions], rivals, look)
    outcome.warnings += rivals.warnings
    outcome.warnings += [
        f"{failure.name}: whether somebody else made a version too is not known: {failure.msg}"
        for failure in rivals.failures
    ]


def _undelete(
    importing: Importing, wanted: Import, confirm: str | None, deleted: Version, outcome: Outcome
) -> InVault:
    """Recover or purge the deleted key that holds the name; returns what is there then."""
    vault, name = importing.vault, wanted.declaration.name
    where = f"deleted key {name} in the {vault}"
    if importing.on_deleted == "purge":
        _refuse_unconfirmed(importing, name, deleted, confirm, "purged")
        refuse_purge(vault, name, deleted)
        _refuse_to_supersede(vault, wanted, InVault(None))
        _check_package(importing, wanted)  # before anything is lost
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
    policy = Policy()
    if exists or not importing.check_mode:
        policy = read_policy(vault, name, rotation)
    changes = policy.changes(rotation)
    if changes and not importing.check_mode:
        change_policy(vault, name, policy, changes)
    facts = policy.facts()
    return {fact: facts[fact] for fact in changes}, changes


def _delete(importing: Importing, item: Params, purged: bool, outcome: Outcome) -> None:
    """Delete all versions of a key in the vault, and purge them where that is asked for.

    :raises ByokError: when its newest version is not the one that was confirmed
    """
    vault, name = importing.vault, check_name(item["name"])
    current = read_version(vault, name)
    version = current
    if version is None:
        deleted = _find_deleted(vault, name, purged, outcome)
        version = deleted if purged else None
    if version is None:
        return
    done = "purged" if purged else "deleted"
    _refuse_unconfirmed(importing, name, version, item["confirm"], done)
    if purged:
        refuse_purge(vault, name, version)
    before = {"state": "present" if current else "deleted", "version": version.version}
    change = Change(f"key {name} in the {vault}", before, {"state": "purged"})
    if current:
        if not importing.check_mode and not delete(vault, name, importing.timeout):
            outcome.warnings.append(
                f"{name}: Azure has taken the deletion in the {vault}; whether it is done {_UNSEEN}"
            )
        days = f"{version.retention_days} days" if version.retention_days else None
        retention = {"recovery level": version.recovery_level, "retention": days}
        change.after = {"state": "deleted", **retention}
        outcome.changes.append(change)
        outcome.add("deletions", _deletion(vault, name, version, "deleted"))
    if purged:
        if not importing.check_mode:
            purge(vault, name)
        if current:
            outcome.result["deletions"].pop()
        else:
            outcome.changes.append(change)
        change.after = {"state": "purged"}
        outcome.add("deletions", _deletion(vault, name, version, "purged"))


def _find_deleted(vault: Vault, name: str, purged: bool, outcome: Outcome) -> Version | None:
    """Return the deleted key of a name, or say why there is none to see.

    :param purged: whether it is to be purged
    """
    deleted = read_deleted(vault, name, forbidden=False)
    if isinstance(deleted, Version):
        return deleted
    if deleted is None:
        outcome.warnings.append(
            f"{name}: there is no such key in the {vault}, deleted or not. It was purged before, "
            "or the name is wrong"
        )
    elif purged:
        outcome.warnings.append(
            f"{name}: whether there is a deleted key to purge in the {vault} {_UNSEEN}"
        )
    return None


def _recover(importing: Importing, item: Params, outcome: Outcome) -> None:
    """Recover a deleted key.

    :raises ByokError: when there is no such key, deleted or not
    """
    vault, name = importing.vault, check_name(item["name"])
    if read_version(vault, name):
        return
    deleted = read_deleted(vault, name)
    if deleted is None:
        raise ByokError(
            f"There is no deleted key {name} in the {vault}, or this identity may not look at "
            "deleted keys",
            "Check that its retention is not over, and that the identity may look at deleted keys "
            "(a Managed HSM wants keys/deletedKeys/read/action)",
            code="not_found",
        )
    if not importing.check_mode:
        recover(vault, name, importing.timeout)
    after = {"state": "present", "version": deleted.version}
    outcome.changes.append(Change(f"key {name} in the {vault}", {"state": "deleted"}, after))
    outcome.add("deletions", _deletion(vault, name, deleted, "recovered"))


def _refuse_unconfirmed(
    importing: Importing, name: str, newest: Version, confirm: str | None, done: str
) -> None:
    """Refuse to delete or purge a key of which somebody confirmed another version, or none, or
    which fewer people approved than the options demand.

    :param confirm: a version or its identifier
    :param done: what the key would be: ``deleted`` or ``purged``
    :raises ByokError: unless it is the newest version, and enough people approved
    """
    vault = importing.vault
    if version_named(confirm or "") != newest.version.lower():
        given = f"{confirm} was confirmed" if confirm else "none was confirmed"
        raise ByokError(
            f"The key {name} in the {vault} is not {done}: its newest version is {newest.version}, "
            f"and {given}",
            "Ensure that nothing uses the key, then set confirm to that version",
            code="conflict",
        )
    importing.gate.check_deletion(newest.kid, done)


def _deletion(vault: Vault, name: str, version: Version, state: str) -> Deletion:
    return Deletion(
        name=name,
        version=version.version,
        kid=version.kid,
        state=state,
        recovery_level=version.recovery_level,
        retention_days=version.retention_days,
        request_id=vault.request_id,
    )


def _import(importing: Importing, wanted: Import, in_vault: InVault, outcome: Outcome) -> None:
    """Make a version of the package, and let it pass for the key only when it is shown to be it.

    :raises ByokError: when it cannot be imported, or is not shown to be the key
    """
    vault, name, current = importing.vault, wanted.declaration.name, in_vault.current
    _refuse_to_supersede(vault, wanted, in_vault)
    _check_package(importing, wanted)
    importing.evidence.folder.receipts(name)  # what cannot be read is told before the import
    facts = wanted.facts(vault.now)
    before: dict[str, t.Any] = {"version": current.version} if current else {}
    change = Change(f"key {name} in the {vault}", before, facts)
    version = None if importing.check_mode else _send(importing, wanted, in_vault)
    outcome.changes.append(change)
    arrived = replace(
        _describe(wanted, version),
        imported=True,
        request_id=vault.request_id if version else None,
        replaced=current.version if current else None,
    )
    entry = outcome.add("imports", arrived)
    if version is not None:
        before_it = (old.version for old in in_vault.versions)
        importing.versions[name] = {version.version, *before_it}
        change.after = {**facts, "version": version.version}
        _accept(importing, wanted, version, entry, outcome)
    policy_before, policy_after = _settle_policy(importing, wanted, exists=current is not None)
    if current:  # what Azure gave a new key was not there before
        change.before = {**change.before, **policy_before}
    change.after = {**change.after, **policy_after}


def _accept(
    importing: Importing,
    wanted: Import,
    version: Version,
    entry: dict[str, t.Any],
    outcome: Outcome,
) -> Version:
    """Take a version that arrived for the key, after it was shown to be it, and record that.

    The journal forgets the import when nothing is left to find out about it.

    :param entry: the ImportedKey of the results; gets what was found
    :returns: the version as it is then
    :raises ByokError: when it is not shown to be the key
    """
    name = wanted.declaration.name
    try:
        version = _verify(importing.vault, wanted, version, entry)
    except NotOurKey:
        outcome.result["imports"].remove(entry)  # it must not pass for the key
        importing.journal.done(name)
        raise
    except ByokError as error:  # it has arrived, and whoever asks must find that it has
        entry["proof"] = {"unprovable": str(error)}
        _complete_receipt(importing, wanted, version, entry, outcome)
        if isinstance(error, NotProved):  # the next run finds it in the vault
            importing.journal.done(name)
        raise
    _complete_receipt(importing, wanted, version, entry, outcome)
    importing.journal.done(name)
    return version


def _check_package(importing: Importing, wanted: Import) -> None:
    """Refuse a package that the vault would not take, or of which it could not prove that it has
    the key, where that is asked for: no version can be taken back.

    :raises ByokError: for one, and where there is none
    """
    vault, name = importing.vault, wanted.declaration.name
    if wanted.text and wanted.prove:
        attributes, type_ = wanted.attributes(vault.now), wanted.declaration.spec.type
        why = why_unprovable(type_, attributes, vault.now, wanted.challenge)
        if why:
            raise NotProved(vault, name, why)
    if wanted.text:
        package = parse(wanted.text)
        if package.kid not in importing.keks:
            importing.keks[package.kid] = refuse_unfit_kek(vault, package.kid)
        lint(package, wanted.declaration.spec, importing.keks[package.kid].size)
    elif not importing.check_mode:
        raise ByokError(
            f"The key {name} is not in the {vault}, and there is no package of it",
            "Wrap it with byok_wrap first",
            code="not_found",
        )


def _verify(vault: Vault, wanted: Import, version: Version, entry: dict[str, t.Any]) -> Version:
    """Compare a version that arrived with the key, and have it prove itself where that is possible.

    One that came out of a file is enabled by that. What is not shown to be the key is disabled,
    also when an answer about it cannot be read.

    :param entry: the ImportedKey of the results; gets what was found
    :returns: the version as it is then
    :raises NotOurKey: when it was disabled
    :raises ByokError: when Azure refuses the proof
    """
    name = wanted.declaration.name
    try:
        return _check(vault, wanted, version, entry)
    except ByokError as error:
        shown = entry["identity"] in ("public_key", "proved")
        unreadable = isinstance(error, UnreadableAnswer) and not shown
        if unreadable or isinstance(error, NotOurKey):
            raise _disable(vault, name, str(error), version.version) from error
        raise
    except Exception as error:
        raise _disable(vault, name, str(as_byok_error(error)), version.version) from error


def _check(vault: Vault, wanted: Import, version: Version, entry: dict[str, t.Any]) -> Version:
    """Find out whether a version is the key, by its public key or by a proof.

    :param entry: the ImportedKey of the results; gets what was found
    :returns: the version as it is then, enabled where it was unchecked
    :raises NotOurKey: when it is another key
    :raises ByokError: when Azure refuses the proof
    """
    name, declaration = wanted.declaration.name, wanted.declaration
    entry["identity"] = _compare(vault, wanted, version)
    if version.unchecked and version.public_key is None:
        version = _open_for_proof(vault, wanted, version)
    elif version.unchecked:
        version = update(vault, name, version, drift(declaration, version))
    if wanted.prove or wanted.challenge:
        proof = prove(vault, name, version, wanted.challenge)
        entry.update(_with_proof(ImportedKey.from_dict(entry), proof).to_dict())
        if wanted.prove and "unprovable" in proof:
            raise NotProved(vault, name, proof["unprovable"])
    if version.unchecked:
        version = update(vault, name, version, drift(declaration, version))
    entry["attributes"] = version.attributes()
    return version


def _open_for_proof(vault: Vault, wanted: Import, version: Version) -> Version:
    """Enable an unchecked version of a key without a public part for what proves it, and no more:
    a disabled version does nothing at all.

    :raises NotProved: for one that a dead run left, where nothing here can prove it
    """
    name, challenge = wanted.declaration.name, wanted.challenge
    if challenge is None:
        if not wanted.is_package_of(version):
            why = "a run that died imported it from a file, and that package is not given"
            raise NotProved(vault, name, why)
        return version
    operation = answering_operation(challenge)
    # Of one that is enabled, a dead run had opened it, or the tag is somebody else's doing.
    if version.enabled or operation not in wanted.declaration.wanted_operations:
        return version
    return update(vault, name, version, {"enabled": True, "operations": [operation]})


def _with_proof(key: ImportedKey, proof: dict[str, t.Any]) -> ImportedKey:
    proved = key.identity == "tag_only" and "operation" in proof
    return replace(key, proof=proof, identity="proved" if proved else key.identity)


def _complete_receipt(
    importing: Importing,
    wanted: Import,
    version: Version,
    entry: dict[str, t.Any],
    outcome: Outcome,
) -> None:
    """Write what both sides state of an import, and add this side's part to the receipt.

    :param entry: the ImportedKey of the results; gets the receipt
    """
    vault, name, warn = importing.vault, wanted.declaration.name, outcome.warnings.append
    attestation = importing.evidence.attest(vault, name, version, warn)
    importing.evidence.record(vault, wanted, version, entry, attestation, warn)
    if not wanted.receipt:
        return
    told = ("thumbprint", "origin", "identity", "proof", "replaced", "request_id")
    imported = {
        "kid": version.kid,
        "type": version.type,
        "hsm_platform": version.hsm_platform,
        "attributes": version.attributes(),
        "compared": "thumbprint" if version.public_key else "challenge",
        "source": wanted.receipt_told_by,
        # no receipt of what is there fails for a clock
        "time": format_moment(vault.clock.look().time),
        **{fact: entry[fact] for fact in told},
    }
    entry["receipt"] = complete(wanted.receipt, imported)
    if wanted.receipt_path:
        write_private(wanted.receipt_path, to_text(entry["receipt"]))


def _refuse_to_supersede(vault: Vault, wanted: Import, in_vault: InVault) -> None:
    """Ensure that the import makes the name's first version, or supersedes the one that it is
    meant to.

    :raises ByokError: otherwise
    """
    name, current = wanted.declaration.name, in_vault.current
    if in_vault.deleted:
        raise ByokError(
            f"A deleted key holds the name {name} in the {vault}",
            "Set on_deleted to recover or purge it, or use another name",
            code="conflict",
        )
    if wanted.replaces == (current and current.version):
        return
    what = f"The key {name} in the {vault} is another one than expected"
    if current is None:
        raise ByokError(f"{what}: it has no version", "Leave replaces out", code="conflict")
    raise ByokError(
        f"{what}: its newest version is {current.version} with the thumbprint {current.thumbprint}",
        "Find out whose it is; if the import should supersede it, set replaces to that version",
        code="conflict",
    )


def _send(importing: Importing, wanted: Import, before: InVault) -> Version:
    """Import the package once.

    The journal has it from before it is sent until this process knows what became of it.

    :param before: what was there
    :raises Uncertain: when it is not known whether a version was made, or it could not be read and
        was disabled
    """
    vault, journal = importing.vault, importing.journal
    declaration, name = wanted.declaration, wanted.declaration.name
    sent = _sent(vault, wanted, before)
    attributes = wanted.attributes_at_first(vault.now)
    options = {
        "enabled": attributes["enabled"],
        "not_before": attributes["not_before"] and parse_moment(attributes["not_before"]),
        "expires_on": attributes["expires"] and parse_moment(attributes["expires"]),
        "tags": attributes["tags"] or None,
    }

    def send(**more: t.Any) -> Version:
        journal.note(replace(sent, sent=host_clock()))
        made = vault.import_package(
            name,
            declaration.spec,
            attributes["operations"],
            wanted.text or "",
            **options,
            **more,
        )
        return version_of(vault, name, made)

    try:
        return _write(vault, sent, send)
    except ByokError as error:
        if error.reason != "uncertain":
            journal.done(name)
        raise


def _write(vault: Vault, sent: SentImport, send: t.Callable[..., Version]) -> Version:
    """Make the version by sending the package, and read it back where the answer was lost.

    :raises Uncertain: as _send() does
    """
    try:
        return vault.write(
            f"Importing the key {sent.name} into the {vault}",
            send,
            lambda: _arrived(vault, sent),
        )
    except UncertainUnavailable:
        raise
    except Uncertain as error:
        raise _contain(vault, sent, error) from error


def _sent(vault: Vault, wanted: Import, before: InVault) -> SentImport:
    """Return what the journal says of an import."""
    return SentImport(
        vault_url=vault.address.url,
        name=wanted.declaration.name,
        sent=host_clock(),
        package_sha256=wanted.marks()[PACKAGE_TAG],
        versions_before=tuple(version.version for version in before.versions),
        generation=wanted.generation,
        thumbprint=wanted.thumbprint,
        origin=wanted.origin,
        challenge=wanted.challenge,
        prove=wanted.prove,
        receipt=wanted.receipt,
        receipt_path=wanted.receipt_path,
        receipt_told_by=wanted.receipt_told_by,
        envelope=wanted.envelope,
    )


def _arrived(vault: Vault, sent: SentImport) -> Version | None:
    """Read the version back that a package made, whatever key it turns out to be."""
    versions = (read_version(vault, sent.name, new) for new in _made_by(vault, sent))
    return next((version for version in versions if version), None)


def _made_by(vault: Vault, sent: SentImport) -> list[str]:
    """Return the new versions that bear the mark of the package, newest first."""
    return [
        version.version
        for version in list_versions(vault, sent.name)
        if version.tags.get(PACKAGE_TAG) == sent.package_sha256
        and version.version not in sent.versions_before
    ]


def _contain(vault: Vault, sent: SentImport, error: AzureError) -> ByokError:
    """Disable the versions that an import made and that could not be read back.

    :returns: what to tell the user
    """
    try:
        versions = _made_by(vault, sent)
    except ByokError as refused:
        return ByokError(
            f"{error.what}. What it made could not be listed either: {refused.what}",
            f"Look at the versions of the key {sent.name} in the {vault}, and disable by hand what "
            "was imported just now",
            code="uncertain",
        )
    if not versions:
        return error
    what = f"{error.what}, so nothing shows that it is the key."
    return _disable(vault, sent.name, what, *versions)


def finish_interrupted(importing: Importing, wanted: Import, outcome: Outcome) -> bool:
    """Find out what became of an import that an interrupted run sent, and do what it left undone.

    That is: verify the version, complete the receipt, report it, bring its attributes in line.

    :returns: whether the wanted key has arrived so
    :raises ByokError: when the version is not shown to be the key, or another key than the wanted
        one has arrived, which was not known when that one was planned
    """
    vault, name = importing.vault, wanted.declaration.name
    sent = importing.journal.find(name)
    if sent is None:
        return False
    version = _read_back(importing, sent, outcome)
    if version is None:
        importing.journal.done(name)
        return False
    _finish(importing, _as_sent(wanted, sent, outcome), sent, version, outcome)
    if wanted.is_in(version) or wanted.sha256 == sent.package_sha256:
        return True
    if wanted.replaces == version.version:  # it was there when the wanted one was planned
        return False
    raise ByokError(
        f"The key {name} was not imported into the {vault}, because the import of another "
        f"generation, which an interrupted run had sent, arrived as version {version.version}",
        "Run again: the next plan takes that version into account",
        code="conflict",
    )


def _read_back(importing: Importing, sent: SentImport, outcome: Outcome) -> Version | None:
    """Return the version that an interrupted run's import made, as soon as it is there.

    None when the settle time is over without it; a check does not wait.

    :raises ByokError: when it cannot be looked for, or cannot be read and was disabled
    """
    vault, seconds = importing.vault, 0.0
    if not importing.check_mode:
        seconds = sent.seconds_left(host_clock(), ANSWERED_WITHIN, vault.settle_time)
    try:
        version, waited = _arrived(vault, sent), 0.0
        for pause in pauses(seconds):
            if version:
                break
            vault.sleep(pause)
            version, waited = _arrived(vault, sent), waited + pause
    except UnreadableAnswer as error:
        if importing.check_mode:
            raise
        contained = _contain(vault, sent, error)
        if isinstance(contained, NotOurKey):
            importing.journal.done(sent.name)
        raise contained from error
    if waited:
        outcome.warnings.append(
            f"{sent.name}: an interrupted run had sent an import at {format_moment(sent.sent)}. "
            f"This run waited {waited:.0f} seconds, in which it "
            f"{'arrived' if version else 'did not arrive'}"
        )
    return version


def _as_sent(wanted: Import, sent: SentImport, outcome: Outcome) -> Import:
    """Return the import that was sent, for a key as it is declared now."""
    path = sent.receipt_path
    if path and not os.path.isdir(os.path.dirname(path) or "."):
        outcome.warnings.append(
            f"{sent.name}: its receipt is not written to {path}, as the directory is not there"
        )
        path = None
    return replace(
        wanted,
        thumbprint=sent.thumbprint,
        generation=sent.generation,
        origin=sent.origin,
        text=None,
        sha256=sent.package_sha256,
        receipt=dict(sent.receipt) if sent.receipt else None,
        receipt_told_by=sent.receipt_told_by,
        envelope=sent.envelope,
        receipt_path=path,
        challenge=dict(sent.challenge) if sent.challenge else None,
        prove=wanted.prove or sent.prove,
    )


def _finish(
    importing: Importing, ours: Import, sent: SentImport, version: Version, outcome: Outcome
) -> None:
    """Do what is left to do after an import that arrived, and report it as this run's.

    :param ours: the import that was sent
    :raises ByokError: when the version is not shown to be the key
    """
    vault, name = importing.vault, sent.name
    newest = read_version(vault, name)
    arrived = replace(
        _describe(ours, version),
        imported=True,
        current=newest is None or newest.version == version.version,
        replaced=next(iter(sent.versions_before), None),
        interrupted_at=sent.sent,
    )
    entry = outcome.add("imports", arrived)
    outcome.changes.append(Change(f"key {name} in the {vault}", INTERRUPTED, FINISHED))
    importing.versions[name] = {version.version, *sent.versions_before}
    if not importing.check_mode:
        version = _accept(importing, ours, version, entry, outcome)
    if arrived.current:
        version, after = _bring_in_line(importing, ours, version, entry, outcome)
        entry.update(attributes=version.attributes(), updated=bool(after))


def _compare(vault: Vault, wanted: Import, version: Version) -> str:
    """Return why the version that arrived is believed to be the key.

    :raises NotOurKey: when it is another one
    """
    name, type_ = wanted.declaration.name, wanted.declaration.spec.azure_type
    if version.type == type_:
        if version.public_key is None:
            return "unverified" if wanted.origin == "unverified" else "tag_only"
        if wanted.thumbprint is None:
            return "unverified"
        if version.thumbprint == wanted.thumbprint:
            return "public_key"
    raise NotOurKey(
        f"Another key than the token's arrived as {name} in the {vault}: version "
        f"{version.version} is {version.type} with the thumbprint {version.thumbprint} instead of "
        f"{type_} with {wanted.thumbprint}",
        "The package held another key: find out who made it, and wrap the key again",
    )


def _disable(vault: Vault, name: str, why: str, *versions: str) -> NotOurKey:
    """Disable versions that must not be used, and return what to tell the user.

    :param why: whole sentences
    """
    refusals = []
    for version in versions:
        try:
            disable(vault, name, version)
        except Exception as refused:
            refusals.append(f"{version}: {as_byok_error(refused)}")
    listed = ", ".join(versions)
    if refusals:
        return NotOurKey(
            f"{why} The version could not be disabled ({listed})",
            f"Disable it by hand at once ({' '.join(refusals)})",
        )
    return NotOurKey(
        f"{why} The version was disabled ({listed})",
        "It cannot be deleted alone; leave it disabled",
    )


def _identity(wanted: Import, version: Version) -> str:
    """Return why a version that is there is believed to be the key, before it is proved."""
    if version.public_key is None:
        return "tag_only"
    return "public_key" if version.thumbprint == wanted.thumbprint else "unverified"


def _describe(wanted: Import, version: Version | None) -> ImportedKey:
    """Return what is told of a key.

    :param version: None in check mode before an import
    """
    key = ImportedKey(
        name=wanted.declaration.name,
        kid=None,
        version=None,
        thumbprint=wanted.thumbprint,
        generation=wanted.generation,
        imported=False,
        updated=False,
        current=True,
        origin=wanted.origin,
        identity=None,
        receipt=wanted.receipt,
    )
    if version is None:
        return key
    return replace(
        key,
        kid=version.kid,
        version=version.version,
        thumbprint=version.thumbprint,
        identity=_identity(wanted, version),
        attributes=version.attributes(),
        hsm_platform=version.hsm_platform,
        created=version.created,
    )
