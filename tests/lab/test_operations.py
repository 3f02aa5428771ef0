# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every operation and algorithm, each checked with python-cryptography outside the lab."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Vault
from cryptography.hazmat.primitives.asymmetric.padding import (
    MGF1,
    OAEP,
    PSS,
    AsymmetricPadding,
    PKCS1v15,
)
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from wrapping import base64url, ec_key, pkcs8, rsa_key, wrap

HASHES: dict[str, HashAlgorithm] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
CIPHERS: dict[str, AsymmetricPadding] = {
    "RSA1_5": PKCS1v15(),
    "RSA-OAEP": OAEP(MGF1(SHA1()), SHA1(), None),
    "RSA-OAEP-256": OAEP(MGF1(SHA256()), SHA256(), None),
}


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Key:
    """An imported key."""

    def __init__(self, vault: Vault, kty: str, plaintext: bytes, **key: Any) -> None:
        self._vault = vault
        target = {"kty": kty, "key_hsm": base64url(wrap(vault.kek(), plaintext))} | key
        self.kid: str = vault.do("PUT", "/keys/target", {"key": target})["key"]["kid"]

    def ask(self, operation: str, algorithm: str, **members: bytes) -> Any:
        body = {"alg": algorithm} | {name: base64url(value) for name, value in members.items()}
        return self._vault.ask(
            "POST", self.kid[len(self._vault.url) :] + f"/{operation.lower()}", body
        )

    def do(self, operation: str, algorithm: str, **members: bytes) -> dict[str, Any]:
        response = self.ask(operation, algorithm, **members)
        assert response.ok, response.text
        answer: dict[str, Any] = response.json()
        return answer


def test_rsa_signatures(vault: Vault) -> None:
    key = Key(vault, "RSA-HSM", pkcs8(rsa_key(2048)))
    for bits, algorithm in HASHES.items():
        digest = hashlib.new(algorithm.name, b"text").digest()
        paddings: dict[str, AsymmetricPadding] = {
            "RS": PKCS1v15(),
            "PS": PSS(MGF1(algorithm), algorithm.digest_size),
        }
        for name, padding in paddings.items():
            answer = key.do("sign", name + bits, value=digest)
            signature = decoded(answer["value"])
            assert answer["kid"] == key.kid
            rsa_key(2048).public_key().verify(signature, digest, padding, Prehashed(algorithm))
            assert key.do("verify", name + bits, digest=digest, value=signature) == {"value": True}
            assert key.do("verify", name + bits, digest=digest[::-1], value=signature) == {
                "value": False
            }


@pytest.mark.parametrize(
    ("wrap_name", "unwrap_name"), [("encrypt", "decrypt"), ("wrapKey", "unwrapKey")]
)
def test_rsa_ciphers(vault: Vault, wrap_name: str, unwrap_name: str) -> None:
    key = Key(vault, "RSA-HSM", pkcs8(rsa_key(2048)))
    for algorithm, padding in CIPHERS.items():
        outside = rsa_key(2048).public_key().encrypt(b"text", padding)
        assert decoded(key.do(unwrap_name, algorithm, value=outside)["value"]) == b"text"
        inside = decoded(key.do(wrap_name, algorithm, value=b"text")["value"])
        assert rsa_key(2048).decrypt(inside, padding) == b"text"
    assert key.ask(unwrap_name, "RSA-OAEP", value=b"nonsense").status_code == 400


def test_ec_verifies(vault: Vault) -> None:
    key = Key(vault, "EC-HSM", pkcs8(ec_key("P-521")), crv="P-521")
    digest = hashlib.sha512(b"text").digest()
    signature = decoded(key.do("sign", "ES512", value=digest)["value"])
    assert len(signature) == 132
    assert key.do("verify", "ES512", digest=digest, value=signature) == {"value": True}
    assert key.do("verify", "ES512", digest=digest, value=signature[::-1]) == {"value": False}
    assert key.ask("sign", "ES256", value=digest[:32]).status_code == 400
    assert key.ask("sign", "RS256", value=digest[:32]).status_code == 400


