# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Public keys of the token and of the vault, compared as integers; pure.

Azure pads integers (``AAEAAQ`` for 65537) and strips them, and tokens do either, so encodings are
never compared.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import typing as t
from dataclasses import dataclass
from functools import cache

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import plain_text


@dataclass(frozen=True)
class RsaPublicKey:
    """Modulus ``n`` and public exponent ``e``."""

    n: int
    e: int

    @property
    def size(self) -> int:
        """Length of the modulus in bits."""
        return self.n.bit_length()

    def __str__(self) -> str:
        return f"RSA-{self.size}"


@dataclass(frozen=True)
class EcPublicKey:
    """The point ``x``, ``y`` on ``curve`` (Azure's name of it)."""

    curve: str
    x: int
    y: int

    def __str__(self) -> str:
        return self.curve


PublicKey: t.TypeAlias = "RsaPublicKey | EcPublicKey"

_LABEL = "PUBLIC KEY"
_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----")

#: What Azure makes KEKs with, and what FIPS 186-5 (A.1.1) takes as the least
_EXPONENT = 65537

#: Sizes of RSA keys, in bits: Azure's are 2048, 3072 and 4096, and an escrow key may be larger
_RSA_SIZES = range(2048, 16384 + 1, 64)

#: No factor of a modulus that anybody makes is below this
_SMALL = 2**12


def weakness(key: RsaPublicKey) -> str | None:
    """Return why nothing must be encrypted under a key, in words behind "it has" or the like.

    It finds what no HSM makes: a key that was invented, cut off or changed on its way. It cannot
    show that a key is good.

    :returns: None where nothing is wrong
    """
    if key.size not in _RSA_SIZES:
        return f"{key.size} bits"
    if key.e != _EXPONENT:
        shown = key.e if key.e.bit_length() <= 64 else f"of {key.e.bit_length()} bits"
        return f"the public exponent {shown} instead of {_EXPONENT}"
    if math.gcd(key.n, _small_primes()[1]) != 1:
        return "a modulus with a small factor"
    if _is_perfect_power(key.n):
        return "a modulus that is a power of a smaller number"
    return None


@cache
def _small_primes() -> tuple[tuple[int, ...], int]:
    """Return the primes below _SMALL, and their product."""
    sieve = bytearray([1]) * _SMALL
    for number in range(2, math.isqrt(_SMALL) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, _SMALL, number)))
    primes = tuple(number for number in range(2, _SMALL) if sieve[number])
    return primes, math.prod(primes)


def _is_perfect_power(number: int) -> bool:
    """Tell whether a number without small factors is one."""
    most = number.bit_length() // (_SMALL.bit_length() - 1)
    exponents = (prime for prime in _small_primes()[0] if prime <= most)
    return any(_root(number, exponent) ** exponent == number for exponent in exponents)


