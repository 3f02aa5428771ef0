# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    RsaPublicKey,
    _root,
    ec_public_key,
    fingerprint,
    from_pem,
    rsa_from_pem,
    thumbprint,
    to_cryptography,
    to_pem,
    weakness,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import assume, given
from hypothesis import strategies as st

CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "P-256K": ec.SECP256K1(),
}

# RFC 7638, section 3.1
RFC_MODULUS = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
    "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn"
    "1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)
RFC_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def ec_key(curve: str) -> tuple[EcPublicKey, ec.EllipticCurvePublicKey]:
    """A key of ours and the same as the library's."""
    public_key = ec.generate_private_key(CURVES[curve]).public_key()
    numbers = public_key.public_numbers()
    return EcPublicKey(curve, numbers.x, numbers.y), public_key


def spki(public_key: t.Any, encoding: serialization.Encoding) -> bytes:
    """The library's own SubjectPublicKeyInfo."""
    octets: bytes = public_key.public_bytes(
        encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return octets


def test_the_thumbprint_of_rfc_7638() -> None:
    import base64

    modulus = int.from_bytes(base64.urlsafe_b64decode(RFC_MODULUS + "=="), "big")
    assert thumbprint(RsaPublicKey(modulus, 65537)) == RFC_THUMBPRINT


@given(st.integers(min_value=2**2047, max_value=2**2048 - 1), st.integers(min_value=0, max_value=3))
def test_leading_zeros_do_not_make_another_key(modulus: int, zeros: int) -> None:
    padded = int.from_bytes(b"\0" * zeros + modulus.to_bytes(256, "big"), "big")
    exponent = int.from_bytes(bytes.fromhex("00010001"), "big")  # AAEAAQ, as vaults answer
    assert thumbprint(RsaPublicKey(padded, exponent)) == thumbprint(RsaPublicKey(modulus, 65537))


@pytest.mark.parametrize("curve", CURVES)
def test_points_and_curves_are_read_as_tokens_write_them(curve: str) -> None:
    ours, theirs = ec_key(curve)
    point = theirs.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    length = bytes([len(point)]) if len(point) < 128 else bytes([0x81, len(point)])
    assert ec_public_key(curve, b"\x04" + length + point) == ours  # DER OCTET STRING
    assert ec_public_key(curve, point) == ours  # bare, as some tokens do


@pytest.mark.parametrize(
    "point", [b"", b"\x04\x41\x02" + bytes(64), b"\x02" + bytes(32), bytes(65)]
)
def test_other_points_are_refused(point: bytes) -> None:
    with pytest.raises(ByokError, match="no uncompressed point on P-256"):
        ec_public_key("P-256", point)


@pytest.mark.parametrize("curve", CURVES)
def test_pem_and_fingerprint_are_the_library_s(curve: str) -> None:
    ours, theirs = ec_key(curve)
    assert to_pem(ours) == spki(theirs, serialization.Encoding.PEM).decode()
    assert from_pem(to_pem(ours)) == ours
    assert (
        fingerprint(to_pem(ours))
        == hashlib.sha256(spki(theirs, serialization.Encoding.DER)).hexdigest()
    )


def test_text_around_a_pem_counts_for_nothing() -> None:
    """RFC 7468 (2) lets it stand there, and tools of Windows write a byte order mark."""
    pem = to_pem(RsaPublicKey(2**2047 + 1, 65537))
    for text in (
        f"\ufeff{pem}",
        f"Key Attributes: <No Attributes>\nsubject=KEK\n{pem}",
        f"\n\n  {pem}\nfetched on Monday\n",
        pem.replace("\n", "\r\n"),
    ):
        assert fingerprint(text) == fingerprint(pem)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{pem}{pem}", "it holds PUBLIC KEY and PUBLIC KEY"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "it holds CERTIFICATE"),
        ("-----BEGIN PRIVATE KEY-----\n{pem}", "it holds PRIVATE KEY and PUBLIC KEY"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA", "no PEM of a SubjectPublicKeyInfo"),
        ("-----BEGIN PUBLIC KEY-----\n#\n-----END PUBLIC KEY-----", "no PEM"),
    ],
)
def test_no_pem_is_guessed(text: str, says: str) -> None:
    with pytest.raises(ByokError, match=says):
        fingerprint(text.replace("{pem}", to_pem(RsaPublicKey(2**2047 + 1, 65537))))


def test_a_key_as_der_is_called_that() -> None:
    with pytest.raises(ByokError, match="is DER, the binary form"):
        fingerprint(base64.b64decode("MAMCAf8=").decode(errors="surrogateescape"))


def test_an_rsa_key_survives_its_pem() -> None:
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    key = RsaPublicKey(numbers.n, numbers.e)
    assert rsa_from_pem(to_pem(key)) == key
    assert rsa_from_pem(to_pem(key).replace("\n", "\r\n")) == key
    assert (key.size, str(key)) == (2048, "RSA-2048")


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "nonsense",
        "-----BEGIN PUBLIC KEY-----\n?\n-----END PUBLIC KEY-----",
        to_pem(ec_key("P-256")[0]),
    ],
)
def test_a_kek_that_is_no_rsa_pem_is_refused(pem: str) -> None:
    with pytest.raises(ByokError, match="PEM"):
        rsa_from_pem(pem)


def test_a_key_that_azure_does_not_know_is_none() -> None:
    for other in (ec.generate_private_key(ec.SECP224R1()), ed25519.Ed25519PrivateKey.generate()):
        assert from_pem(spki(other.public_key(), serialization.Encoding.PEM).decode()) is None


def test_a_point_off_the_curve_is_refused() -> None:
    with pytest.raises(ByokError, match="P-256 is invalid"):
        to_cryptography(EcPublicKey("P-256", 1, 1))


#: A modulus of two primes; kept, because making one takes a second
GOOD = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n


def test_a_key_that_an_hsm_makes_has_no_weakness() -> None:
    assert weakness(RsaPublicKey(GOOD, 65537)) is None


@pytest.mark.parametrize(
    ("n", "e", "says"),
    [
        (GOOD >> 1 | 1, 65537, "2047 bits"),
        (1 << 16447 | 1, 65537, "16448 bits"),
        (GOOD, 1, "the public exponent 1 "),
        (GOOD, 3, "the public exponent 3 "),
        (GOOD, 1 << 900, "the public exponent of 901 bits"),
        (GOOD - 1, 65537, "a small factor"),
        (GOOD - GOOD % 4093 + (0 if (GOOD - GOOD % 4093) % 2 else 4093), 65537, "a small factor"),
        (((1 << 1024) - 105) ** 2, 65537, "a power"),
        (4294967291**64, 65537, "a power"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_that_no_hsm_makes_is_called_weak(n: int, e: int, says: str) -> None:
    assert says in str(weakness(RsaPublicKey(n, e)))


@given(
    size=st.sampled_from((2048, 3072, 4096)),
    exponent=st.integers(2, 170),
    below=st.integers(0, 1000),
)
def test_every_power_of_a_fitting_size_is_found(size: int, exponent: int, below: int) -> None:
    largest = _root(2**size - 1, exponent)
    assert largest**exponent < 2**size <= (largest + 1) ** exponent
    power = (largest - below % (largest >> 10 or 1)) ** exponent
    assume(power.bit_length() == size)
    assert weakness(RsaPublicKey(power, 65537)) in (
        "a modulus with a small factor",
        "a modulus that is a power of a smaller number",
    )
