# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key transfer packages for tests, wrapped by python-cryptography, and the keys inside."""

from __future__ import annotations

import base64
import functools
import json
import secrets
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

CURVES = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "P-256K": ec.SECP256K1(),
}


@functools.cache
def rsa_key(size: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, size)


@functools.cache
def ec_key(curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(CURVES[curve])


def pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def wrapped(
    kek: dict[str, Any],
    plaintext: bytes,
    wrap_key: Callable[[bytes, bytes], bytes] = aes_key_wrap_with_padding,
) -> bytes:
    """Wrap a target key under a KEK, given as its JWK. Returns the ciphertext."""
    temporary = secrets.token_bytes(32)
    public = rsa.RSAPublicNumbers(number(kek["e"]), number(kek["n"])).public_key()
    return public.encrypt(temporary, OAEP(MGF1(SHA1()), SHA1(), None)) + wrap_key(
        temporary, plaintext
    )


def wrap(kek: dict[str, Any], plaintext: bytes, kid: str | None = None) -> bytes:
    """Wrap a target key under a KEK. Returns the package's file."""
    return package(kid or kek["kid"], wrapped(kek, plaintext))


def package(kid: str, ciphertext: bytes) -> bytes:
    header = {"kid": kid, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}
    document = {
        "schema_version": "1.0.0",
        "header": header,
        "ciphertext": base64url(ciphertext),
        "generator": "test",
    }
    return json.dumps(document).encode()
