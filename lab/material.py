# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key material: what a vault keeps of a key, and the public half that it shows."""

from __future__ import annotations

import base64
import math
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from lab.key_types import CURVES

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Material:
    """PKCS#8 DER (RSA, EC) or raw bytes (oct), the JWK's public members, and the size in bits."""

    private: bytes
    public: dict[str, str]
    size: int


def base64url(data: bytes) -> str:
    """Encode as RFC 7515 does: base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64(text: str) -> bytes:
    """Decode base64url or base64, with or without padding. Raises ValueError for anything else."""
    text = text.rstrip("=").replace("+", "-").replace("/", "_")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def integer(value: int, length: int | None = None) -> str:
    """A JWK integer, big-endian, of `length` bytes or as few as it needs."""
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def from_private_key(key: PrivateKey) -> Material:
    """Keep an RSA or EC key."""
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    if isinstance(key, rsa.RSAPrivateKey):
        rsa_numbers = key.public_key().public_numbers()
        return Material(
            private, {"n": integer(rsa_numbers.n), "e": integer(rsa_numbers.e)}, key.key_size
        )
    ec_numbers = key.public_key().public_numbers()
    curve = next(name for name, known in CURVES.items() if known.name == key.curve.name)
    length = (key.key_size + 7) // 8
    point = {"crv": curve, "x": integer(ec_numbers.x, length), "y": integer(ec_numbers.y, length)}
    return Material(private, point, key.key_size)


def from_raw(private: bytes) -> Material:
    """Keep an oct key, which has no public half."""
    return Material(private, {}, 8 * len(private))


def exponent_of(material: Material) -> int:
    """The public exponent of an RSA key; 0 for others."""
    return int.from_bytes(from_base64(material.public.get("e", "")), "big")


def private_key(material: Material) -> PrivateKey:
    """Return the key for use.

    It was checked when it came in, so it is not checked again (4096 bits: 0.1 s).
    """
    key = load_der_private_key(material.private, password=None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, PrivateKey)
    return key


def generate(family: str, size: int, curve: str, exponent: int = 65537) -> Material:
    """Make a new key of a family: RSA by size in bits and exponent, oct by size, EC by curve."""
    if family == "RSA":
        return from_private_key(_generate_rsa(size, exponent))
    if family == "EC":
        return from_private_key(ec.generate_private_key(CURVES[curve]))
    return from_raw(secrets.token_bytes(size // 8))


def _generate_rsa(size: int, exponent: int) -> rsa.RSAPrivateKey:
    """Make an RSA key; python-cryptography itself takes no other exponents than 3 and 65537."""
    while True:
        key = rsa.generate_private_key(65537, size)
        if exponent == 65537:
            return key
        numbers = key.private_numbers()
        p, q = numbers.p, numbers.q
        order = math.lcm(p - 1, q - 1)
        if math.gcd(exponent, order) == 1:
            d = pow(exponent, -1, order)
            public = rsa.RSAPublicNumbers(exponent, p * q)
            crt = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
            return rsa.RSAPrivateNumbers(p, q, d, *crt, public).private_key()
