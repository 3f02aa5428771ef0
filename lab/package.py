# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key transfer package: reading it and unwrapping what it holds.

Source: Key Vault's BYOK specification. What the service answers to a bad package is not known; each
refusal here says which rule was broken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_private_key

from lab.key_types import CURVES, SIZES
from lab.material import Material, from_base64, from_private_key, from_raw
from lab.refusals import bad_parameter

ENC = "CKM_RSA_AES_KEY_WRAP"
_AES_LENGTHS = (16, 24, 32)


@dataclass(frozen=True)
class Package:
    """The identifier of the KEK, and the ciphertext.

    The ciphertext is RSA-OAEP(KEK, AES key) || AES-KWP(AES key, target key).
    """

    kid: str
    ciphertext: bytes


def parse(key_hsm: str) -> Package:
    """Read the `key_hsm` member of an import: the whole file, in base64url or base64.

    Padding can be there or not.
    """
    try:
        document = json.loads(from_base64(key_hsm))
        header, ciphertext = document["header"], from_base64(document["ciphertext"])
        schema, kid, alg, enc = (
            document["schema_version"],
            str(header["kid"]),
            header["alg"],
            header["enc"],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise bad_parameter(
            "key_hsm is not a key transfer package: header and ciphertext could not be read."
        ) from None
    if (schema, alg, enc) != ("1.0.0", "dir", ENC):
        raise bad_parameter(
            f"The package is schema {schema}, alg {alg}, enc {enc}; expected 1.0.0, dir, {ENC}."
        )
    return Package(kid, ciphertext)


def unwrap(kek: rsa.RSAPrivateKey, ciphertext: bytes) -> bytes:
    """Return the target key in the clear: OAEP with SHA-1 (hash and MGF1), then RFC 5649."""
    length = kek.key_size // 8
    try:
        temporary = kek.decrypt(ciphertext[:length], OAEP(MGF1(SHA1()), SHA1(), None))
    except ValueError:
        raise bad_parameter(
            "The package cannot be unwrapped: its AES key was not wrapped under this KEK."
        ) from None
    if len(temporary) not in _AES_LENGTHS:
        raise bad_parameter("The package cannot be unwrapped: its temporary key is no AES key.")
    try:
        return aes_key_unwrap_with_padding(temporary, ciphertext[length:])
    except (InvalidUnwrap, ValueError):
        raise bad_parameter(
            "The package cannot be unwrapped: its target key is not wrapped by RFC 5649."
        ) from None


def target_key(
    family: str, curve: str | None, plaintext: bytes, tolerate_trailing_zeros: bool
) -> Material:
    """Take the unwrapped bytes for a key of the family that the import names."""
    if family == "oct":
        if 8 * len(plaintext) not in SIZES["oct"]:
            raise bad_parameter(
                f"The package holds {len(plaintext)} bytes, which is no oct key "
                "of 16, 24 or 32 bytes."
            )
        return from_raw(plaintext)
    try:
        key = load_der_private_key(_pkcs8(plaintext, tolerate_trailing_zeros), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise bad_parameter("The package holds no PKCS#8 private key.") from None
    if family == "RSA":
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size not in SIZES["RSA"]:
            raise bad_parameter("The package holds no RSA key of 2048, 3072 or 4096 bits.")
        return from_private_key(key)
    if (
        not isinstance(key, ec.EllipticCurvePrivateKey)
        or curve is None
        or key.curve.name != CURVES[curve].name
    ):
        raise bad_parameter(f"The package holds no EC key on the curve {curve}.")
    return from_private_key(key)


def _pkcs8(plaintext: bytes, tolerate_trailing_zeros: bool) -> bytes:
    """Cut one PKCS#8 structure out of the plaintext.

    RFC 5208: a SEQUENCE of version 0 and an algorithm.
    """
    if plaintext[:1] != b"\x30" or len(plaintext) < 4:
        raise ValueError("not a SEQUENCE")
    first = plaintext[1]
    more = first & 0x7F if first & 0x80 else 0
    content = 2 + more
    end = content + (int.from_bytes(plaintext[2:content], "big") if more else first)
    if plaintext[content : content + 4] != b"\x02\x01\x00\x30":
        raise ValueError("not PKCS#8")
    trailing = plaintext[end:]
    # SoftHSM 2.6.1 pads with 0-7 zero bytes before RFC 5649 does; whether the service takes that is
    # not known.
    if trailing and not (tolerate_trailing_zeros and len(trailing) < 8 and not any(trailing)):
        raise bad_parameter(
            f"The package holds {len(trailing)} bytes behind its PKCS#8 private key. SoftHSM 2.6.1 "
            "leaves such zeros: start the lab with --tolerate-trailing-zeros to allow them."
        )
    return plaintext[:end]
