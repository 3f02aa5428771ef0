# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_kek does: key exchange keys, which only unwrap an import in their own vault."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    parse_answer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    check_name,
    parse_tags,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    Kek,
    normalise_fingerprint,
    report_trust,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
    parse_duration,
    parse_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import parse_kid
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    RsaPublicKey,
    fingerprint,
    rsa_from_pem,
    to_pem,
    weakness,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import KekFacts
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version, differing
from ansible_collections.keyferry.azure.plugins.module_utils._vault.attestation import (
    fetch_attestation,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault, open_vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.deletion import (
    can_be_purged,
    delete,
    purge,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.unmanaged import expired
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    list_keys,
    read_deleted,
    read_version,
    read_versions,
    update,
    version_of,
)

_TYPE = "RSA-HSM"
_OPERATIONS = ("import",)


def ensure_kek(params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome) -> None:
    """Make a KEK, keep it as declared, take one as it is, or delete it, and expired ones.

    :raises ByokError: for a name that is used for anything but a KEK, and for what Azure refuses
    """
    converge_kek(open_vault(params, outcome.warnings.append), params, check_mode, outcome=outcome)


def converge_kek(
    vault: Vault,
    params: t.Mapping[str, t.Any],
    check_mode: bool,
    *,
    outcome: Outcome | None = None,
) -> Outcome:
    """Do the same in a vault that is open.

    :param params: the options of byok_kek, but for those of the vault
    :param outcome: is filled as this goes, and returned; a new one where none is given
    :raises ByokError: for a name that is used for anything but a KEK, and for what Azure refuses
    """
    outcome = Outcome() if outcome is None else outcome
    if params["kek_id"] is not None:
        outcome.result.update(_as_given(vault, params))
        _add_attestation(vault, outcome)
        return outcome
    if params["state"] == "present":
        if params["expired_prefix"]:
            raise ByokError(
                "expired_prefix is for KEKs to delete, and state is present",
                "Set state to absent, or leave it out",
            )
        _present(vault, params, check_mode, outcome)
        _add_attestation(vault, outcome)
        return outcome
    outcome.result["deleted"] = []
    if params["name"]:
        _absent(vault, params, check_mode, outcome)
    if params["expired_prefix"]:
        _expired_absent(vault, params, check_mode, outcome)
    return outcome


def _add_attestation(vault: Vault, outcome: Outcome) -> None:
    """Add what the hardware states of the KEK; None where there is no KEK yet."""
    kid = outcome.result["kek_id"]
    outcome.result.update(kek_attestation=None, kek_owner_roots=[])
    if not kid:
        return
    key_id = parse_kid(kid)
    attestation = fetch_attestation(vault, key_id.name, key_id.version, outcome.warnings.append)
    if attestation is None:
        return
    outcome.result["kek_attestation"] = attestation
    try:
        outcome.result["kek_owner_roots"] = list(parse_answer(attestation).shown_roots)
    except ByokError as error:  # whoever needs it judges it again
        outcome.warnings.append(f"{key_id.name}: {error}")


def refuse_unfit_kek(vault: Vault, kid: str) -> RsaPublicKey:
    """Return the public key of a package's KEK, if this vault can unwrap with it now.

    :raises ByokError: for a KEK of another vault, one that is gone, disabled or expired, or that
        is no KEK
    """
    return _public_key(_read_fit(vault, kid))


def _read_fit(vault: Vault, kid: str) -> Version:
    key_id = parse_kid(kid)
    if comparable_url(key_id.vault) != vault.address.url:
        raise ByokError(
            f"The {vault} cannot unwrap what is wrapped under a KEK of {key_id.vault}",
            "Wrap the key again under a KEK of this vault, or give the URL of that one",
        )
    version = read_version(vault, key_id.name, key_id.version)
    if version is None:
        raise ByokError(
            f"The KEK {kid} does not exist in the {vault}",
            "Check its identifier, or wrap the key again under a KEK that exists",
        )
    _refuse_no_kek(vault, key_id.name, [version])
    _refuse_unusable(vault, key_id.name, version)
    return version


def _as_given(vault: Vault, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Take exactly this version of a KEK, which somebody else made; nothing is made or changed."""
    version = _read_fit(vault, params["kek_id"])
    name = parse_kid(params["kek_id"]).name
    result = _result(name, version, False, params["approved_keks"])
    pem = params["kek_public_key"]
    if pem and rsa_from_pem(pem) != version.public_key:
        raise ByokError(
            f"The public key that is given for the KEK {version.kid} is another one than the "
            f"vault's: their fingerprints are {fingerprint(pem)} and {result['kek_fingerprint']}",
            "Do not wrap under it: the file is stale or was substituted. Download the KEK's public "
            "key from the vault again",
        )
    return result


@dataclass(frozen=True)
class _Declared:
    """A KEK as it is declared.

    :ivar size: in bits
    :ivar expires: when a new one expires
    :ivar moves_expiry: an expiry that was declared as a moment is kept in line
    :ivar approved: fingerprints that somebody compared with the vault
    """

    name: str
    size: int
    expires: datetime | None
    moves_expiry: bool
    tags: dict[str, str] | None
    approved: tuple[str, ...]

    def facts(self) -> dict[str, t.Any]:
        """Return what the diff of a new KEK shows."""
        return {
            "type": _TYPE,
            "size": self.size,
            "operations": _OPERATIONS,
            "expires": self.expires and format_moment(self.expires),
            "tags": self.tags or {},
        }


def _present(
    vault: Vault, params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome
) -> None:
    """Make a KEK where there is none, or keep the one that is there.

    :param params: the options of byok_kek
    :raises ByokError: for a name that is used for anything but a KEK, and for what Azure refuses
    """
    name = check_name(params["name"])
    tags = parse_tags(name, params["tags"])
    # Before anything is made
    approved = tuple(normalise_fingerprint(text) for text in params["approved_keks"])
    versions = read_versions(vault, name)
    expires, moves_expiry = _declared_expiry(vault, params), bool(params["expires"])
    declared = _Declared(name, params["size"], expires, moves_expiry, tags, approved)
    if versions:
        _refuse_no_kek(vault, name, versions)
        kept = _keep(vault, declared, versions[0], check_mode)
        outcome.absorb(kept)
        outcome.result.update(kept.result)
        return
    if read_deleted(vault, name):
        raise ByokError(
            f"A deleted key holds the name {name} in the {vault}",
            "Use another name for the KEK, or purge the deleted key",
        )
    where, facts = f"KEK {name} in the {vault}", declared.facts()
    if check_mode:
        members = ("kek_id", "kek_public_key", "kek_fingerprint", "kek_trust", "kek")
        outcome.result.update(dict.fromkeys(members))
        outcome.changes.append(Change(where, {}, facts))
        return
    made, answer_lost = _make(vault, declared)
    making = Change(where, {}, facts)
    outcome.changes.append(making)
    # Azure answered that this run made it, and nobody made a version of that name before or since.
    versions = read_versions(vault, name)
    created = not answer_lost and [version.version for version in versions] == [made.version]
    _refuse_no_kek(vault, name, [made, *versions])
    _refuse_other_size(vault, name, made, declared.size)
    result = _result(name, made, created, approved)
    outcome.result.update(result)
    making.after = {**facts, "fingerprint": result["kek_fingerprint"]}


def _make(vault: Vault, declared: _Declared) -> tuple[Version, bool]:
    """Make the KEK; returns it, and whether Azure's answer was lost."""
    name, answer_lost = declared.name, False

    def landed() -> Version | None:
        nonlocal answer_lost
        version = read_version(vault, name)
        answer_lost = version is not None
        return version

    made = vault.write(
        f"Making the KEK {name} in the {vault}",
        lambda **options: version_of(
            vault,
            name,
            vault.client.create_rsa_key(
                name,
                size=declared.size,
                hardware_protected=True,
                key_operations=list(_OPERATIONS),
                expires_on=declared.expires,
                tags=declared.tags,
                **options,
            ),
        ),
        landed,
    )
    return made, answer_lost


def _keep(vault: Vault, declared: _Declared, current: Version, check_mode: bool) -> Outcome:
    """Keep a KEK that is there; only its tags, and an expiry that is a moment, are kept in line."""
    name = declared.name
    _refuse_other_size(vault, name, current, declared.size)
    attributes: dict[str, t.Any] = {"tags": None, "expires": None}
    if declared.tags:
        attributes["tags"] = {**current.tags, **declared.tags}
    if declared.expires and declared.moves_expiry:
        attributes["expires"] = format_moment(declared.expires)
    changes = differing(current, attributes)
    outcome = Outcome({})
    if changes:
        current_attributes = current.attributes()
        before = {attribute: current_attributes[attribute] for attribute in changes}
        outcome.changes.append(Change(f"KEK {name} in the {vault}", before, changes))
        if not check_mode:
            current = update(vault, name, current, changes)
    if "expires" not in changes:
        _refuse_unusable(vault, name, current)
    outcome.result = _result(name, current, False, declared.approved)
    return outcome


def _refuse_other_size(vault: Vault, name: str, kek: Version, declared: int) -> None:
    """Refuse a KEK of another size than was asked for.

    :raises ByokError: for one
    """
    size = _public_key(kek).size
    if size != declared:
        raise ByokError(
            f"The KEK {name} in the {vault} has {size} bits, but {declared} are declared",
            "Declare its size as it is, or use another name",
        )


def _absent(
    vault: Vault, params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome
) -> None:
    name = check_name(params["name"])
    versions = read_versions(vault, name)
    if versions:
        _refuse_no_kek(vault, name, versions)
        purged = _is_purged(vault, name, versions[0], params, outcome)
        _remove(vault, name, "present", {**params, "purge": purged}, check_mode, outcome)
    elif check_mode and params["made_before"]:
        outcome.changes.append(_removal(vault, name, "present", "deleted"))
        outcome.result["deleted"].append(name)
    elif params["purge"]:
        _purge_deleted(vault, name, params, check_mode, outcome)


def _is_purged(
    vault: Vault, name: str, kek: Version, params: t.Mapping[str, t.Any], outcome: Outcome
) -> bool:
    """Tell whether a deleted KEK is purged; where that is asked for and the vault protects it, say
    so.

    A KEK that stays alive, because the vault keeps deleted keys, would be worse than a name that
    stays reserved.
    """
    if not params["purge"] or can_be_purged(kek.recovery_level):
        return bool(params["purge"])
    outcome.warnings.append(
        f"The KEK {name} in the {vault} is deleted and not purged, because the vault has purge "
        f"protection (recovery level {kek.recovery_level}). Its name stays reserved until the "
        "retention is over"
    )
    return False


def _remove(
    vault: Vault,
    name: str,
    state: str,
    params: t.Mapping[str, t.Any],
    check_mode: bool,
    outcome: Outcome,
) -> None:
    """Delete a KEK, and purge it where ``purge`` says so.

    :param state: what it is before
    """
    removal = _removal(vault, name, state, "deleted")
    if not check_mode:
        delete(vault, name, params["delete_timeout"])
    outcome.changes.append(removal)
    outcome.result["deleted"].append(name)
    if params["purge"]:
        if not check_mode:
            purge(vault, name)
        removal.after = {"state": "purged"}


def _removal(vault: Vault, name: str, before: str, after: str) -> Change:
    return Change(f"KEK {name} in the {vault}", {"state": before}, {"state": after})


def _purge_deleted(
    vault: Vault,
    name: str,
    params: t.Mapping[str, t.Any],
    check_mode: bool,
    outcome: Outcome,
) -> None:
    deleted = read_deleted(vault, name)
    if deleted is None:
        return
    _refuse_no_kek(vault, name, [deleted])
    if not _is_purged(vault, name, deleted, params, outcome):
        return
    if not check_mode:
        purge(vault, name)
    outcome.changes.append(_removal(vault, name, "deleted", "purged"))
    outcome.result["deleted"].append(name)


def _expired_absent(
    vault: Vault, params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome
) -> None:
    """Delete what runs that died left behind.

    That is each KEK with the prefix that is import-only and expired in every version.
    """
    prefix = check_name(params["expired_prefix"])
    for name in expired(list_keys(vault), prefix, vault.now):
        versions = read_versions(vault, name)
        left = [version for version in versions if not _is_expired_kek(vault, version)]
        if left or not versions:
            continue
        purged = params["purge"] and can_be_purged(versions[0].recovery_level)
        removing = {**params, "purge": purged}
        _remove(vault, name, "expired", removing, check_mode, outcome)


def _is_over(vault: Vault, expires: datetime | None) -> bool:
    """Tell whether an expiry has passed; None is never over."""
    return expires is not None and expires <= vault.now


def _is_kek(version: Version) -> bool:
    return version.type == _TYPE and version.operations == _OPERATIONS


def _is_expired_kek(vault: Vault, version: Version) -> bool:
    return _is_kek(version) and _is_over(vault, version.expires)


def _refuse_no_kek(vault: Vault, name: str, versions: t.Iterable[Version]) -> None:
    """Refuse a name that is used for anything but a KEK.

    :raises ByokError: when one of its versions is no KEK
    """
    for version in versions:
        if not _is_kek(version):
            raise ByokError(
                f"The key {name} in the {vault} is no KEK: its version {version.version} is "
                f"{version.type} with the operations {', '.join(version.operations) or '(none)'}, "
                f"and a KEK is {_TYPE} with import alone",
                "Use another name for the KEK; this key is not changed",
            )


def _refuse_unusable(vault: Vault, name: str, version: Version) -> None:
    """Refuse a KEK that unwraps nothing now.

    :raises ByokError: for one that has expired, is not valid yet or is disabled
    """
    if _is_over(vault, version.expires):
        state = "has expired"
    elif version.not_before is not None and version.not_before > vault.now:
        state = "is not valid yet"
    elif not version.enabled:
        state = "is disabled"
    else:
        return
    raise ByokError(
        f"The KEK {name} in the {vault} {state}",
        "Make a KEK under another name with byok_kek, and wrap under it",
    )


def _public_key(kek: Version) -> RsaPublicKey:
    """Return what is wrapped under, of a version that _refuse_no_kek() let pass.

    :raises ByokError: for a key that no vault makes
    """
    public_key = t.cast(RsaPublicKey, kek.public_key)
    weak = weakness(public_key)
    if weak:
        raise ByokError(
            f"The vault answered with a KEK {kek.kid} that has {weak}, which no vault makes",
            "Do not wrap under it. Find out what answers for the vault (proxy, DNS, the host that "
            "reaches Azure), and make a KEK under another name",
            code="kek_unverified",
        )
    return public_key


def _declared_expiry(vault: Vault, params: t.Mapping[str, t.Any]) -> datetime | None:
    """Return when a new KEK expires; None for never.

    :param params: ``expires``, a moment, and ``lifetime``, an ISO 8601 duration
    """
    if params["expires"]:
        return parse_moment(params["expires"])
    if params["lifetime"]:
        return parse_duration(params["lifetime"]).after(vault.now)
    return None


def _result(
    name: str, version: Version, created: bool, approved: t.Sequence[str]
) -> dict[str, t.Any]:
    """Return what byok_kek returns of a KEK.

    :param created: whether this run made it
    :param approved: fingerprints that somebody compared with the vault
    """
    public_key = _public_key(version)
    pem = to_pem(public_key)
    digest = fingerprint(pem)
    kek = KekFacts(
        name=name,
        size=public_key.size,
        expires=version.expires,
        enabled=version.enabled,
        tags=version.tags,
        recovery_level=version.recovery_level,
    )
    return {
        "kek_id": version.kid,
        "kek_public_key": pem,
        "kek_fingerprint": digest,
        "kek_trust": report_trust(Kek(version.kid, digest, created, maker_trusted=True), approved),
        "kek": kek.to_dict(),
    }
