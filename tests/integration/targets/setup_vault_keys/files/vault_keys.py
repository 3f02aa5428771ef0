# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what vaults hold as JSON, seen by azure-keyvault-keys alone.

With --use, use every key by what it allows.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient, KeyVaultKey
from azure.keyvault.keys.crypto import EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm

SIGNATURES = {
    "RSA": "RS256",
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "P-256K": "ES256K",
}
HASHES = {
    "RS256": "sha256",
    "ES256": "sha256",
    "ES384": "sha384",
    "ES512": "sha512",
    "ES256K": "sha256",
}
PLAINTEXT = b"0123456789abcdef"


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def thumbprint(key: KeyVaultKey) -> str | None:
    """RFC 7638, 3: the required members in lexicographic order, without white space."""
    jwk: Any = key.key
    if jwk.n:
        e, n = (base64url(number.lstrip(b"\0")) for number in (jwk.e, jwk.n))
        text = f'{{"e":"{e}","kty":"RSA","n":"{n}"}}'
    elif jwk.x:
        curve = "secp256k1" if jwk.crv == "P-256K" else str(getattr(jwk.crv, "value", jwk.crv))
        text = f'{{"crv":"{curve}","kty":"EC","x":"{base64url(jwk.x)}","y":"{base64url(jwk.y)}"}}'
    else:
        return None
    return base64url(hashlib.sha256(text.encode()).digest())


def use(client: KeyClient, key: KeyVaultKey, size: int | None) -> list[str]:
    """Return the operations that worked.

    They are sign with verify, and decrypt and unwrapKey of what was encrypted and wrapped.
    """
    if size and key.key_type.startswith("oct"):
        return use_oct(client, key, size)
    jwk: Any = key.key
    crypto, used = client.get_cryptography_client(key.name, key_version=key.properties.version), []
    allowed = set(key.key_operations)
    if {"sign", "verify"} <= allowed:
        algorithm = SignatureAlgorithm(SIGNATURES["RSA" if jwk.n else jwk.crv])
        digest = hashlib.new(HASHES[algorithm], PLAINTEXT).digest()
        if crypto.verify(algorithm, digest, crypto.sign(algorithm, digest).signature).is_valid:
            used.append("sign")
    if {"encrypt", "decrypt"} <= allowed:
        encryption = EncryptionAlgorithm.rsa_oaep_256
        if (
            crypto.decrypt(encryption, crypto.encrypt(encryption, PLAINTEXT).ciphertext).plaintext
            == PLAINTEXT
        ):
            used.append("decrypt")
    if {"wrapKey", "unwrapKey"} <= allowed:
        wrapping = KeyWrapAlgorithm.rsa_oaep_256
        if (
            crypto.unwrap_key(wrapping, crypto.wrap_key(wrapping, PLAINTEXT).encrypted_key).key
            == PLAINTEXT
        ):
            used.append("unwrapKey")
    return used


def use_oct(client: KeyClient, key: KeyVaultKey, size: int) -> list[str]:
    """The same for an oct key, by plain requests.

    CryptographyClient takes a random key of its own and asks no vault.
    """
    used = []
    for there, back, body in (
        ("encrypt", "decrypt", {"alg": f"A{size}CBCPAD", "iv": base64url(bytes(16))}),
        ("wrapKey", "unwrapKey", {"alg": f"A{size}KW"}),
    ):
        if {there, back} <= set(key.key_operations):
            value = base64url(PLAINTEXT)
            for operation in (there, back):
                request = HttpRequest(
                    "POST", f"{key.id}/{operation.lower()}", json={**body, "value": value}
                )
                value = client.send_request(request).json()["value"]
            if value == base64url(PLAINTEXT):
                used.append(back)
    return used


def describe(client: KeyClient, name: str, used: bool) -> dict[str, object]:
    key = client.get_key(name)
    versions = [
        client.get_key(name, each.version) for each in client.list_properties_of_key_versions(name)
    ]
    properties, digits = key.properties, name.rpartition("-")[2]
    return {
        "type": key.key_type,
        "operations": sorted(key.key_operations),
        "version": properties.version,
        "versions": len(versions),
        "disabled": [each.properties.version for each in versions if not each.properties.enabled],
        "thumbprint": thumbprint(key),
        "thumbprints": sorted({thumbprint(each) or "oct" for each in versions}),
        "enabled": properties.enabled,
        "not_before": properties.not_before and properties.not_before.isoformat(),
        "expires": properties.expires_on and properties.expires_on.isoformat(),
        "tags": properties.tags or {},
        "used": use(client, key, int(digits) if digits.isdigit() else None) if used else [],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs="+")
    parser.add_argument(
        "--use", action="store_true", help="oct keys tell their size by the end of their name"
    )
    arguments = parser.parse_args()
    secret = Path(os.environ["AZURE_SECRET_FILE"]).read_text().strip()
    credential = ClientSecretCredential(
        os.environ["AZURE_TENANT"], os.environ["AZURE_CLIENT_ID"], secret
    )
    found = {}
    for url in arguments.urls:
        client = KeyClient(url, credential)
        for properties in client.list_properties_of_keys():
            found[properties.name] = describe(client, properties.name, arguments.use)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
