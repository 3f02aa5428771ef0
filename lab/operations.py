# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an imported key can do: sign, verify, encrypt, decrypt, wrapKey, unwrapKey.

Sources: RFC 7518, Key Vault REST reference.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import (
    MGF1,
    OAEP,
    PSS,
    AsymmetricPadding,
    PKCS1v15,
)
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.padding import PKCS7

from lab.material import Material, base64url, from_base64, private_key
from lab.refusals import bad_parameter

Answer = dict[str, Any]

_RSA_CIPHERS: dict[str, AsymmetricPadding] = {
    "RSA1_5": PKCS1v15(),
    "RSA-OAEP": OAEP(MGF1(SHA1()), SHA1(), None),
    "RSA-OAEP-256": OAEP(MGF1(SHA256()), SHA256(), None),
}
_HASHES: dict[str, HashAlgorithm] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
_RSA_SIGNATURES: dict[str, tuple[HashAlgorithm, AsymmetricPadding]] = {
    **{f"RS{bits}": (digest, PKCS1v15()) for bits, digest in _HASHES.items()},
    **{
        f"PS{bits}": (digest, PSS(MGF1(digest), digest.digest_size))
        for bits, digest in _HASHES.items()
    },
}
_EC_SIGNATURES: dict[str, tuple[HashAlgorithm, str]] = {
    "ES256": (SHA256(), "P-256"),
    "ES384": (SHA384(), "P-384"),
    "ES512": (SHA512(), "P-521"),
    "ES256K": (SHA256(), "P-256K"),
}
_AES_SIZES = {
    f"A{size}{mode}": (size, mode)
    for size in (128, 192, 256)
    for mode in ("KW", "CBC", "CBCPAD", "GCM")
}
_GCM_NONCE, _GCM_TAG = 12, 16  # bytes


def perform(operation: str, family: str, material: Material, body: dict[str, Any]) -> Answer:
    """Do one operation with a key, and return the members of the answer beside `kid`."""
    perform_in_family: Callable[..., Answer] = {"RSA": _rsa, "EC": _ec, "oct": _oct}[family]
    algorithm = str(body.get("alg"))
    try:
        return perform_in_family(operation, algorithm, material, body)
    except KeyError:
        raise bad_parameter(
            f"The algorithm {algorithm} cannot {operation} with this key."
        ) from None
    except (ValueError, InvalidUnwrap, InvalidTag):
        raise bad_parameter(
            f"The value cannot be processed by {operation} with {algorithm}."
        ) from None


def _member(body: dict[str, Any], name: str) -> bytes:
    return from_base64(str(body.get(name) or ""))


def _rsa(operation: str, algorithm: str, material: Material, body: dict[str, Any]) -> Answer:
    key = private_key(material)
    assert isinstance(key, rsa.RSAPrivateKey)
    if operation in ("sign", "verify"):
        digest, padding = _RSA_SIGNATURES[algorithm]
        if operation == "sign":
            return {
                "value": base64url(key.sign(_member(body, "value"), padding, Prehashed(digest)))
            }
        return _verified(
            lambda: key.public_key().verify(
                _member(body, "value"), _member(body, "digest"), padding, Prehashed(digest)
            )
        )
    cipher = _RSA_CIPHERS[algorithm]
    value = _member(body, "value")
    if operation in ("encrypt", "wrapKey"):
        return {"value": base64url(key.public_key().encrypt(value, cipher))}
    return {"value": base64url(key.decrypt(value, cipher))}


def _ec(operation: str, algorithm: str, material: Material, body: dict[str, Any]) -> Answer:
    key = private_key(material)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    digest, curve = _EC_SIGNATURES[algorithm]
    if curve != material.public["crv"]:
        raise KeyError(algorithm)
    scheme, length = ec.ECDSA(Prehashed(digest)), (key.key_size + 7) // 8
    if operation == "sign":
        r, s = decode_dss_signature(key.sign(_member(body, "value"), scheme))
        return {"value": base64url(r.to_bytes(length, "big") + s.to_bytes(length, "big"))}
    raw = _member(body, "value")
    signature = encode_dss_signature(
        int.from_bytes(raw[:length], "big"), int.from_bytes(raw[length:], "big")
    )
    return _verified(lambda: key.public_key().verify(signature, _member(body, "digest"), scheme))


def _verified(verify: Callable[[], None]) -> Answer:
    try:
        verify()
    except InvalidSignature:
        return {"value": False}
    return {"value": True}


def _oct(operation: str, algorithm: str, material: Material, body: dict[str, Any]) -> Answer:
    size, mode = _AES_SIZES[algorithm]
    if size != material.size or (mode == "KW") != (operation in ("wrapKey", "unwrapKey")):
        raise KeyError(algorithm)
    key, value = material.private, _member(body, "value")
    if mode == "KW":
        return {
            "value": base64url(
                (aes_key_wrap if operation == "wrapKey" else aes_key_unwrap)(key, value)
            )
        }
    return (_gcm if mode == "GCM" else _cbc)(operation, mode, key, value, body)


def _gcm(operation: str, mode: str, key: bytes, value: bytes, body: dict[str, Any]) -> Answer:
    """GCM: the HSM chooses the nonce, and gives nonce and tag apart from the ciphertext."""
    additional = _member(body, "aad")
    if operation == "decrypt":
        sealed = value + _member(body, "tag")
        return {"value": base64url(AESGCM(key).decrypt(_member(body, "iv"), sealed, additional))}
    nonce = secrets.token_bytes(_GCM_NONCE)
    sealed = AESGCM(key).encrypt(nonce, value, additional)
    answer = {
        "value": sealed[:-_GCM_TAG],
        "iv": nonce,
        "tag": sealed[-_GCM_TAG:],
        "aad": additional,
    }
    return {name: base64url(member) for name, member in answer.items() if member}


def _cbc(operation: str, mode: str, key: bytes, value: bytes, body: dict[str, Any]) -> Answer:
    """CBC: the caller brings the IV; CBCPAD adds PKCS#7, CBC zeros (recorded), which stay."""
    iv = _member(body, "iv")
    cipher, padding = Cipher(AES(key), CBC(iv)), PKCS7(AES.block_size)
    if operation == "encrypt":
        if mode == "CBCPAD":
            padder = padding.padder()
            value = padder.update(value) + padder.finalize()
        else:
            value += bytes(-len(value) % (AES.block_size // 8))
        encryptor = cipher.encryptor()
        return {
            "value": base64url(encryptor.update(value) + encryptor.finalize()),
            "iv": base64url(iv),
        }
    decryptor = cipher.decryptor()
    value = decryptor.update(value) + decryptor.finalize()
    if mode == "CBCPAD":
        unpadder = padding.unpadder()
        value = unpadder.update(value) + unpadder.finalize()
    return {"value": base64url(value)}
