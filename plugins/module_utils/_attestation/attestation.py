# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Whether the hardware of a Managed HSM states that a key is in it; pure.

Two chains of certificates end in the key of the adapter's partition, which signed the statement.
The maker's shows that there is an adapter at all; only the owner's shows that it is the pool's, so
its root has to be one that the user pinned. The statement has neither a time nor a nonce: it says
what the key is, not that it is there now.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._attestation import statement as hsm
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    Certificate,
    read_bundle,
    verifies,
    verifies_bare_digest,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.makers import (
    MARVELL,
    marvell_roots,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.statement import (
    HsmObject,
    Malformed,
    Statement,
    parse_statement,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    KeyId,
    comparable_url,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    PublicKey,
    RsaPublicKey,
    ec_public_key,
)

#: The format that Azure names (recordings)
_VERSION = "MRVL-1"

#: What an answer may have, in characters; the largest recorded one has 12 KiB
_MOST_CHARACTERS = 1 << 18

#: What an adapter and a partition call themselves; what follows does not say in which mode the
#: adapter runs, so it is never told
_NAMED = re.compile(r"HSM:(?P<serial>[0-9A-Za-z.-]{1,64})(:PARTN:(?P<partition>[0-9]{1,4}))?,.*")

_FETCH_AGAIN = "Fetch the attestation again, and find out what it passed on its way"

#: What must hold for a key that was made in the pool: attribute, value, words for the opposite
_STAYS_INSIDE = (
    (hsm.SENSITIVE, True, "is not sensitive, so it can be read in clear"),
    (hsm.EXTRACTABLE, False, "is extractable, so it can leave the pool"),
)
_WAS_MADE_INSIDE = (
    (hsm.LOCAL, True, "was not made in the pool"),
    (hsm.ALWAYS_SENSITIVE, True, "was not always sensitive"),
    (hsm.NEVER_EXTRACTABLE, True, "was extractable once"),
)


class NotAttested(ByokError):
    """An attestation does not show what it should.

    :ivar reason: one of FAILURES of ``_core/reasons.py``, which begins with ``attestation_``
    """


@dataclass(frozen=True)
class Roots:
    """Whose signatures count.

    :ivar owners: by the pool's name, its host or its URL: the SHA-256 of its owner's root
        certificate, in hexadecimal digits
    :ivar makers: root certificates of makers beside Marvell
    """

    owners: Mapping[str, str]
    makers: tuple[Certificate, ...] = ()

    def pinned(self, vault_url: str) -> str | None:
        """Return the fingerprint of the root that is pinned for a pool; None where none is."""
        host = comparable_url(vault_url).removeprefix("https://")
        by_pool = {
            comparable_url(pool).removeprefix("https://"): normalised(root, pool)
            for pool, root in self.owners.items()
        }
        return by_pool.get(host) or by_pool.get(host.partition(".")[0])


@dataclass(frozen=True)
class Attested:
    """What the hardware states of a key.

    :ivar pool: the pool's name, as its owner's root has it
    :ivar owner_root: SHA-256 of that root
    :ivar maker: ``Marvell``, or None for another one that the user pinned
    :ivar maker_root: SHA-256 of the maker's root
    :ivar adapter: the adapter's serial number
    :ivar made_inside: whether the key was made in the pool and was never extractable
    :ivar sha256: of the answer, which is kept beside
    """

    pool: str
    owner_root: str
    maker: str | None
    maker_root: str
    adapter: str
    made_inside: bool
    sha256: str


@dataclass(frozen=True)
class Answer:
    """What a Managed HSM answers, before it is judged.

    :ivar statement: of the private or symmetric key
    :ivar certificates: of both chains; the owner's root among them, but not the maker's
    :ivar sha256: of the text
    """

    statement: Statement
    certificates: tuple[Certificate, ...]
    sha256: str

    @property
    def shown_roots(self) -> tuple[str, ...]:
        """The fingerprints of what may be the owner's root, to be compared by people."""
        return tuple(
            certificate.fingerprint
            for certificate in self.certificates
            if certificate.is_signed_by(certificate)
        )


def parse_answer(text: str) -> Answer:
    """Read the answer to GET {pool}/keys/{name}/{version}/attestation, whole or its attestation.

    :raises ByokError: for anything else
    """
    if len(text) > _MOST_CHARACTERS:
        raise Malformed(f"it has {len(text)} characters")
    try:
        answer = parse_json(text)
    except ValueError as error:
        raise Malformed(str(error) or "it is no JSON") from None
    attestation = _attestation_in(answer)
    version = attestation.get("version")
    if version != _VERSION:
        raise Malformed(f"its version is {json.dumps(version)[:40]} and not {_VERSION}")
    pem = _decoded(attestation, "certificatePemFile").decode("ascii", "replace")
    return Answer(
        parse_statement(_decoded(attestation, "privateKeyAttestation")),
        read_bundle(pem),
        hashlib.sha256(text.encode()).hexdigest(),
    )


def judge(
    answer: Answer,
    kid: KeyId,
    key: PublicKey | None,
    roots: Roots,
    now: datetime,
    *,
    made_inside: bool = True,
) -> Attested:
    """Return what the hardware states of a key.

    :param kid: which key it has to be; its pool is told by the owner's root alone
    :param key: its public key, where Azure shows one
    :param now: when the certificates have to be in force
    :param made_inside: whether it must have been made in the pool, and never have been extractable
    :raises NotAttested: when the attestation does not show that
    :raises ByokError: when it cannot be read
    """
    owner, by_owner = _owners_chain(answer, kid, roots)
    maker, by_maker = _makers_chain(answer, roots)
    signers = _signers(answer.statement, by_owner, by_maker, kid)
    _refuse_out_of_force([owner, maker.root, maker.adapter, *signers], now)
    described = _described_key(answer.statement)
    _compare(described, kid, key)
    _refuse_unless(described, _STAYS_INSIDE, kid)
    if made_inside:
        _refuse_unless(described, _WAS_MADE_INSIDE, kid)
    named = _NAMED.fullmatch(maker.adapter.common_name)
    return Attested(
        pool=owner.common_name,
        owner_root=owner.fingerprint,
        maker=MARVELL if maker.root in marvell_roots() else None,
        maker_root=maker.root.fingerprint,
        adapter=named["serial"] if named else "unknown",
        made_inside=all(described.is_set(tag) is value for tag, value, _no in _WAS_MADE_INSIDE),
        sha256=answer.sha256,
    )


def refuse_other_key(answer: Answer, kid: KeyId, key: PublicKey | None) -> None:
    """Refuse the statement of another key, whoever signed it.

    :raises NotAttested: for the statement of another key, version or public key
    :raises ByokError: when it cannot be read
    """
    _compare(_described_key(answer.statement), kid, key)


def normalised(fingerprint: str, pool: str) -> str:
    """Return a SHA-256 as 64 hexadecimal digits in lower case, without colons.

    :param pool: whose root it is, for the message
    :raises ByokError: when it is none
    """
    digits = re.sub(r"[:\s]", "", fingerprint).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits, re.ASCII):
        raise ByokError(
            f"attestation_owner_roots has no SHA-256 of a certificate for {pool}",
            "Give the 64 hexadecimal digits that byok_kek returns as kek_owner_roots, after two "
            "people compared them",
        )
    return digits


