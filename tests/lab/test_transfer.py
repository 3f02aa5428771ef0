# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of every type and size arrive, judged by Microsoft's SDK with all its verification on."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any

import pytest
from azure.core.rest import HttpRequest
from azure.identity import CertificateCredential
from azure.keyvault.keys import JsonWebKey, KeyClient, KeyVaultKey
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm
from conftest import Lab, Vault
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from token_wrapping import wrap_in_token
from wrapping import base64url, ec_key, number, pkcs8, rsa_key, wrap

EC_PROOFS: dict[str, tuple[SignatureAlgorithm, HashAlgorithm]] = {
    "P-256": (SignatureAlgorithm.es256, SHA256()),
    "P-384": (SignatureAlgorithm.es384, SHA384()),
    "P-521": (SignatureAlgorithm.es512, SHA512()),
    "P-256K": (SignatureAlgorithm.es256_k, SHA256()),
}
KINDS = ("vault", "hsm")


def client_of(vault: Vault) -> KeyClient:
    return KeyClient(vault.url, vault.lab.credential())


def member(arrived: KeyVaultKey, name: str) -> int:
    """An integer of the public key that the SDK gives as bytes."""
    return int.from_bytes(getattr(arrived.key, name), "big")


@pytest.fixture(params=KINDS)
def either(request: pytest.FixtureRequest) -> Vault:
    """A Premium vault, and a Managed HSM."""
    vault: Vault = request.getfixturevalue(request.param)
    return vault


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_rsa_arrives_and_signs(either: Vault, size: int) -> None:
    key, client = rsa_key(size), client_of(either)
    target = JsonWebKey(kty="RSA-HSM", t=wrap(either.kek(), pkcs8(key)), key_ops=["sign", "verify"])
    arrived = client.import_key("target", target)
    # A Managed HSM has the operations in any order.
    assert (arrived.key_type, sorted(arrived.key_operations)) == ("RSA-HSM", ["sign", "verify"])
    assert member(arrived, "n") == key.public_key().public_numbers().n
    digest = hashlib.sha256(b"proof").digest()
    signature = (
        CryptographyClient(arrived, either.lab.credential())
        .sign(SignatureAlgorithm.ps256, digest)
        .signature
    )
    key.public_key().verify(signature, digest, PSS(MGF1(SHA256()), 32), Prehashed(SHA256()))


@pytest.mark.parametrize("curve", EC_PROOFS)
def test_ec_arrives_and_signs(either: Vault, curve: str) -> None:
    key, client = ec_key(curve), client_of(either)
    arrived = client.import_key(
        "target", JsonWebKey(kty="EC-HSM", crv=curve, t=wrap(either.kek(), pkcs8(key)))
    )
    numbers = key.public_key().public_numbers()
    assert (member(arrived, "x"), member(arrived, "y")) == (numbers.x, numbers.y)
    algorithm, hash_algorithm = EC_PROOFS[curve]
    digest = hashlib.new(hash_algorithm.name, b"proof").digest()
    raw = CryptographyClient(arrived, either.lab.credential()).sign(algorithm, digest).signature
    middle = len(raw) // 2
    r_and_s = int.from_bytes(raw[:middle], "big"), int.from_bytes(raw[middle:], "big")
    key.public_key().verify(
        encode_dss_signature(*r_and_s), digest, ec.ECDSA(Prehashed(hash_algorithm))
    )


@pytest.mark.parametrize("size", [128, 192, 256])
def test_oct_arrives_and_wraps(hsm: Vault, size: int) -> None:
    key, payload = secrets.token_bytes(size // 8), secrets.token_bytes(32)
    target = JsonWebKey(kty="oct-HSM", t=wrap(hsm.kek(), key), key_ops=["wrapKey", "unwrapKey"])
    client = client_of(hsm)
    arrived = client.import_key("target", target)
    # Not by CryptographyClient: 4.11.3 wraps an oct-HSM key's data locally, by a random key.
    body = {"alg": f"A{size}KW", "value": base64url(payload)}
    answer = client.send_request(
        HttpRequest("POST", f"{arrived.id}/wrapkey?api-version=7.6", json=body)
    )
    assert answer.json() == {
        "alg": f"A{size}KW",
        "kid": arrived.id,
        "value": base64url(aes_key_wrap(key, payload)),
    }


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_every_kek_size(vault: Vault, size: int) -> None:
    kek = client_of(vault).create_rsa_key(
        "kek", size=size, hardware_protected=True, key_operations=["import"]
    )
    assert (kek.key_type, kek.key_operations) == ("RSA-HSM", ["import"])
    jwk = vault.do("GET", "/keys/kek")["key"]
    assert number(jwk["n"]).bit_length() == size
    assert arrive(vault, wrap(jwk, pkcs8(ec_key())))


def arrive(vault: Vault, file: bytes, **key: Any) -> dict[str, Any]:
    body = {"key": {"kty": "EC-HSM", "crv": "P-256", "key_hsm": base64url(file)} | key}
    bundle: dict[str, Any] = vault.do("PUT", "/keys/target", body)
    return bundle


def test_certificate_credential(lab: Lab, vault: Vault) -> None:
    operator = lab.facts["clients"]["operator"]
    credential = CertificateCredential(
        lab.facts["tenant"], operator["client_id"], operator["certificate_file"]
    )
    assert KeyClient(vault.url, credential).create_ec_key("any").id.startswith(vault.url)


@pytest.mark.parametrize(
    "encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["base64", "base64url"]
)
@pytest.mark.parametrize("padding", [b"", b"="])
def test_every_encoding_of_the_package(vault: Vault, encode: Any, padding: bytes) -> None:
    file = wrap(vault.kek(), pkcs8(ec_key()))
    file += b" " * (1 - len(file) % 3)  # a length that needs padding
    encoded = encode(file)
    assert encoded.endswith(b"=")
    arrive(vault, file, key_hsm=(encoded if padding else encoded.rstrip(b"=")).decode())


def test_ec_key_without_its_public_point(vault: Vault) -> None:
    private = ec_key().private_numbers().private_value.to_bytes(32, "big")
    ec_private_key = b"\x30\x25\x02\x01\x01\x04\x20" + private
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    der = b"\x02\x01\x00" + algorithm + b"\x04\x27" + ec_private_key
    arrived = arrive(vault, wrap(vault.kek(), b"\x30" + bytes([len(der)]) + der))
    assert number(arrived["key"]["x"]) == ec_key().public_key().public_numbers().x


def test_wrapped_by_a_token(lab: Lab, vault: Vault) -> None:
    """P-384 is a curve whose PKCS#8 SoftHSM 2.6.1 does not pad."""
    file, x = wrap_in_token(lab.facts["token"], vault.kek(), "secp384r1")
    assert number(arrive(vault, file, crv="P-384")["key"]["x"]) == x
