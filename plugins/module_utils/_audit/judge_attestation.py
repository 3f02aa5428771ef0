# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Raw answers of Managed HSMs, judged anew for an auditor; pure.

Statements say what a run thought of an answer. Here the answer itself counts, at the time that the
statement tells, under the roots that the auditor trusts.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._attestation import statement as hsm
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    Answer,
    Attested,
    NotAttested,
    Roots,
    judge,
    parse_answer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.makers import MARVELL
from ansible_collections.keyferry.azure.plugins.module_utils._audit.receipt_folder import Stated
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    AttestationVerdict,
    Problem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import KeyId
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import parse_kid
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    PublicKey,
    RsaPublicKey,
    ec_public_key,
    fingerprint,
    thumbprint,
    to_pem,
)

NOTHING = AttestationVerdict("none", "No statement names an attestation")

_UNPINNED = "attestation_owner_unpinned"


@dataclass(frozen=True)
class _Claim:
    """What a statement says of an answer.

    :ivar what: ``KEK`` or ``key``
    :ivar attested: whether a run thought that the answer attests the key
    :ivar sha256: of the answer; None where no answer is named
    :ivar owner_root: that the run found
    :ivar kid: of which key the answer is
    :ivar time: when the run judged it
    :ivar public_key: SHA-256 of the KEK's SubjectPublicKeyInfo, or the key's thumbprint; None for
        a key without a public part
    """

    what: str
    attested: bool
    sha256: str | None
    owner_root: str | None
    kid: str | None
    time: str
    public_key: str | None


def answer_named(stated: Stated) -> str | None:
    """Return the SHA-256 of the raw answer that a statement names; None where it names none."""
    if stated.kind == "wrapped":
        return t.cast("str | None", stated.predicate["kek"]["attestation"])
    return (stated.predicate.get("attestation") or {}).get("sha256")


def judge_kek(
    wrapped: Stated | None, answers: Mapping[str, str], roots: Roots
) -> tuple[AttestationVerdict, Problem | None]:
    """Judge the answer for a KEK, which must have been made in the pool.

    :param wrapped: wrapped/v1
    :param answers: texts by their SHA-256
    """
    if wrapped is None:
        return NOTHING, None
    kek = wrapped.predicate["kek"]
    claim = _Claim(
        "KEK",
        kek["trust"] == "attested",
        answer_named(wrapped),
        kek["owner_root"],
        kek["kid"],
        wrapped.predicate["wrap"]["time"],
        kek["fingerprint"],
    )
    return _judge(claim, wrapped, answers, roots)


def judge_target(
    imported: Stated | None, answers: Mapping[str, str], roots: Roots
) -> tuple[AttestationVerdict, Problem | None]:
    """Judge the answer for a key that was imported, so it was not made in the pool.

    :param imported: imported/v1
    :param answers: texts by their SHA-256
    """
    if imported is None or imported.predicate["attestation"] is None:
        return NOTHING, None
    attestation = imported.predicate["attestation"]
    claim = _Claim(
        "key",
        attestation["verdict"] == "attested",
        answer_named(imported),
        attestation["owner_root"],
        imported.predicate["kid"],
        imported.predicate["time"],
        imported.predicate["key"]["thumbprint"],
    )
    return _judge(claim, imported, answers, roots)


def _judge(
    claim: _Claim, stated: Stated, answers: Mapping[str, str], roots: Roots
) -> tuple[AttestationVerdict, Problem | None]:
    if claim.sha256 is None and not claim.attested:
        return NOTHING, None
    text = answers.get(claim.sha256 or "")
    if text is None:
        told = f"The attestation of the {claim.what} that the statement names is lost"
        problem = Problem("lost_file", "broken", stated.where, f"{told}: {claim.sha256}")
        return AttestationVerdict("none", told, problem.code), problem
    try:
        found = _attested(claim, text, roots)
    except ByokError as error:
        unpinned = error.reason == _UNPINNED
        verdict = AttestationVerdict(
            "root_not_pinned" if unpinned else "wrong", error.what, error.reason
        )
        if not claim.attested:
            return verdict, None
        return verdict, Problem(
            error.reason, "incomplete" if unpinned else "broken", stated.where, error.what
        )
    maker = found.maker or f"not {MARVELL}"
    told = (
        f"An adapter (maker: {maker}, serial number {found.adapter}) states that the {claim.what} "
        f"is in the pool {found.pool} and cannot leave it"
    )
    return AttestationVerdict("attested", told, None, maker), None


def _attested(claim: _Claim, text: str, roots: Roots) -> Attested:
    """Return what an answer shows.

    :raises ByokError: where that is not what a statement claims
    """
    answer, kid = parse_answer(text), parse_kid(claim.kid or "")
    key = _key_in(answer, claim, kid)
    made_inside = claim.what == "KEK"
    found = judge(answer, kid, key, roots, parse_moment(claim.time), made_inside=made_inside)
    if claim.owner_root not in (None, found.owner_root):
        raise NotAttested(
            f"The attestation of {kid} is of the root {found.owner_root}, and the statement names "
            f"{claim.owner_root}",
            "Find out which of both was changed",
            code="attestation_other_owner",
        )
    return found


def _key_in(answer: Answer, claim: _Claim, kid: KeyId) -> PublicKey | None:
    """Return the public key that an answer states and a statement names.

    :raises NotAttested: where the answer states another one
    """
    if claim.public_key is None:
        return None
    name = _fingerprint if claim.what == "KEK" else thumbprint
    for key in _stated_keys(answer):
        if name(key) == claim.public_key:
            return key
    raise NotAttested(
        f"The attestation is of another public key than the statement names for {kid}",
        "Find out which of both was changed",
        code="attestation_other_key",
    )


def _fingerprint(key: PublicKey) -> str | None:
    try:
        return fingerprint(to_pem(key))
    except ByokError:  # numbers that are no key
        return None


def _stated_keys(answer: Answer) -> Iterator[PublicKey]:
    """Yield what may be the public key of the secret object; a point does not name its curve."""
    for each in answer.statement.objects:
        if each.is_secret and each.key_type == "RSA":
            yield RsaPublicKey(each.number(hsm.MODULUS), each.number(hsm.PUBLIC_EXPONENT))
        if each.is_secret and each.key_type == "EC":
            point = each.point()
            for curve in CURVES.values():
                if len(point) == 2 * curve.coordinate_bytes + 1:
                    yield ec_public_key(curve.name, point)