@dataclass(frozen=True)
class _Maker:
    root: Certificate
    adapter: Certificate


def _owners_chain(
    answer: Answer, kid: KeyId, roots: Roots
) -> tuple[Certificate, dict[bytes, Certificate]]:
    """Return the pinned root, and by their keys the partitions that it signed.

    :raises NotAttested: when the pinned root is not there, or not the pool's
    """
    pinned = roots.pinned(kid.vault)
    shown = ", ".join(answer.shown_roots) or "none"
    if pinned is None:
        raise NotAttested(
            f"No owner's root is pinned for {kid.vault}, so whoever has such an adapter could have "
            f"attested {kid}. The attestation shows {shown}",
            "Let two people compare that with the pool's root by two ways, then set "
            "attestation_owner_roots for the pool",
            code="attestation_owner_unpinned",
        )
    owners = [each for each in answer.certificates if each.fingerprint == pinned]
    if not owners or not owners[0].is_signed_by(owners[0]):
        raise NotAttested(
            f"The attestation of {kid} is not of the pool whose root is pinned: it shows {shown}, "
            f"and {pinned} is pinned",
            "Do not use the key. Find out which pool the attestation is from; a pool that was made "
            "anew has another root, which two people have to compare first",
            code="attestation_other_owner",
        )
    owner = owners[0]
    pool = kid.vault.removeprefix("https://").partition(".")[0]
    if owner.common_name.lower() != pool:
        raise NotAttested(
            f"The root that is pinned for {kid.vault} is of another pool",
            "Check attestation_owner_roots: each pool has a root of its own, with the pool's name",
            code="attestation_other_owner",
        )
    signed = [each for each in answer.certificates if each != owner and each.is_signed_by(owner)]
    return owner, {each.key: each for each in signed}


