# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Controls of standards, and what verified evidence tells about each; pure.

What a control asks for is told in our own words, partly from reproductions and from memory, so a
reader must check the standard's own text. What Keyferry cannot know is said to be somebody else's.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_facts import (
    Key,
    Report,
    Version,
)

#: Whether statements that a trusted key vouches for show a fact of a version
_Shows: t.TypeAlias = Callable[[Version], bool]


@dataclass(frozen=True)
class Finding:
    """One sentence about a control.

    :ivar text: the fact, or whose task it is instead of Keyferry's
    :ivar ours: whether it is a fact of the evidence
    :ivar lacking: the keys of which the evidence does not show it
    """

    text: str
    ours: bool = True
    lacking: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A control with its findings.

    :ivar standard: its name and edition
    :ivar number: of the control in it
    :ivar asks: what it is about, in our words
    """

    standard: str
    number: str
    asks: str
    findings: tuple[Finding, ...]


_Question: t.TypeAlias = Callable[[Report], Finding]


@dataclass(frozen=True)
class _Control:
    number: str
    asks: str
    questions: tuple[_Question, ...]


def controls_of(report: Report) -> tuple[Judged, ...]:
    """Return each control with what the report's facts tell about it."""
    return tuple(
        Judged(
            standard,
            control.number,
            control.asks,
            tuple(question(report) for question in control.questions),
        )
        for standard, controls in _STANDARDS.items()
        for control in controls
    )


def _shown(what: str, shows: _Shows) -> _Question:
    """Return the question of how many versions a fact is shown."""

    def ask(report: Report) -> Finding:
        every = report.versions
        lacking = [key for key, version in every if not shows(version)]
        different = tuple({(key.vault, key.name): key for key in lacking}.values())
        return Finding(
            f"{what}: shown for {len(every) - len(lacking)} of {len(every)} versions.",
            lacking=different,
        )

    return ask


def _not_ours(text: str) -> _Question:
    """Return the answer that holds for each report: whose task this is."""

    def ask(_report: Report) -> Finding:
        return Finding(f"Not Keyferry's: {text}.", ours=False)

    return ask


def _by(statement: str, shows: _Shows) -> _Shows:
    """Demand that a trusted key vouches for the statement that shows a fact."""
    return lambda version: getattr(version, statement).holds and shows(version)


def _told(statement: str, *path: str) -> _Shows:
    return _by(statement, lambda version: bool(getattr(version, statement).text(*path)))


def _is(statement: str, path: tuple[str, ...], *values: t.Any) -> _Shows:
    return _by(statement, lambda version: getattr(version, statement).get(*path) in values)


def _deviates(code: str) -> _Shows:
    return lambda version: any(each.code == code for each in version.deviations)


def _kinds(report: Report) -> Finding:
    counts: dict[str, int] = {}
    for _key, version in report.versions:
        kind = version.kind if version.wrapped.holds else "not shown by a signed receipt"
        counts[kind] = counts.get(kind, 0) + 1
    listed = ", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items()))
    return Finding(f"Kinds of key, by the number of versions: {listed or 'none'}.")


def _hsms(report: Report) -> Finding:
    tokens = {
        " ".join(
            version.wrapped.text("token", name)
            for name in ("manufacturer", "model", "firmware", "serial")
        )
        for _key, version in report.versions
        if version.wrapped.holds
    }
    listed = "; ".join(sorted(tokens)) or "none is shown by a signed receipt"
    return Finding(f"HSMs with model, firmware and serial number, as they state them: {listed}.")


def _places(report: Report) -> Finding:
    several = [
        key for key in report.keys if any(each.copies or each.escrow for each in key.versions)
    ]
    return Finding(
        f"{len(several)} of {len(report.keys)} keys are in more than one place of this evidence "
        "(another vault, or an escrow package); the section of each key lists them."
    )


def _chains(report: Report) -> Finding:
    listed = "; ".join(f"{vault}: {chain.verdict}" for vault, chain in report.chains.items())
    return Finding(f"Records of the runs, chained by their SHA-256: {listed or 'none'}.")


def _approvals(report: Report) -> Finding:
    people = {
        person
        for _key, version in report.versions
        for approval in version.approvals
        if not approval.claimed
        for person in approval.principals
    }
    approved = sum(
        any(not approval.claimed for approval in version.approvals)
        for _key, version in report.versions
    )
    return Finding(
        f"The signed records of the runs name approvals for {approved} of "
        f"{len(report.versions)} versions, by {len(people)} different people."
    )