@pytest.mark.parametrize("size", [128, 192, 256])
def test_aes(hsm: Vault, size: int) -> None:
    raw, iv, text = secrets.token_bytes(size // 8), secrets.token_bytes(16), secrets.token_bytes(32)
    key = Key(hsm, "oct-HSM", raw)
    wrapped = decoded(key.do("wrapKey", f"A{size}KW", value=text)["value"])
    assert decoded(key.do("unwrapKey", f"A{size}KW", value=wrapped)["value"]) == text
    assert key.ask("unwrapKey", f"A{size}KW", value=wrapped[::-1]).status_code == 400

    encryptor = Cipher(AES(raw), CBC(iv)).encryptor()
    encrypted = decoded(key.do("encrypt", f"A{size}CBC", value=text, iv=iv)["value"])
    assert encrypted == encryptor.update(text) + encryptor.finalize()
    assert decoded(key.do("decrypt", f"A{size}CBC", value=encrypted, iv=iv)["value"]) == text
    padded = decoded(key.do("encrypt", f"A{size}CBCPAD", value=text[:20], iv=iv)["value"])
    assert decoded(key.do("decrypt", f"A{size}CBCPAD", value=padded, iv=iv)["value"]) == text[:20]

    sealed = {
        name: decoded(value)
        for name, value in key.do("encrypt", f"A{size}GCM", value=text, aad=b"a").items()
        if name not in ("kid", "alg")
    }
    assert AESGCM(raw).decrypt(sealed["iv"], sealed["value"] + sealed["tag"], b"a") == text
    assert decoded(key.do("decrypt", f"A{size}GCM", **sealed)["value"]) == text
    assert key.ask("decrypt", f"A{size}GCM", **(sealed | {"aad": b"b"})).status_code == 400
    other = 384 - size if size != 192 else 128
    assert key.ask("wrapKey", f"A{other}KW", value=text).status_code == 400
    assert key.ask("encrypt", f"A{size}KW", value=text).status_code == 400


def test_cbc_pads_with_zeros_that_stay(hsm: Vault) -> None:
    """As recorded."""
    raw, iv, text = secrets.token_bytes(32), secrets.token_bytes(16), b"18 bytes of text.."
    key = Key(hsm, "oct-HSM", raw)
    encryptor = Cipher(AES(raw), CBC(iv)).encryptor()
    encrypted = decoded(key.do("encrypt", "A256CBC", value=text, iv=iv)["value"])
    assert encrypted == encryptor.update(text + bytes(14)) + encryptor.finalize()
    decrypted = decoded(key.do("decrypt", "A256CBC", value=encrypted, iv=iv)["value"])
    assert decrypted == text + bytes(14)
    assert key.ask("decrypt", "A256CBC", value=encrypted[1:], iv=iv).status_code == 400


def test_only_allowed_operations(vault: Vault) -> None:
    key = Key(vault, "RSA-HSM", pkcs8(rsa_key(2048)), key_ops=["verify"])
    response = key.ask("sign", "RS256", value=bytes(32))
    assert response.status_code == 403
    assert response.json()["error"] == {
        "code": "Forbidden",
        "message": "Operation sign is not permitted on this key.",
        "innererror": {"code": "KeyOperationForbidden"},
    }


def test_disabled_key_does_nothing(vault: Vault) -> None:
    key = Key(vault, "EC-HSM", pkcs8(ec_key()), crv="P-256")
    vault.do("PATCH", "/keys/target", {"attributes": {"enabled": False}})
    for operation in ("sign", "verify"):
        response = key.ask(operation, "ES256", value=bytes(32))
        assert response.json()["error"]["innererror"]["code"] == "KeyDisabled"
    assert vault.do("GET", "/keys/target")["attributes"]["enabled"] is False


@pytest.mark.parametrize(
    ("member", "shift", "code"), [("exp", 100, "KeyExpired"), ("nbf", -100, "KeyNotYetValid")]
)
def test_outside_of_its_time_a_key_only_undoes(
    vault: Vault, clock: Callable[[float], None], member: str, shift: int, code: str
) -> None:
    key = Key(vault, "RSA-HSM", pkcs8(rsa_key(2048)))
    now = vault.do("GET", "/keys/target")["attributes"]["created"]
    vault.do("PATCH", "/keys/target", {"attributes": {member: now + shift // 2}})
    clock(shift)
    wrapped = rsa_key(2048).public_key().encrypt(b"text", CIPHERS["RSA-OAEP"])
    for operation in ("sign", "encrypt", "wrapKey"):
        response = key.ask(
            operation, "RS256" if operation == "sign" else "RSA-OAEP", value=bytes(32)
        )
        assert (response.status_code, response.json()["error"]["innererror"]["code"]) == (403, code)
    for operation in ("decrypt", "unwrapKey"):
        assert key.ask(operation, "RSA-OAEP", value=wrapped).ok
    assert key.do("verify", "RS256", value=bytes(256), digest=bytes(32)) == {"value": False}
