# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Signatures of evidence keys: ECDSA on P-256 with SHA-256, which every verifier takes; pure.

PKCS#11's CKM_ECDSA and Key Vault's ES256 give r and s side by side, and verifiers of DSSE want DER
(RFC 3279, 2.2.3).
"""

from __future__ import annotations

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    fingerprint,
    from_pem,
    to_cryptography,
    to_pem,
)

CURVE = "P-256"

#: Octets of r and of s
_HALF = 32


def keyid_of(pem: str) -> str:
    """Return the SHA-256 of a public key's SubjectPublicKeyInfo, in hexadecimal digits.

    :raises ByokError: for what is no public key on P-256
    """
    return fingerprint(to_pem(_key(pem)))


def verifies(pem: str, signature: bytes, message: bytes) -> bool:
    """Tell whether a key signed a message.

    :param signature: DER
    :param message: what was hashed
    :raises ByokError: for what is no public key on P-256
    """
    key = to_cryptography(_key(pem))
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise MissingLibrary("cryptography", error) from error
    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def der_of(signature: bytes) -> bytes:
    """Return a signature of r and s side by side, 32 octets each, as DER.

    :raises ByokError: for one of another length
    """
    if len(signature) != 2 * _HALF:
        raise ByokError(
            f"The evidence key's signature has {len(signature)} bytes instead of {2 * _HALF}",
            f"Use an evidence key on {CURVE}, and check that its token signs with CKM_ECDSA",
            code="evidence_key",
        )
    body = _integer(signature[:_HALF]) + _integer(signature[_HALF:])
    return bytes((0x30, len(body))) + body


def _integer(octets: bytes) -> bytes:
    """Return an unsigned number of at most 32 octets as DER's INTEGER."""
    digits = octets.lstrip(b"\0") or b"\0"
    if digits[0] & 0x80:
        digits = b"\0" + digits
    return bytes((0x02, len(digits))) + digits


def _key(pem: str) -> EcPublicKey:
    key = from_pem(pem)
    if not isinstance(key, EcPublicKey) or key.curve != CURVE:
        raise ByokError(
            f"A public key of {key or 'an unknown kind'} is no evidence key",
            f"Give the PEM of a key on {CURVE}, as byok_evidence_key returns it",
            code="evidence_key",
        )
    return key