def _ended(report: Report) -> Finding:
    ends = ("Retired", "Deleted", "Purged", "Destroyed")
    counts = {
        end: sum(
            any(moment.what.startswith(end) and not moment.claimed for moment in version.life)
            for _key, version in report.versions
        )
        for end in ends
    }
    listed = ", ".join(f"{end.lower()}: {count}" for end, count in counts.items())
    return Finding(f"Ends of versions that the signed records of the runs tell: {listed}.")


def _rotated(report: Report) -> Finding:
    count = sum(len(key.versions) > 1 for key in report.keys)
    return Finding(
        f"{count} of {len(report.keys)} keys have more than one version; the time line of each "
        "tells when the next one took its place."
    )


def _verdicts(report: Report) -> Finding:
    return Finding(
        f"Keys whose whole evidence holds: {report.count('whole')} of {len(report.keys)}.",
        lacking=tuple(key for key in report.keys if key.verdict != "whole"),
    )


_GENERATED = _shown(
    "Generated inside of the HSM (CKA_LOCAL and CKA_ALWAYS_SENSITIVE are true)",
    _is("wrapped", ("evidence", "origin"), "token"),
)
_MECHANISM = _shown(
    "The mechanism that generated the key is recorded",
    _told("wrapped", "evidence", "CKA_KEY_GEN_MECHANISM"),
)
_SENSITIVE = _shown(
    "Sensitive in the HSM: it hands out no key in the clear",
    _is("wrapped", ("evidence", "CKA_SENSITIVE"), True),
)
_KEK_KNOWN = _shown(
    "Wrapped under a KEK that was known to be the vault's (created by the run, approved by its "
    "fingerprint, or attested by hardware)",
    _is("wrapped", ("kek", "trust"), "created", "pinned", "attested"),
)
_KEK_ATTESTED = _shown(
    "The hardware of the Managed HSM attests the KEK, judged anew for this report",
    _by("wrapped", lambda version: version.judged.kek_attestation.verdict == "attested"),
)
_KEK_STRONG = _shown(
    "The KEK is at least as strong as the key (NIST SP 800-57 part 1, table 2)",
    _by("wrapped", lambda version: not _deviates("kek_weaker")(version)),
)
_IDENTICAL = _shown(
    "The version in the vault was shown to be the key in the HSM, by its public key or by an "
    "operation that only the same key can do",
    _is("imported", ("identity",), "public_key", "proved"),
)
_OPERATIONS = _shown(
    "The permitted operations are recorded", _told("imported", "attributes", "operations")
)
_EXPIRY = _shown("The version has an expiry date", _told("imported", "attributes", "expires"))
_ATTESTED = _shown(
    "The hardware of the Managed HSM attests the imported version",
    _by("imported", lambda version: version.judged.attestation.verdict == "attested"),
)
_SIGNED = _shown(
    "A trusted key vouches for the statements of both sides of the transfer",
    lambda version: version.wrapped.holds and version.imported.holds,
)
_OWNER = _shown(
    "An owner is recorded in the tag 'owner'",
    _told("imported", "attributes", "tags", "owner"),
)
_NO_CLEAR_KEY = _shown(
    "No clear key was handled: the HSM wrapped the key itself",
    _told("wrapped", "wrap", "rehearsal", "mechanism"),
)