def _makers_chain(answer: Answer, roots: Roots) -> tuple[_Maker, dict[bytes, Certificate]]:
    """Return the maker with the adapter, and by their keys the partitions that the adapter signed.

    :raises NotAttested: when the adapter is of no pinned maker, or there are several
    """
    makers = [
        _Maker(root, adapter)
        for root in (*marvell_roots(), *roots.makers)
        for adapter in answer.certificates
        if adapter != root and adapter.is_signed_by(root)
    ]
    if len(makers) != 1:
        raise NotAttested(
            f"The attestation has {len(makers)} adapters of a known maker instead of one",
            "Do not use the key. Only Marvell's roots are known, and those that "
            "attestation_maker_roots names",
            code="attestation_maker",
        )
    adapter = makers[0].adapter
    signed = [each for each in answer.certificates if each.is_signed_by(adapter)]
    return makers[0], {each.key: each for each in signed}


def _signers(
    statement: Statement,
    by_owner: Mapping[bytes, Certificate],
    by_maker: Mapping[bytes, Certificate],
    kid: KeyId,
) -> tuple[Certificate, Certificate]:
    """Return both certificates of the partition that signed the statement.

    :raises NotAttested: when no partition that both chains have did
    """
    for key in by_owner.keys() & by_maker.keys():
        if statement.bare_digest:
            signed = verifies_bare_digest(key, statement.signature, statement.digest)
        else:
            signed = verifies(key, statement.signature, statement.signed)
        if signed:
            return by_owner[key], by_maker[key]
    raise NotAttested(
        f"No partition of the pool's adapter signed the attestation of {kid}",
        _FETCH_AGAIN,
        code="attestation_signature",
    )


def _refuse_out_of_force(certificates: Iterable[Certificate], now: datetime) -> None:
    """:raises NotAttested: for a certificate that is not in force"""
    for each in certificates:
        if not each.is_in_force(now):
            validity = f"{format_moment(each.begins)} to {format_moment(each.ends)}"
            raise NotAttested(
                f"A certificate of the attestation is valid from {validity}, and it is "
                f"{format_moment(now)}",
                "Check this host's clock. If it is right, fetch the attestation again",
                code="attestation_expired",
            )


def _described_key(statement: Statement) -> HsmObject:
    """Return the one private or symmetric key of a statement: public ones are never judged.

    :raises Malformed: for none and for several
    """
    secret = [each for each in statement.objects if each.is_secret]
    if len(secret) != 1:
        raise Malformed(f"it describes {len(secret)} private keys instead of one")
    return secret[0]


def _compare(described: HsmObject, kid: KeyId, key: PublicKey | None) -> None:
    """:raises NotAttested: for the statement of another key"""
    if described.id.lower().split("/")[-2:] != [kid.name.lower(), kid.version]:
        raise NotAttested(
            f"The attestation is of another key or version than {kid}",
            _FETCH_AGAIN,
            code="attestation_other_key",
        )
    if key is not None and _public_key(described, key) != key:
        raise NotAttested(
            f"The attestation is of another public key than that of {kid}",
            "Do not use the key: what says that it is Azure's and what its hardware states differ",
            code="attestation_other_key",
        )


def _public_key(described: HsmObject, like: PublicKey) -> PublicKey | None:
    """Return the public key that the adapter has; None where it is of another kind.

    The number of a curve is not judged: the point is on one curve only.
    """
    if isinstance(like, RsaPublicKey) and described.key_type == "RSA":
        return RsaPublicKey(described.number(hsm.MODULUS), described.number(hsm.PUBLIC_EXPONENT))
    if isinstance(like, EcPublicKey) and described.key_type == "EC":
        point = described.point()
        if len(point) != 2 * CURVES[like.curve].coordinate_bytes + 1:
            return None
        return ec_public_key(like.curve, point)
    return None


def _refuse_unless(
    described: HsmObject, wanted: Iterable[tuple[int, bool, str]], kid: KeyId
) -> None:
    """:raises NotAttested: for a key that is not as it has to be"""
    for attribute, value, opposite in wanted:
        if described.is_set(attribute) is not value:
            raise NotAttested(
                f"The pool's hardware states that the key {kid} {opposite}",
                "Use another key that is made in the pool (byok_kek makes one)",
                code="attestation_object",
            )


def _attestation_in(answer: t.Any) -> Mapping[str, t.Any]:
    """Return the attestation of an answer, which may be it alone.

    :raises Malformed: where there is none
    """
    found = answer
    if isinstance(found, dict) and "attributes" in found:
        found = found["attributes"]
        found = found.get("attestation") if isinstance(found, dict) else None
    if not isinstance(found, dict) or "privateKeyAttestation" not in found:
        raise Malformed("it has no attributes.attestation")
    return found


def _decoded(attestation: Mapping[str, t.Any], member: str) -> bytes:
    """Return a member that is base64url.

    :raises Malformed: for what is none
    """
    text = attestation.get(member)
    if not isinstance(text, str):
        raise Malformed(f"it has no {member}")
    try:
        padded = text + "=" * (-len(text) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(f"its {member} is no base64url") from None
