# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What byok_import does: bring packages into a vault once, compare what arrived, repair attributes."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils import _package, _receipt
from ansible_collections.keyferry.azure.plugins.module_utils._declaration import check_unique, parse_declaration
from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._file import write_private
from ansible_collections.keyferry.azure.plugins.module_utils._module import Change, Outcome, items_of
from ansible_collections.keyferry.azure.plugins.module_utils._plan import InVault
from ansible_collections.keyferry.azure.plugins.module_utils._public_key import RsaPublicKey
from ansible_collections.keyferry.azure.plugins.module_utils._time import format_moment, parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._vault._address import refuse_type
from ansible_collections.keyferry.azure.plugins.module_utils._vault._client import Vault, open_vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault._errors import VaultUnavailable, not_tried
from ansible_collections.keyferry.azure.plugins.module_utils._vault._kek import refuse_unfit_kek
from ansible_collections.keyferry.azure.plugins.module_utils._vault._proof import NotOurKey, prove
from ansible_collections.keyferry.azure.plugins.module_utils._vault._versions import (
    observe,
    read_versions,
    to_version,
    update,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault._wanted_import import Import, read_import
from ansible_collections.keyferry.azure.plugins.module_utils._version import Version, declared_attributes, drift

#: In check mode a key that has yet to be made has no CKA_ID, but an oct key's version will be tagged with one
_NOT_MADE_YET = "known when the key is made"


def import_keys(params: t.Mapping[str, t.Any], check_mode: bool) -> Outcome:
    """Import what is not there yet in any version, and bring attributes in line.

    :raises ByokError: when nothing can be done at all; what fails for one key is in the outcome's failures
    """
    vault = open_vault(params)
    items = items_of(params, "imports")
    check_unique(item["name"] for item in items)
    wrapped = {package["name"]: package for package in params["packages"] or []}
    keks: dict[str, RsaPublicKey] = {}
    outcome = Outcome({"imports": []})
    for item in items:
        try:
            declaration = parse_declaration(item)
            refuse_type(vault.address, declaration)
            wanted = read_import(declaration, item, wrapped.get(item["name"]), params["allow_unverified_origin"])
            _converge(vault, wanted, keks, check_mode, outcome)
        except ByokError as error:
            outcome.failures.add(item["name"], error)
            if isinstance(error, VaultUnavailable):
                outcome.warnings += not_tried(items, item)
                break
    if params["imports"] is None and outcome.result["imports"]:
        outcome.result["import"] = outcome.result["imports"][0]
    return outcome


def _converge(vault: Vault, wanted: Import, keks: dict[str, RsaPublicKey], check_mode: bool, outcome: Outcome) -> None:
    name = wanted.declaration.name
    in_vault = observe(vault, name, wanted.is_in)
    found = next((each for each in (in_vault.current, *in_vault.older) if each and wanted.is_in(each)), None)
    if found is None:
        return _import(vault, wanted, in_vault, keks, check_mode, outcome)
    current = found is in_vault.current
    if not current:
        outcome.warnings.append(f"{name}: the key is there as the older version {found.version} and is not made the newest again")
    changes = drift(wanted.declaration, found) if current else {}
    if changes:
        before = found.attributes()
        if not check_mode:
            found = update(vault, name, found, changes)
        outcome.changes.append(Change(f"key {name} in the {vault}", {at: before[at] for at in changes}, changes))
    result = _result(wanted, found, current=current, updated=bool(changes))
    outcome.result["imports"].append(result)
    if wanted.prove and not check_mode:
        _add_proof(result, prove(vault, name, found, wanted.challenge))
    return None


def _import(
    vault: Vault,
    wanted: Import,
    in_vault: InVault,
    keks: dict[str, RsaPublicKey],
    check_mode: bool,
    outcome: Outcome,
) -> None:
    name, spec, current = wanted.declaration.name, wanted.declaration.spec, in_vault.current
    _refuse_to_supersede(vault, wanted, in_vault)
    if wanted.text:
        package = _package.parse(wanted.text)
        if package.kid not in keks:
            keks[package.kid] = refuse_unfit_kek(vault, package.kid)
        _package.lint(package, spec, keks[package.kid].size)
    elif not check_mode:
        raise ByokError(f"The key {name} is not in the {vault}, and there is no package of it", "Wrap it with byok_wrap first")
    attributes = declared_attributes(wanted.declaration, wanted.generation or (_NOT_MADE_YET if check_mode else None))
    facts = {"kind": str(spec), "thumbprint": wanted.thumbprint, "generation": wanted.generation, **attributes}
    change = Change(f"key {name} in the {vault}", {"version": current.version} if current else {}, facts)
    version = None if check_mode else _send(vault, wanted, attributes, in_vault)
    result = _result(wanted, version, current=True, imported=True)
    result["request_id"] = version and vault.request_id
    result["replaced"] = current and current.version
    outcome.changes.append(change)
    outcome.result["imports"].append(result)
    if version is None:
        return
    change.after = {**facts, "version": version.version}
    try:
        result["identity"] = _compare(vault, wanted, version)
        if wanted.prove or wanted.challenge:
            _add_proof(result, prove(vault, name, version, wanted.challenge))
    except NotOurKey as error:
        outcome.result["imports"].remove(result)  # it must not pass for the key
        raise _disable(vault, name, version, error) from error
    if wanted.receipt:
        _complete_receipt(vault, wanted, version, result)


def _add_proof(result: dict[str, t.Any], proof: dict[str, t.Any]) -> None:
    result["proof"] = proof
    if result["identity"] == "tag_only" and "operation" in proof:
        result["identity"] = "proved"


def _complete_receipt(vault: Vault, wanted: Import, version: Version, result: dict[str, t.Any]) -> None:
    imported = {
        "kid": version.kid,
        "type": version.type,
        "hsm_platform": version.hsm_platform,
        "attributes": version.attributes(),
        "compared": "thumbprint" if version.public_key else "challenge",
        "time": format_moment(vault.now),
        **{fact: result[fact] for fact in ("thumbprint", "origin", "identity", "proof", "replaced", "request_id")},
    }
    result["receipt"] = _receipt.complete(wanted.receipt or {}, imported)
    if wanted.receipt_path:
        write_private(wanted.receipt_path, _receipt.to_text(result["receipt"]))


def _refuse_to_supersede(vault: Vault, wanted: Import, in_vault: InVault) -> None:
    """See that the import makes the name's first version, or supersedes the one that it is meant to.

    :raises ByokError: otherwise
    """
    name, current = wanted.declaration.name, in_vault.current
    if in_vault.soft_deleted:
        raise ByokError(
            f"A deleted key holds the name {name} in the {vault}",
            "Recover the deleted key (az keyvault key recover), purge it, or use another name",
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


def _send(vault: Vault, wanted: Import, attributes: t.Mapping[str, t.Any], before: InVault) -> Version:
    from azure.keyvault.keys import JsonWebKey

    declaration, text = wanted.declaration, wanted.text or ""
    name = declaration.name
    key = JsonWebKey(
        kty=declaration.spec.azure_type,
        crv=declaration.spec.curve,
        key_ops=list(attributes["operations"]),
        t=text.encode(),
    )
    known = {version.version for version in (before.current, *before.older) if version}

    def landed() -> Version | None:
        new = [version for version in read_versions(vault, name) if version.version not in known]
        if wanted.thumbprint or wanted.generation:
            new = [version for version in new if wanted.is_in(version)]
        return new[0] if new else None

    return vault.write(
        f"Importing the key {name} into the {vault}",
        lambda **options: to_version(
            vault.client.import_key(
                name,
                key,
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
        return ByokError(f"{error} The version could not be disabled", f"Disable it by hand at once ({refused})")
    return ByokError(f"{error} The version was disabled", "It cannot be deleted alone; leave it disabled")


def _result(
    wanted: Import, version: Version | None, *, current: bool, imported: bool = False, updated: bool = False
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