#: By the standard's name and edition
_STANDARDS: t.Final[Mapping[str, tuple[_Control, ...]]] = {
    "PCI DSS 4.0.1": (
        _Control(
            "3.6.1",
            "Keys that protect stored account data are protected: few custodians, few places, a "
            "wrapping key as strong as the key",
            (
                _KEK_STRONG,
                _places,
                _not_ours("your written procedures, and who may use the HSM and the vault"),
            ),
        ),
        _Control(
            "3.6.1.1",
            "Service providers describe their cryptography: algorithm, strength, expiry and use of "
            "each key, and an inventory of HSMs",
            (
                _kinds,
                _EXPIRY,
                _OPERATIONS,
                _hsms,
                _not_ours("where your HSMs stand, and keeping production keys out of tests"),
            ),
        ),
        _Control(
            "3.6.1.2 to 3.6.1.4",
            "Secret keys are kept in an allowed form, by few people, in few places",
            (
                _SENSITIVE,
                _places,
                _not_ours("key components and who keeps them; Keyferry makes no clear components"),
            ),
        ),
        _Control(
            "3.7.1",
            "Keys are generated strong",
            (
                _GENERATED,
                _MECHANISM,
                _kinds,
                _not_ours("the certificate of the HSM's random number generator"),
            ),
        ),
        _Control(
            "3.7.2", "Keys are distributed safely", (_KEK_KNOWN, _KEK_ATTESTED, _NO_CLEAR_KEY)
        ),
        _Control(
            "3.7.3",
            "Keys are stored safely",
            (
                _SENSITIVE,
                _ATTESTED,
                _not_ours("storage inside of a Key Vault, which is Microsoft's word alone"),
            ),
        ),
        _Control(
            "3.7.4",
            "Keys are changed at the end of their cryptoperiod",
            (
                _EXPIRY,
                _rotated,
                _not_ours("which cryptoperiod is right; the playbook plan reports what is due"),
            ),
        ),
        _Control(
            "3.7.5",
            "Keys are retired, replaced or destroyed when they are due, weak or compromised",
            (_ended, _not_ours("deciding that a key is weak or compromised, and why")),
        ),
        _Control(
            "3.7.6",
            "Where people handle clear keys, knowledge is split and control is dual",
            (
                _NO_CLEAR_KEY,
                _approvals,
                _not_ours("custodians of your HSM, and of a Managed HSM's security domain"),
            ),
        ),
        _Control(
            "3.7.7",
            "Nobody can substitute a key",
            (_IDENTICAL, _SIGNED, _verdicts),
        ),
        _Control(
            "3.7.8",
            "Custodians acknowledge their duties in writing",
            (_not_ours("the signed acknowledgement of each custodian"),),
        ),
        _Control(
            "3.7.9",
            "Service providers that share keys with customers give them guidance",
            (_not_ours("the guidance for your customers"),),
        ),
    ),
    "NIST SP 800-57 part 1 rev. 5": (
        _Control(
            "5.3, 7, 8 and inventory",
            "Each key has an identifier, a type, a state, an owner, a cryptoperiod, an origin and "
            "a place",
            (
                _kinds,
                _GENERATED,
                _OWNER,
                _EXPIRY,
                _rotated,
                _ended,
                _not_ours("who used the key; the logs of the vault and of the HSM tell that"),
            ),
        ),
        _Control(
            "5.6 (strength)",
            "A key that protects another one is at least as strong",
            (_KEK_STRONG,),
        ),
    ),
    "NIST SP 800-57 part 2 rev. 1": (
        _Control(
            "Policy and practice statement",
            "Policy, practice statement, roles and audits exist",
            (_not_ours("your policy, your practice statement, roles and audits"),),
        ),
    ),
    "NIST SP 800-130 and 800-152": (
        _Control(
            "Metadata and audit",
            "Metadata is bound to the key, its integrity is protected, and changes of state are "
            "recorded with time and actor",
            (_SIGNED, _chains, _approvals),
        ),
    ),
    "ISO/IEC 27001:2022": (
        _Control(
            "A.8.24",
            "Rules for the use of cryptography and for keys exist and are followed",
            (
                _verdicts,
                _EXPIRY,
                _ended,
                _chains,
                _not_ours("the rules themselves, and who approved them"),
            ),
        ),
    ),
    "DORA, RTS (EU) 2024/1774": (
        _Control(
            "Art. 6",
            "A policy on encryption and cryptographic controls exists",
            (_kinds, _not_ours("the policy, and the criteria behind it")),
        ),
        _Control(
            "Art. 7(1) to 7(3)",
            "The whole life of keys is managed: generated, renewed, stored, backed up, sent, "
            "retired, revoked, destroyed, and replaced when lost or compromised",
            (
                _GENERATED,
                _KEK_KNOWN,
                _IDENTICAL,
                _rotated,
                _ended,
                _places,
                _not_ours("a drill that restores a key from escrow"),
            ),
        ),
        _Control(
            "Art. 7(4) and 7(5)",
            "A register of certificates and of the devices that store them is kept up to date",
            (_hsms, _not_ours("certificates; Keyferry moves keys only")),
        ),
    ),
    "FIPS 140-3": (
        _Control(
            "Validation",
            "The module is validated, and runs as its certificate describes",
            (
                _hsms,
                _not_ours(
                    "the certificate for that model and firmware, its level, and whether it "
                    "runs in its approved mode; no attestation states that"
                ),
            ),
        ),
    ),
}
