# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Whether the evidence of one key is whole; pure.

A transfer is whole when a statement of the token's side and one of Azure's side name each other,
say the same of the key, are signed by evidence keys that the auditor trusts, and stand in a run.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import Roots
from ansible_collections.keyferry.azure.plugins.module_utils._audit.judge_attestation import (
    NOTHING,
    judge_kek,
    judge_target,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.observed import (
    InToken,
    InVault,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.receipt_folder import Stated
from ansible_collections.keyferry.azure.plugins.module_utils._audit.signers import (
    Runs,
    Signatures,
    problems_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    AttestationVerdict,
    KeyVerdict,
    Problem,
    Verdict,
    VersionVerdict,
    worst,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import VersionFacts
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.deviations import (
    deviations_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.statements import (
    digest_named,
    public_key_digest,
)

#: What removes all versions of a key that are there
_REMOVED = ("deleted", "purged")

#: Sorts behind each moment
_ALWAYS = "~"


@dataclass(frozen=True)
class Surroundings:
    """What the statements of a key are judged by.

    :ivar host: of the vault
    :ivar answers: raw attestations by their SHA-256
    :ivar runs: what the manifests name
    :ivar places: the statements of all keys by their digests
    :ivar signatures: those of manifests and statements by their digests
    :ivar tokens: whether there is a listing of a token
    """

    host: str
    roots: Roots
    answers: Mapping[str, str]
    runs: Runs
    places: Mapping[str, Stated]
    signatures: Mapping[str, Signatures]
    tokens: bool = False


@dataclass(frozen=True)
class Looked:
    """What somebody saw of the key: in a token, in the vault; None for nothing."""

    token: InToken | None = None
    vault: InVault | None = None


@dataclass
class _Version:
    """A transfer, or a version that was found without one.

    :ivar imports: statements of one version; several where a killed run's import was told again
    :ivar seen: as an export of the vault has it
    """

    wrapped: Stated | None = None
    imports: list[Stated] = field(default_factory=list)
    found: Stated | None = None
    seen: VersionFacts | None = None
    attestation: AttestationVerdict = NOTHING
    kek_attestation: AttestationVerdict = NOTHING
    problems: list[Problem] = field(default_factory=list)

    @property
    def azure(self) -> Stated | None:
        """What Azure's side states."""
        return self.imports[0] if self.imports else self.found

    @property
    def statements(self) -> Iterator[Stated]:
        yield from (each for each in (self.wrapped, *self.imports, self.found) if each)

    @property
    def kid(self) -> str | None:
        """The identifier of the version; None where the package was not imported."""
        if self.azure:
            return str(self.azure.predicate["kid"])
        return self.seen.kid if self.seen else None

    @property
    def key(self) -> Mapping[str, t.Any]:
        """``generation`` and ``thumbprint``."""
        first = next(self.statements, None)
        if first:
            return t.cast("Mapping[str, t.Any]", first.predicate["key"])
        return vars(self.seen) if self.seen else {}

    @property
    def time(self) -> str:
        """When it was, as a text that sorts."""
        if self.azure:
            return str(self.azure.predicate["time"])
        if self.wrapped:
            return str(self.wrapped.predicate["wrap"]["time"])
        created = self.seen and self.seen.created
        return format_moment(created) if created else ""


def judge_key(
    name: str,
    stated: Sequence[Stated],
    unread: Sequence[Problem],
    around: Surroundings,
    looked: Looked,
) -> tuple[KeyVerdict, list[Problem]]:
    """Judge what a folder has of a key.

    :param name: in lower case
    :param stated: its statements
    :param unread: problems of what in its file is no statement of it
    :returns: the verdict, and the problems that make it
    """
    where = f"{around.host}/keys/{name}"
    copies = [each for each in stated if _is_escrow(each)]
    versions = _versions([each for each in stated if not _is_escrow(each)])
    events = around.runs.events.get(name, [])
    signed = [each for each in events if each["signed_by"]]
    removals = [each["time"] or _ALWAYS for each in signed if each["what"] in _REMOVED]
    removed = max(removals, default="")
    for version in versions:
        _examine(version, versions, around)
    problems = [*unread, *_lost(name, around)]
    for copy in copies:
        problems += problems_of(copy, around.signatures[copy.digest], around.runs)
    if looked.vault:
        problems += _compare(versions, looked.vault, removed, where)
    problems += _twice(versions, removed, where)
    problems += _not_in_token(versions, signed, around, looked.token)
    versions.sort(key=lambda each: each.time)
    verdicts = tuple(_verdict(version, around, events) for version in versions)
    problems = [replace(each, key=name) for each in problems]
    for version in versions:
        problems += [replace(each, key=name, kid=version.kid) for each in version.problems]
    verdict, code, told = _summed(problems)
    names = [each.predicate["key"]["name"] for each in stated]
    return (
        KeyVerdict(
            name=names[0] if names else name,
            verdict=verdict,
            code=code,
            told=told or _told_of_all(verdicts),
            versions=verdicts,
            events=tuple(
                each for each in events if not any(each in version.events for version in verdicts)
            ),
            copies=tuple(_shown(copy, around) or {} for copy in copies),
        ),
        problems,
    )


def _is_escrow(stated: Stated) -> bool:
    return stated.kind == "wrapped" and stated.predicate["kek"]["kid"] is None


def _versions(stated: Sequence[Stated]) -> list[_Version]:
    """Put statements together that are of one transfer."""
    wrapped = {each.digest: each for each in stated if each.kind == "wrapped"}
    by_kid: dict[str, _Version] = {}
    for each in stated:
        if each.kind == "imported":
            version = by_kid.setdefault(each.predicate["kid"].lower(), _Version())
            version.imports.append(each)
            version.wrapped = version.wrapped or wrapped.get(_wrapped_by(each) or "")
    for each in stated:
        if each.kind == "found":
            version = by_kid.setdefault(each.predicate["kid"].lower(), _Version())
            version.found = version.found or each
    used = {version.wrapped.digest for version in by_kid.values() if version.wrapped}
    return [
        *by_kid.values(),
        *(_Version(wrapped=each) for digest, each in wrapped.items() if digest not in used),
    ]


def _wrapped_by(imported: Stated) -> str | None:
    return digest_named(imported.statement, "wrapped")


def _examine(version: _Version, versions: Sequence[_Version], around: Surroundings) -> None:
    """Find what is wrong with a transfer, and judge its attestations."""
    for stated in version.statements:
        version.problems += problems_of(stated, around.signatures[stated.digest], around.runs)
    for imported in version.imports:
        version.problems += _link(version.wrapped, imported)
    version.problems += _missing(version, versions)
    version.kek_attestation, problem = judge_kek(version.wrapped, around.answers, around.roots)
    targets = [judge_target(each, around.answers, around.roots) for each in version.imports]
    version.attestation = targets[0][0] if targets else NOTHING
    version.problems += [each for each in (problem, *(each for _told, each in targets)) if each]


def _missing(version: _Version, versions: Sequence[_Version]) -> Iterator[Problem]:
    """Yield which step of a transfer nothing tells of, or is told twice."""
    if len([each for each in version.imports if not each.predicate["interrupted_at"]]) > 1:
        yield Problem(
            "duplicate",
            "broken",
            version.imports[-1].where,
            f"Two statements tell of one import of {version.kid}",
        )
    if version.found and not version.imports:
        yield Problem(
            "found_in_place",
            "incomplete",
            version.found.where,
            f"No statement tells how {version.kid} came into the vault: it was found in place",
        )
    if version.wrapped and not version.azure and not _is_abandoned(version, versions):
        yield Problem(
            "imported_missing",
            "incomplete",
            version.wrapped.where,
            "The package was wrapped, and no statement tells that it was imported",
        )


def _is_abandoned(version: _Version, versions: Sequence[_Version]) -> bool:
    """Tell whether another package of the same generation was imported instead."""
    whole = [other for other in versions if other.imports and other.wrapped]
    return version.key["generation"] in [other.key["generation"] for other in whole]


def _link(wrapped: Stated | None, imported: Stated) -> Iterator[Problem]:
    """Yield where both sides of a transfer do not say the same."""
    where, named = imported.where, _wrapped_by(imported)
    if named is None:
        yield Problem(
            "wrapped_missing",
            "incomplete",
            where,
            "The statement of the import names no statement of the token's side",
        )
        return
    if wrapped is None or wrapped.digest != named:
        yield Problem(
            "link_broken",
            "broken",
            where,
            f"The statement of the import names one of the token's side that is lost: {named}",
        )
        return
    ours, theirs = wrapped.predicate["key"], imported.predicate["key"]
    if ours["thumbprint"] != theirs["thumbprint"]:
        yield Problem(
            "thumbprint_differs",
            "broken",
            where,
            f"The token's side tells of the thumbprint {ours['thumbprint']}, and Azure's side of "
            f"{theirs['thumbprint']}",
        )
    package = digest_named(imported.statement, f"{theirs['name']}.byok")
    differ = {
        # A key of another tool may have no CKA_ID
        "generation": (ours["generation"] or None) != (theirs["generation"] or None),
        "package": package not in (None, wrapped.statement["subject"][0]["digest"]["sha256"]),
        "public key": public_key_digest(wrapped.statement) != public_key_digest(imported.statement),
    }
    for what in (what for what, differs in differ.items() if differs):
        yield Problem(
            "link_broken", "broken", where, f"Both sides of the transfer name another {what}"
        )


def _lost(name: str, around: Surroundings) -> Iterator[Problem]:
    """Yield what manifests name of a key that is not there, or is of something else."""
    for manifest, receipt in around.runs.receipts.get(name, []):
        number, sha256 = manifest.predicate["number"], receipt["sha256"]
        stated, told = around.places.get(sha256), f"Manifest {number} names the {receipt['kind']}"
        if stated is None:
            why = f"{told} statement {sha256}, which is lost or was changed"
            yield Problem("lost_receipt", "broken", manifest.where, why)
            continue
        kind = "escrow" if _is_escrow(stated) else stated.kind
        if (stated.predicate["key"]["name"].lower(), kind) != (name, receipt["kind"]):
            why = f"{told} statement {sha256}, and {stated.where} is of another key or kind"
            yield Problem("link_broken", "broken", manifest.where, why)


def _twice(versions: Sequence[_Version], removed: str, where: str) -> Iterator[Problem]:
    """Yield versions of the vault that are one key: an import that was not needed.

    :param removed: when the key was deleted or purged last, as signed manifests tell
    """
    by_key: dict[str, list[str]] = {}
    for each in versions:
        identity = each.key.get("thumbprint") or each.key.get("generation")
        if identity and each.kid and each.time > removed:
            by_key.setdefault(identity, []).append(each.kid)
    for kids in by_key.values():
        if len(kids) > 1:
            yield Problem(
                "two_versions",
                "incomplete",
                where,
                "Several versions are the same key, so an import was not needed: "
                f"{' and '.join(kids)}",
            )


def _compare(
    versions: list[_Version], in_vault: InVault, removed: str, where: str
) -> Iterator[Problem]:
    """Add what an export of the vault has, and yield what is not there any more.

    :param versions: gets those of which no statement tells
    :param removed: when the key was deleted or purged last
    """
    told = {version.kid.lower(): version for version in versions if version.kid}
    for facts in in_vault.key.versions:
        version = told.pop(facts.kid.lower(), None)
        if version is None:
            why = f"The vault has the version {facts.kid}, and no statement tells of it"
            problem = Problem("without_receipt", "incomplete", where, why)
            versions.append(_Version(seen=facts, problems=[problem]))
        elif facts.thumbprint != version.key["thumbprint"]:
            why = (
                f"The vault has {facts.kid} with the thumbprint {facts.thumbprint}, and the "
                f"statements tell of {version.key['thumbprint']}"
            )
            version.problems.append(Problem("thumbprint_differs", "broken", where, why))
    read_at = format_moment(in_vault.read_at)
    for version in told.values():
        if removed < version.time <= read_at:
            why = f"The vault does not have {version.kid}, and no manifest tells who removed it"
            yield Problem("version_gone", "incomplete", where, why)


def _not_in_token(
    versions: Sequence[_Version],
    events: Sequence[Mapping[str, t.Any]],
    around: Surroundings,
    token: InToken | None,
) -> Iterator[Problem]:
    """Yield a newest version that is no generation of a listed token, and was not destroyed.

    :param events: of signed manifests
    """
    in_vault = [each for each in versions if each.kid]
    if not around.tokens or not in_vault:
        return
    newest = max(in_vault, key=lambda each: each.time)
    generation, thumbprint = newest.key.get("generation"), newest.key.get("thumbprint")
    destroyed = {each["generation"] for each in events if each["what"] == "destroyed"}
    if generation is not None and generation in destroyed:
        return
    if token and newest.time > format_moment(token.listed_at):
        return
    if token and (
        thumbprint in token.thumbprints if thumbprint else generation in token.generations
    ):
        return
    yield Problem(
        "not_in_token",
        "broken",
        newest.azure.where if newest.azure else str(newest.kid),
        f"The newest version {newest.kid} is no generation of the token that was listed",
    )


def _verdict(
    version: _Version, around: Surroundings, events: Sequence[Mapping[str, t.Any]]
) -> VersionVerdict:
    verdict, code, told = _summed(version.problems)
    kid, generation = version.kid, version.key.get("generation")
    imported = version.imports[0] if version.imports else None
    return VersionVerdict(
        kid=kid,
        version=kid and kid.rpartition("/")[2],
        thumbprint=version.key.get("thumbprint"),
        generation=generation,
        verdict=verdict,
        code=code,
        told=told or _told_of_whole(version, around),
        wrapped=_shown(version.wrapped, around),
        imported=_shown(imported, around),
        found=_shown(version.found, around),
        attestation=version.attestation,
        kek_attestation=version.kek_attestation,
        deviations=deviations_of(_told(version.wrapped), _told(imported)),
        events=tuple(each for each in events if _is_of(each, kid, generation)),
    )


def _told(stated: Stated | None) -> Mapping[str, t.Any] | None:
    return stated.predicate if stated else None


def _is_of(event: Mapping[str, t.Any], kid: str | None, generation: str | None) -> bool:
    if event["kid"]:
        return str(event["kid"]).lower() == str(kid).lower()
    return event["generation"] is not None and event["generation"] == generation


def _shown(stated: Stated | None, around: Surroundings) -> dict[str, t.Any] | None:
    """Return a statement as a verification shows it."""
    if stated is None:
        return None
    return {
        **stated.predicate,
        "signed_by": list(around.signatures[stated.digest].by),
        "named_by": around.runs.trusted.get(stated.digest, []),
        "sha256": stated.digest,
    }


def _told_of_whole(version: _Version, around: Surroundings) -> str:
    if version.azure is None:
        return "The package was not imported; another one of the same generation was"
    unsigned = [each for each in version.statements if not around.signatures[each.digest].by]
    told = "Wrapped in the token and imported, as signed statements tell"
    for each in unsigned:
        numbers = around.runs.trusted[each.digest]
        told += f"; its {each.kind}/v1 is unsigned, and the signed manifest {numbers[0]} names it"
    return told


def _told_of_all(verdicts: Sequence[VersionVerdict]) -> str:
    if len(verdicts) == 1:
        return verdicts[0].told
    if not verdicts:
        return "Escrow copies only"
    packages = sum(each.kid is None for each in verdicts)
    versions = _counted(len(verdicts) - packages, "version")
    if packages:
        versions += f" and {_counted(packages, 'package')} that the vault did not take"
    return f"{versions}, each of them whole"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _summed(problems: Sequence[Problem]) -> tuple[Verdict, str, str]:
    """Return verdict, code and sentence of the worst of some problems."""
    verdict = worst(each.verdict for each in problems)
    first = next((each for each in problems if each.verdict == verdict), None)
    return (verdict, first.code, first.msg) if first else (verdict, "whole", "")
