# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import os

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._token.rehearsal import (
    GOOD,
    classify,
    unwrap_unchecked,
)
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import aes_key_wrap, aes_key_wrap_with_padding
from hypothesis import given
from hypothesis import strategies as st

AES_KEY = bytes(range(32))
AIV = bytes.fromhex("a65959a6")


@functools.cache
def kek() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def pkcs8() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def wrapped(body: bytes, algorithm: hashes.HashAlgorithm | None = None) -> bytes:
    algorithm = algorithm or hashes.SHA1()
    return (
        kek().public_key().encrypt(AES_KEY, padding.OAEP(padding.MGF1(algorithm), algorithm, None))
        + body
    )


def kwp(plain: bytes, initial: bytes = AIV) -> bytes:
    """RFC 5649 with any initial value: written anew, as libraries have the standard's only."""
    blocks = [plain[at : at + 8].ljust(8, b"\0") for at in range(0, len(plain), 8)]
    register = initial + len(plain).to_bytes(4, "big")
    encrypt = Cipher(algorithms.AES(AES_KEY), modes.ECB()).encryptor().update
    for step in range(6 * len(blocks)):
        out = encrypt(register + blocks[step % len(blocks)])
        register = (int.from_bytes(out[:8], "big") ^ (step + 1)).to_bytes(8, "big")
        blocks[step % len(blocks)] = out[8:]
    return register + b"".join(blocks)


def pkcs7(plain: bytes) -> bytes:
    missing = 8 - len(plain) % 8
    return plain + bytes([missing]) * missing


@given(st.binary(min_size=1, max_size=2400))
def test_unwrapping_undoes_what_another_implementation_wrapped(plain: bytes) -> None:
    initial, padded = unwrap_unchecked(AES_KEY, aes_key_wrap_with_padding(AES_KEY, plain))
    assert initial == AIV + len(plain).to_bytes(4, "big")
    assert padded == plain + bytes(-len(plain) % 8)


@given(
    st.binary(min_size=2, max_size=200).map(
        lambda half: half.ljust(16, b"x")[: max(16, len(half) // 8 * 8)]
    )
)
def test_unwrapping_undoes_rfc_3394(plain: bytes) -> None:
    assert unwrap_unchecked(AES_KEY, aes_key_wrap(AES_KEY, plain)) == (b"\xa6" * 8, plain)


def test_what_azure_unwraps_is_good() -> None:
    assert kwp(pkcs8()) == aes_key_wrap_with_padding(
        AES_KEY, pkcs8()
    )  # the test's own wrap is right
    assert classify(kek(), wrapped(kwp(pkcs8()))) == GOOD


@pytest.mark.parametrize("zeros", range(1, 8))
def test_zero_bytes_behind_the_key_are_counted(zeros: int) -> None:
    assert (
        classify(kek(), wrapped(kwp(pkcs8() + bytes(zeros))))
        == f"{GOOD}, followed by {zeros} zero bytes"
    )


@pytest.mark.parametrize(
    ("body", "finding"),
    [
        (
            lambda: aes_key_wrap(AES_KEY, pkcs7(pkcs8())),
            "RFC 3394 over PKCS#7 padding instead of RFC 5649",
        ),
        (lambda: aes_key_wrap(AES_KEY, pkcs8()[:64]), "RFC 3394 instead of RFC 5649"),
        (
            lambda: kwp(pkcs8(), bytes.fromhex("01020303")),
            "RFC 5649 with the initial value 01020303 instead of a65959a6",
        ),
        (lambda: kwp(pkcs8()) + AIV, "RFC 5649, with 4 bytes appended"),
        (lambda: kwp(pkcs8()) + AIV + bytes(4), "RFC 5649, with 8 bytes appended"),
        (
            lambda: kwp(pkcs8(), b"1234") + b"1234" + bytes(12),
            "RFC 5649 with the initial value 31323334 instead of a65959a6, with 16 bytes appended",
        ),
        (
            lambda: aes_key_wrap(AES_KEY, pkcs7(pkcs8())) + b"\xa6" * 8,
            "RFC 3394 over PKCS#7 padding instead of RFC 5649, with 8",
        ),
        (lambda: kwp(b"no key at all"), "RFC 5649 over something that is no PKCS#8"),
        (lambda: os.urandom(80), "no AES key wrap that is known"),
        (lambda: b"", "no AES key wrap that is known"),
    ],
)
def test_anything_else_is_called_by_its_name(body: object, finding: str) -> None:
    assert classify(kek(), wrapped(body())).startswith(finding)  # type: ignore[operator]


def test_another_hash_is_called_by_its_name() -> None:
    assert classify(kek(), wrapped(kwp(pkcs8()), hashes.SHA256())) == "no RSA-OAEP with SHA-1"


@given(st.binary(max_size=700))
def test_nothing_that_a_token_may_return_makes_it_fail(octets: bytes) -> None:
    assert classify(kek(), octets)
    assert classify(kek(), wrapped(octets))