def _root(number: int, exponent: int) -> int:
    """Return the integer part of a root, by Newton's method from above."""
    root = 1 << -(-number.bit_length() // exponent)
    while True:
        closer = ((exponent - 1) * root + number // root ** (exponent - 1)) // exponent
        if closer >= root:
            return root
        root = closer


def ec_public_key(curve: str, point: bytes) -> EcPublicKey:
    """Read CKA_EC_POINT.

    It is a DER OCTET STRING (PKCS#11 v3.1, 6.3.3) or, on some tokens, the bare uncompressed point.

    :raises ByokError: when it is neither
    """
    size = CURVES[curve].coordinate_bytes
    uncompressed = point[-(2 * size + 1) :]
    header = point[: -(2 * size + 1)]
    if (
        uncompressed[:1] != b"\x04"
        or len(uncompressed) != 2 * size + 1
        or header[:1] not in (b"", b"\x04")
    ):
        raise ByokError(
            f"The token's CKA_EC_POINT of {len(point)} bytes is no uncompressed point on {curve}",
            "Check that the public key object in the token is intact",
        )
    return EcPublicKey(
        curve,
        int.from_bytes(uncompressed[1 : size + 1], "big"),
        int.from_bytes(uncompressed[size + 1 :], "big"),
    )


def thumbprint(key: PublicKey) -> str:
    """Return the JWK thumbprint (RFC 7638, SHA-256) as base64url without padding."""
    if isinstance(key, RsaPublicKey):
        members = {"e": _base64url(key.e), "kty": "RSA", "n": _base64url(key.n)}
    else:
        curve = CURVES[key.curve]
        members = {
            "crv": curve.jwk_name,
            "kty": "EC",
            "x": _base64url(key.x, curve.coordinate_bytes),
            "y": _base64url(key.y, curve.coordinate_bytes),
        }
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def fingerprint(pem: str) -> str:
    """Return the SHA-256 of the SubjectPublicKeyInfo of a PEM as hexadecimal digits."""
    return hashlib.sha256(_decode_pem(pem)).hexdigest()


def to_pem(key: PublicKey) -> str:
    """Return the key as a PEM of its SubjectPublicKeyInfo (RFC 5280).

    This is the form of C(az keyvault key download).
    """
    with _cryptography():
        from cryptography.hazmat.primitives import serialization

        text: bytes = to_cryptography(key).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    return text.decode()


def rsa_from_pem(pem: str) -> RsaPublicKey:
    """Read an RSA public key from a PEM.

    :raises ByokError: when it is none
    """
    key = from_pem(pem)
    if not isinstance(key, RsaPublicKey):
        raise ByokError(
            "The PEM given is no RSA public key",
            "Give the PEM that byok_kek or az keyvault key download returned",
        )
    return key


def from_pem(pem: str) -> PublicKey | None:
    """Read a public key from a PEM; None for one that Azure does not know.

    :raises ByokError: when it is no PEM of a public key
    """
    with _cryptography():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        try:
            key = load_der_public_key(_decode_pem(pem))
        except (ValueError, UnsupportedAlgorithm):
            return None
        if isinstance(key, rsa.RSAPublicKey):
            return RsaPublicKey(key.public_numbers().n, key.public_numbers().e)
        if isinstance(key, ec.EllipticCurvePublicKey):
            numbers = key.public_numbers()
            for curve in CURVES.values():
                if key.curve.name == curve.sec_name:
                    return EcPublicKey(curve.name, numbers.x, numbers.y)
    return None


def to_cryptography(key: PublicKey) -> t.Any:
    """Return the key as an object of the library cryptography.

    :raises ByokError: when the numbers are no public key
    """
    with _cryptography():
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        try:
            if isinstance(key, RsaPublicKey):
                return rsa.RSAPublicNumbers(key.e, key.n).public_key()
            curve = getattr(ec, CURVES[key.curve].sec_name.upper())
            return ec.EllipticCurvePublicNumbers(key.x, key.y, curve()).public_key()
        except ValueError as error:
            raise ByokError(
                f"A public key on {key} is invalid ({error})", "Find out where it came from"
            ) from error


class _cryptography:
    """Says so when the library cryptography is missing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ImportError):
            raise MissingLibrary("cryptography", error) from error


def _decode_pem(pem: str) -> bytes:
    """Return what the one public key in a PEM encodes; RFC 7468 (2) lets other text stand around.

    :raises ByokError: when there is none, or more than one
    """
    what = "The text given as public key"
    lines = [line.strip() for line in plain_text(pem, what).splitlines()]
    labels = [match[1] for line in lines if (match := _BEGIN.fullmatch(line))]
    try:
        if labels != [_LABEL]:
            raise ValueError(labels)
        first = lines.index(f"-----BEGIN {_LABEL}-----") + 1
        last = lines.index(f"-----END {_LABEL}-----", first)
        return base64.b64decode("".join(lines[first:last]), validate=True)
    except ValueError:
        holds = f" (it holds {' and '.join(labels[:3])})" if labels else ""
        raise ByokError(
            f"{what} is no PEM of a SubjectPublicKeyInfo{holds}",
            f"It begins with -----BEGIN {_LABEL}-----, as az keyvault key download writes it",
        ) from None


def _base64url(number: int, size: int | None = None) -> str:
    octets = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
