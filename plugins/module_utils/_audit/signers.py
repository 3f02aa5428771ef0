# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Who signed a statement, and which runs name it; pure."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.keyferry.azure.plugins.module_utils._audit.receipt_folder import Stated
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import Problem
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Signature,
)


@dataclass(frozen=True)
class Signatures:
    """The signatures of one statement.

    :ivar by: keyids of trusted keys that signed it, sorted
    :ivar unknown: keyids of signatures that nobody here can check
    :ivar false: keyids of trusted keys that did not make the signatures that bear their names
    :ivar nobody: whether no key at all is trusted to sign it
    """

    by: tuple[str, ...]
    unknown: tuple[str, ...]
    false: tuple[str, ...]
    nobody: bool = False

    @classmethod
    def of(cls, stated: Stated, keys: Mapping[str, str]) -> Signatures:
        """Check the signatures of a statement.

        :param keys: PEM texts of trusted keys by their keyids
        """
        checked = {
            each: _is_true(stated.envelope, each, keys) for each in stated.envelope.signatures
        }
        return cls(
            _keyids(each for each, true in checked.items() if true),
            _keyids(each for each, true in checked.items() if true is None),
            _keyids(each for each, true in checked.items() if true is False),
            nobody=not keys,
        )


@dataclass(frozen=True)
class Runs:
    """What the manifests of a vault name.

    :ivar trusted: by the digest of a statement: the numbers of signed manifests that name it
    :ivar names: digests that any manifest names
    :ivar receipts: by the key's name in lower case: a manifest, and what it names of the key
    :ivar events: by the key's name in lower case: what happened to it, with ``run``, the manifest's
        number, and ``signed_by``
    """

    trusted: dict[str, list[int]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    receipts: dict[str, list[tuple[Stated, Mapping[str, t.Any]]]] = field(default_factory=dict)
    events: dict[str, list[Mapping[str, t.Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, manifests: Iterable[Stated], signatures: Mapping[str, Signatures]) -> Runs:
        """Return what manifests name.

        :param signatures: by the manifests' digests
        """
        runs = cls()
        for manifest in manifests:
            number, by = manifest.predicate["number"], signatures[manifest.digest].by
            for receipt in manifest.predicate["receipts"]:
                runs.names.add(receipt["sha256"])
                runs.receipts.setdefault(receipt["key"].lower(), []).append((manifest, receipt))
                if by:
                    runs.trusted.setdefault(receipt["sha256"], []).append(number)
            for event in manifest.predicate["events"]:
                told = {**event, "run": number, "signed_by": list(by)}
                runs.events.setdefault(event["key"].lower(), []).append(told)
        return runs


def problems_of(stated: Stated, signatures: Signatures, runs: Runs) -> Iterable[Problem]:
    """Yield what is wrong with who signed a statement of a key, and who names it.

    A signed manifest stands for the signature of what Azure's side states, which the token sees
    before it signs. What the token itself did it signed when it did it, and Azure's host tells a
    later run the digest of that, so there a manifest stands for nothing.
    """
    what, where = f"{stated.kind}/v1", stated.where
    named = stated.kind != "wrapped" and stated.digest in runs.trusted
    if signatures.false:
        yield _false(stated, signatures)
    elif signatures.unknown and not signatures.by and not named:
        yield _unknown(stated, signatures)
    elif not signatures.by and not named:
        yield Problem("unsigned", "incomplete", where, f"The statement {what} is unsigned")
    if stated.digest not in runs.names:
        yield Problem(
            "not_in_a_run",
            "incomplete",
            where,
            f"No manifest of a run names the statement {what}: the run did not end, or the next "
            "one has yet to take the statement",
        )


def problems_of_run(stated: Stated, signatures: Signatures) -> Iterable[Problem]:
    """Yield what is wrong with who signed a manifest."""
    number, claimed = stated.predicate["number"], stated.predicate["evidence_key"]
    if signatures.false:
        yield _false(stated, signatures)
    elif claimed and claimed not in (*signatures.by, *signatures.unknown):
        yield Problem(
            "bad_signature",
            "broken",
            stated.where,
            f"Manifest {number} says that the key {claimed} signs it, and that signature is lost",
        )
    elif signatures.unknown and not signatures.by:
        yield _unknown(stated, signatures)
    elif not signatures.by:
        yield Problem(
            "unsigned", "incomplete", stated.where, f"The manifest of run {number} is unsigned"
        )


def _false(stated: Stated, signatures: Signatures) -> Problem:
    return Problem(
        "bad_signature",
        "broken",
        stated.where,
        f"The evidence key {signatures.false[0]} did not sign what the {stated.kind}/v1 says: "
        "the statement or the signature was changed",
    )


def _unknown(stated: Stated, signatures: Signatures) -> Problem:
    return Problem(
        "unknown_signer",
        "broken",
        stated.where,
        f"The {stated.kind}/v1 is signed by {signatures.unknown[0]}, "
        + (
            "and the trust folder has no key in evidence-keys/"
            if signatures.nobody
            else "which is no key of the trust folder that may sign it"
        ),
    )


def _is_true(envelope: Envelope, signature: Signature, keys: Mapping[str, str]) -> bool | None:
    """Tell whether a key made a signature; None for a key that is not trusted."""
    if signature.keyid not in keys:
        return None
    return bool(replace(envelope, signatures=(signature,)).signers(keys))


def _keyids(signatures: Iterable[Signature]) -> tuple[str, ...]:
    return tuple(sorted({each.keyid for each in signatures}))
